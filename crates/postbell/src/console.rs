//! Output of the program: data on stdout, everything else on stderr.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::os::fd::AsFd;

use rustix::termios::tcgetwinsize;
use textwrap::core::display_width;
use textwrap::{Options, WordSeparator, WordSplitter};

/// The output of a command. Nothing else in the program prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    is_terminal: bool,
    /// The widths of the terminals.
    stdout: Option<usize>,
    stderr: Option<usize>,
}

impl Console {
    pub(crate) fn from_process() -> Self {
        Self {
            is_terminal: stdout().is_terminal() && stderr().is_terminal(),
            stdout: columns(stdout()),
            stderr: columns(stderr()),
        }
    }

    /// Whether stdout and stderr are terminals.
    pub(crate) fn is_terminal(self) -> bool {
        self.is_terminal
    }

    /// The columns of stdout, if it is a terminal.
    pub(crate) fn columns(self) -> Option<usize> {
        self.stdout
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

    /// Writes sentences to stdout, wrapped at words in a terminal.
    ///
    /// # Errors
    ///
    /// As [`Console::data`].
    pub(crate) fn text(self, text: &str) -> std::io::Result<()> {
        self.data(&wrap(text, self.stdout))
    }

    /// Writes sentences to stderr, wrapped at words in a terminal. Ignores a closed stderr.
    pub(crate) fn error(self, text: &str) {
        self.raw_error(&format!("{}\n", wrap(text, self.stderr)));
    }

    /// Whether [`Console::error`] changes a text.
    pub(crate) fn wraps(self, text: &str) -> bool {
        wrap(text, self.stderr) != text.trim_end_matches('\n')
    }

    /// Writes to stderr as it is, for example to restore a terminal. Ignores a closed stderr.
    pub(crate) fn raw_error(self, text: &str) {
        let mut stderr = stderr().lock();
        let _ = stderr.write_all(text.as_bytes());
        let _ = stderr.flush();
    }
}

fn columns(terminal: impl AsFd) -> Option<usize> {
    let columns = tcgetwinsize(terminal).ok()?.ws_col;
    (columns > 0).then(|| columns.into())
}

/// Wraps at words, but not indented lines: these are commands to copy.
fn wrap(text: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns else {
        return text.to_owned();
    };
    let options = Options::new(columns)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation);
    let lines = text.lines().map(|line| {
        let is_whole = line.starts_with(' ') || display_width(line) <= columns;
        if is_whole {
            line.to_owned()
        } else {
            textwrap::fill(line, &options)
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_wrapped_at_words_and_commands_are_not() {
        let text = "error: the 日本語 is not\n  postbell setup --platform https://bell.example.com";
        let wrapped =
            "error: the\n日本語 is not\n  postbell setup --platform https://bell.example.com";
        assert_eq!(wrap(text, Some(14)), wrapped);
        assert_eq!(wrap(text, None), text);
        let long = "https://bell.example.com/?a=b-c";
        assert_eq!(wrap(long, Some(14)), long);
    }
}
