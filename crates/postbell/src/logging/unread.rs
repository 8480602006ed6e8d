//! A log that nobody reads keeps nobody waiting: what finds no room is left out, and counted.

use std::io::{self, Write};
use std::os::fd::AsFd;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, write};
use tracing_subscriber::fmt::MakeWriter;

use super::LogFormat;

/// So much can be written to a pipe that has room at all without waiting (pipe(7), `PIPE_BUF`).
const PIECE: usize = 4096;

/// How long a reader is waited for who has kept up so far, in nanoseconds: 10 ms.
const PATIENCE: i64 = 10_000_000;

/// Writes lines to a stream that others read, or do not.
#[derive(Debug)]
pub(super) struct Lines<F> {
    stream: F,
    format: LogFormat,
    left_out: Mutex<LeftOut>,
}

/// What has found no room since something did.
#[derive(Debug, Default)]
struct LeftOut {
    lines: u64,
    /// Whether the last line that was written has no end.
    is_cut: bool,
}

impl<F: AsFd> Lines<F> {
    pub(super) fn to(stream: F, format: LogFormat) -> Self {
        Self {
            stream,
            format,
            left_out: Mutex::default(),
        }
    }

    fn write(&self, line: &[u8]) -> io::Result<()> {
        let mut left_out = self.left_out.lock();
        if left_out.lines > 0 {
            if !self.has_room(0)? {
                left_out.lines += 1;
                return Ok(());
            }
            let note = self.note(&left_out);
            *left_out = LeftOut::default();
            self.write_pieces(note.as_bytes(), &mut left_out)?;
        }
        self.write_pieces(line, &mut left_out)
    }

    fn write_pieces(&self, line: &[u8], left_out: &mut LeftOut) -> io::Result<()> {
        let mut rest = line;
        while !rest.is_empty() {
            if !self.has_room(PATIENCE)? {
                left_out.lines += 1;
                left_out.is_cut = rest.len() < line.len();
                return Ok(());
            }
            match write(&self.stream, &rest[..rest.len().min(PIECE)]) {
                Ok(written) => rest = &rest[written..],
                // Somebody else has taken the room, or a signal came.
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn has_room(&self, patience: i64) -> io::Result<bool> {
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: patience,
        };
        let mut stream = [PollFd::new(&self.stream, PollFlags::OUT)];
        loop {
            match poll(&mut stream, Some(&patience)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn note(&self, left_out: &LeftOut) -> String {
        let end = if left_out.is_cut { "\n" } else { "" };
        let message = format!(
            "{} lines of the log are missing here: nobody read them in time",
            left_out.lines
        );
        match self.format {
            LogFormat::Text => format!("{end} WARN {message}\n"),
            LogFormat::Json => {
                let note = serde_json::json!({"level": "WARN", "fields": {"message": message}});
                format!("{end}{note}\n")
            }
        }
    }
}

impl<'a, F: AsFd + 'a> MakeWriter<'a> for Lines<F> {
    type Writer = OneLine<'a, F>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine(self)
    }
}

/// Takes one line.
pub(super) struct OneLine<'a, F>(&'a Lines<F>);

impl<F: AsFd> Write for OneLine<'_, F> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_log_that_nobody_reads_keeps_nobody_waiting_and_says_what_is_missing() {
        let (mut reader, writer) = io::pipe().unwrap();
        let lines = Lines::to(writer, LogFormat::Text);
        let line = format!("{}\n", "x".repeat(9_999));
        for _ in 0..100 {
            lines.write(line.as_bytes()).unwrap();
        }
        // All that is in the pipe, which holds 64 KiB at most (pipe(7)).
        let mut come = vec![0; 64 * 1024];
        let length = reader.read(&mut come).unwrap();
        come.truncate(length);
        lines.write(b"at last\n").unwrap();
        drop(lines);
        reader.read_to_end(&mut come).unwrap();
        let come = String::from_utf8(come).unwrap();
        let written = come.lines().filter(|come| *come == line.trim_end()).count();
        let missing = 100 - written;
        let (_, end) = come.split_once(" WARN ").unwrap();
        assert!(written > 0 && missing > 0, "{written}");
        assert_eq!(
            end,
            format!(
                "{missing} lines of the log are missing here: nobody read them in time\nat last\n"
            )
        );
        assert!(come.lines().any(|line| line.starts_with(" WARN ")));
    }

    #[test]
    fn who_reads_gets_every_line_however_long() {
        let (mut reader, writer) = io::pipe().unwrap();
        let lines = Lines::to(writer, LogFormat::Text);
        let line = format!("{}\n", "x".repeat(20_000));
        lines.write(line.as_bytes()).unwrap();
        lines.write(b"two\n").unwrap();
        drop(lines);
        let mut come = String::new();
        reader.read_to_string(&mut come).unwrap();
        assert_eq!(come, format!("{line}two\n"));
    }
}
