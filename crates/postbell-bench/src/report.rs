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
}

impl Line {
    pub(crate) fn print(&self) -> std::io::Result<()> {
        let (words, promised, is_kept) = match self.promised {
            Promise::AtLeast(least) => ("at least", least, self.measured >= least),
            Promise::AtMost(most) => ("at most", most, self.measured <= most),
        };
        say(&format!(
            "{:<7}{:<58}{:>8.2} {:<10} {words} {promised} {}",
            if is_kept { "kept" } else { "MISSED" },
            self.what,
            self.measured,
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
