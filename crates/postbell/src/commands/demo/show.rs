//! Output of the demo.

use indicatif::{ProgressBar, ProgressStyle};
use postbell_core::printable;
use serde::Serialize;

use crate::console::Console;
use crate::demo::mails::Mail;
use crate::demo::{Delivered, Summary};

/// Maximum length of a subject in characters, so that a line fits 80 columns.
const SUBJECT: usize = 32;

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
                "Sandbox for Google, relay, controller, watcher and bot. Latencies in milliseconds.",
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
        let line = format!("{:>SUBJECT$}{times}", subject(&mail.subject));
        match &self.progress {
            Some(progress) => {
                progress.println(line);
                progress.inc(1);
            }
            None => self.console.data(&line)?,
        }
        Ok(())
    }

    /// Prints the counts.
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
            delivered,
            lost,
            duplicates,
        } = summary;
        let line =
            format!("{sent} sent, {delivered} delivered, {lost} lost, {duplicates} duplicates");
        Ok(self.console.data(&line)?)
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
    if subject.chars().count() <= SUBJECT {
        return subject;
    }
    let short: String = subject.chars().take(SUBJECT - 1).collect();
    short + "…"
}
