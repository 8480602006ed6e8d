//! Prints results.

use std::io::Write;

/// A target and the measured value.
pub(crate) struct Line {
    pub(crate) what: &'static str,
    pub(crate) measured: f64,
    pub(crate) promised: Promise,
    pub(crate) unit: &'static str,
}

/// Target of a value.
#[derive(Clone, Copy)]
pub(crate) enum Promise {
    AtLeast(f64),
    AtMost(f64),
    /// From the first to the second.
    Between(f64, f64),
}

impl Line {
    pub(crate) fn print(&self) -> std::io::Result<()> {
        let measured = self.measured;
        let (promised, is_kept) = match self.promised {
            Promise::AtLeast(least) => (format!("at least {least}"), measured >= least),
            Promise::AtMost(most) => (format!("at most {most}"), measured <= most),
            Promise::Between(least, most) => {
                let is_kept = (least..=most).contains(&measured);
                (format!("between {least} and {most}"), is_kept)
            }
        };
        say(&format!(
            "{:<7}{:<58}{measured:>8.2} {:<10} {promised} {}",
            if is_kept { "kept" } else { "MISSED" },
            self.what,
            self.unit,
            self.unit,
        ))
    }
}

/// Prints a line.
pub(crate) fn say(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", line.trim_end())?;
    stdout.flush()
}
