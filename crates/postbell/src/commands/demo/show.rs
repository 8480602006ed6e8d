//! Output of the demo.

use indicatif::{ProgressBar, ProgressStyle};
use postbell_core::printable;
use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::console::Console;
use crate::demo::mails::Mail;
use crate::demo::{Delivered, Latencies, Summary};

/// Maximum width of a subject, so that a line is shorter than 80 columns: a terminal wraps one that fills it.
const SUBJECT: usize = 31;

/// What to try after the demo.
const NEXT: &str = "\nNext: `postbell demo --eml FILE_OR_FOLDER` sends mails of yours, `postbell setup` connects your \
                    mailbox to your bot.";

/// Prints the demo as a table or as JSON lines.
pub(super) struct Show {
    console: Console,
    json: bool,
    /// `None` unless the output is a terminal.
    progress: Option<ProgressBar>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Mail(&'a Delivered),
    Summary(Summary),
}

impl Show {
    pub(super) fn new(console: Console, json: bool, mails: usize) -> Self {
        let progress = (console.is_terminal() && !json).then(|| {
            let style =
                ProgressStyle::with_template("{spinner} {bar:30} {pos}/{len} mails at the bot");
            let bar = ProgressBar::new(mails as u64);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self {
            console,
            json,
            progress,
        }
    }

    /// Prints the header.
    pub(super) fn begin(&self) {
        if !self.json {
            let columns = "   total  pubsub   relay   queue control watcher";
            self.line(
                "Sandbox for Google, relay, controller, watcher and bot. Times in milliseconds.",
            );
            self.line(&format!("{:>SUBJECT$}{columns}", "mail"));
        }
    }

    /// Reports a file that is not a mail or cannot be read.
    pub(super) fn refused(&self, mail: &Mail, problem: &str) {
        let line = format!("error: {}: {problem}", printable(&mail.name()));
        match &self.progress {
            Some(progress) => {
                progress.set_length(progress.length().unwrap_or(1).saturating_sub(1));
                progress.println(line);
            }
            None => self.console.error(&line),
        }
    }

    /// Prints a mail that the bot received.
    pub(super) fn delivered(&self, mail: &Delivered) -> anyhow::Result<()> {
        if self.json {
            return Ok(self
                .console
                .data(&serde_json::to_string(&Event::Mail(mail))?)?);
        }
        let hops = mail.hops;
        let times = [
            mail.total_ms,
            hops.pubsub,
            hops.relay,
            hops.inbox,
            hops.controller,
            hops.watcher,
        ];
        let times: String = times.iter().map(|time| format!("{time:>8.1}")).collect();
        let subject = subject(&mail.subject);
        let indent = " ".repeat(SUBJECT.saturating_sub(subject.width()));
        let line = format!("{indent}{subject}{times}");
        match &self.progress {
            Some(progress) => {
                progress.println(line);
                progress.inc(1);
            }
            None => self.console.data(&line)?,
        }
        Ok(())
    }

    /// Prints the counts and latencies, and what to try next.
    pub(super) fn end(&self, summary: Summary) -> anyhow::Result<()> {
        if let Some(progress) = &self.progress {
            progress.finish_and_clear();
        }
        if self.json {
            return Ok(self
                .console
                .data(&serde_json::to_string(&Event::Summary(summary))?)?);
        }
        let Summary {
            sent,
            refused,
            delivered,
            lost,
            duplicates,
            total_ms,
        } = summary;
        let line =
            format!("{sent} sent, {delivered} delivered, {lost} lost, {duplicates} duplicates");
        let refused = match refused {
            0 => String::new(),
            refused => format!(", {refused} that could not be sent"),
        };
        self.console.data(&format!("{line}{refused}"))?;
        if let Some(Latencies {
            median,
            p99,
            maximum,
        }) = total_ms
        {
            self.console.data(&format!(
                "Milliseconds: median {median:.1}, 99th percentile {p99:.1}, maximum {maximum:.1}"
            ))?;
        }
        if self.console.is_terminal() {
            self.console.error(NEXT);
        }
        Ok(())
    }

    fn line(&self, line: &str) {
        match &self.progress {
            Some(progress) => progress.println(line),
            None => self.console.error(line),
        }
    }
}

/// Returns a subject that fits its column and contains no control characters.
fn subject(subject: &str) -> String {
    let subject = printable(subject);
    let subject = if subject.trim().is_empty() {
        "(no subject)".to_owned()
    } else {
        subject
    };
    if subject.width() <= SUBJECT {
        return subject;
    }
    let mut short = String::new();
    for character in subject.chars() {
        if short.width() + character.width().unwrap_or(0) >= SUBJECT {
            break;
        }
        short.push(character);
    }
    short + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_fits_its_column_however_wide_its_characters_are() {
        for (given, width) in [
            ("plain", 5),
            ("🥨", 2),
            (&*"日本語".repeat(20), 31),
            (&*"a".repeat(50), 31),
        ] {
            assert_eq!(subject(given).width(), width, "{given}");
        }
    }
}
