//! Measures how fast a mail is read, beside a parser of the field in the same run.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use postbell_google::{Body, Message, Part};
use postbell_mail::{BodyWanted, FetchedParts, extract};

/// The pages that the tests of the crate read, too.
#[path = "../../postbell-mail/src/html/hostile/pages.rs"]
mod pages;

use crate::child::resident;
use crate::report::{Line, Promise, say};

/// The limit of a body: the default of `--max-bytes`.
const LIMIT: usize = 20_000;

/// The size of the newsletter, and of the largest mail that Gmail takes.
const NEWSLETTER: usize = 20_000;
const LARGEST: usize = 25_000_000;

/// The time for which the newsletter is read by each parser.
const TIME: Duration = Duration::from_secs(2);

/// Measures the reading of a newsletter and of a hostile mail.
pub(crate) fn all() -> anyhow::Result<()> {
    say("reading a newsletter of 20 kB, beside html2text, and hostile mails of 25 MB")?;
    let page = newsletter();
    let message = mail(BASE64_URL_SAFE.encode(&page));
    let ours = middle(|| drop(black_box(read(&message))));
    let theirs = middle(|| {
        let text = html2text::config::plain().string_from_read(page.as_bytes(), 100);
        drop(black_box(text));
    });
    say(&format!("  html2text takes {theirs:.2} ms"))?;
    let lines = [
        ("a newsletter", ours, Promise::AtMost(2.0), "ms"),
        (
            "a newsletter, in html2text's time",
            ours / theirs,
            Promise::AtMost(1.0),
            "",
        ),
    ];
    for (what, measured, promised, unit) in lines {
        Line {
            what,
            measured,
            promised,
            unit,
        }
        .print()?;
    }
    hostile()
}

/// Measures each kind of hostile page, and prints the slowest and the largest.
fn hostile() -> anyhow::Result<()> {
    let mut measured = Vec::new();
    for (kind, page) in pages::kinds() {
        let (time, memory) = hostile_in_child(&page(LARGEST))?;
        say(&format!("  {kind}: {time:.0} ms, {memory:.0} MB"))?;
        measured.push((time, memory));
    }
    let worst = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let lines = [
        (
            "the slowest hostile mail of 25 MB",
            worst(&mut measured.iter().map(|(time, _)| *time)),
            Promise::AtMost(300.0),
            "ms",
        ),
        (
            "the highest peak memory, with the mail",
            worst(&mut measured.iter().map(|(_, memory)| *memory)),
            Promise::AtMost(64.0),
            "MB",
        ),
    ];
    for (what, measured, promised, unit) in lines {
        Line {
            what,
            measured,
            promised,
            unit,
        }
        .print()?;
    }
    Ok(())
}

/// Reads a hostile mail, of which the base64 is in a file, and prints the milliseconds and the peak memory.
pub(crate) fn read_hostile(file: &str) -> anyhow::Result<()> {
    let message = mail(std::fs::read_to_string(file)?);
    let start = Instant::now();
    drop(black_box(read(&message)));
    let time = start.elapsed().as_secs_f64() * 1e3;
    say(&format!(
        "{time} {}",
        resident(std::process::id(), "VmHWM:")?
    ))?;
    Ok(())
}

/// In a process of its own, whose memory nothing else used: an allocator keeps what making the page took.
fn hostile_in_child(page: &str) -> anyhow::Result<(f64, f64)> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(BASE64_URL_SAFE.encode(page).as_bytes())?;
    let child = Command::new(program)
        .arg("mail")
        .arg(file.path())
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(child.status.success(), "reading a hostile mail failed");
    let text = String::from_utf8(child.stdout)?;
    let (time, memory) = text.trim().split_once(' ').context("no result")?;
    Ok((time.parse()?, memory.parse()?))
}

fn read(message: &Message) -> Option<String> {
    extract(message, BodyWanted::text(LIMIT), &FetchedParts::new())
        .message
        .body
}

fn mail(data: String) -> Message {
    let body = Body {
        data: Some(data),
        ..Body::default()
    };
    let payload = Part {
        mime_type: "text/html".to_owned(),
        body,
        ..Part::default()
    };
    Message {
        payload,
        ..Message::default()
    }
}

/// The time of one run in milliseconds: the median.
fn middle(mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut times = Vec::new();
    while start.elapsed() < TIME {
        let begun = Instant::now();
        run();
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Nested tables, styles, a hidden preview and links with long targets, as newsletters are written.
fn newsletter() -> String {
    let mut page = String::from(
        "<html><head><style>.preview{display:none} @media (max-width:600px){.w{width:100%}} td.p{padding:8px}</style></head>\
         <body bgcolor=\"#eeeeee\"><div class=preview style=\"max-height:0;overflow:hidden\">A preview</div>\
         <table role=presentation width=\"100%\"><tr><td align=center><table class=w width=600 style=\"background:#ffffff\">",
    );
    let mut number = 0;
    while page.len() < NEWSLETTER {
        number += 1;
        let _ = write!(
            page,
            "<tr><td class=p style=\"font-family:Arial;font-size:14px;color:#333333\"><h2>Article {number}</h2>\
             <p>Dear&nbsp;Ann, this is what the reader came for &ndash; a paragraph with <b>some</b> words of text.</p>\
             <a href=\"https://click.example/f/a/{number}?{}\" style=\"color:#0066cc\">Read on</a>\
             <img src=\"https://t.example/o.gif\" width=1 height=1 alt=\"\"></td></tr>",
            "Zq3vN8".repeat(30)
        );
    }
    page + "</table></td></tr></table></body></html>"
}
