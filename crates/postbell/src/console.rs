//! Output of the program: data on stdout, everything else on stderr.

use std::io::{IsTerminal, Write, stderr, stdout};

/// The output of a command. Nothing else in the program prints.
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

    /// Whether stdout and stderr are terminals.
    pub(crate) fn is_terminal(self) -> bool {
        self.is_terminal
    }

    /// Writes a line of data to stdout.
    ///
    /// # Errors
    ///
    /// Fails if stdout is closed, for example by `head`.
    pub(crate) fn data(self, line: &str) -> std::io::Result<()> {
        let mut stdout = stdout().lock();
        stdout.write_all(line.as_bytes())?;
        stdout.write_all(b"\n")?;
        stdout.flush()
    }

    /// Writes a line for people to stderr. Ignores a closed stderr.
    pub(crate) fn error(self, line: &str) {
        let _ = writeln!(stderr().lock(), "{line}");
    }

    /// Writes to stderr without a line end, to restore a terminal.
    pub(crate) fn raw_error(self, text: &str) {
        let mut stderr = stderr().lock();
        let _ = stderr.write_all(text.as_bytes());
        let _ = stderr.flush();
    }
}
