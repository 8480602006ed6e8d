//! All output of the program: data to stdout, everything else to stderr.

use std::io::{IsTerminal, Write, stderr, stdout};

/// Where a command writes. Nothing else in the program prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    is_terminal: bool,
}

impl Console {
    pub(crate) fn from_process() -> Self {
        Self {
            is_terminal: stdout().is_terminal() && stderr().is_terminal(),
        }
    }

    /// Whether a person is likely to be watching.
    pub(crate) fn is_terminal(self) -> bool {
        self.is_terminal
    }

    /// Writes a line of data to stdout.
    ///
    /// # Errors
    ///
    /// Where stdout is closed: a reader that had enough, such as `head`.
    pub(crate) fn data(self, line: &str) -> std::io::Result<()> {
        let mut stdout = stdout().lock();
        stdout.write_all(line.as_bytes())?;
        stdout.write_all(b"\n")?;
        stdout.flush()
    }

    /// Writes a line for people to stderr. A closed stderr has nobody to tell.
    pub(crate) fn error(self, line: &str) {
        let _ = writeln!(stderr().lock(), "{line}");
    }
}

impl Console {
    /// Writes to stderr what is no line: to a terminal that is to be left as it was.
    pub(crate) fn raw_error(self, text: &str) {
        let mut stderr = stderr().lock();
        let _ = stderr.write_all(text.as_bytes());
        let _ = stderr.flush();
    }
}

/// The text with each control character replaced, so that a mail's subject cannot steer the
/// terminal that shows it.
pub(crate) fn printable(text: &str) -> String {
    let shown = |character: char| {
        if character.is_control() {
            '\u{fffd}'
        } else {
            character
        }
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_cannot_steer_the_terminal() {
        assert_eq!(
            printable("a\x1b[2Jb\r\nü"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}ü"
        );
    }
}
