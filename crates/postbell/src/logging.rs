//! The process log: written to stderr as text or JSON, filtered by `POSTBELL_LOG`.
//!
//! A thread of its own writes the log, so a reader that stops reading cannot block the process. When
//! the thread's queue is full, lines are dropped; the next line that is written says how many.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Subscriber;

use crate::config::{ConfigError, Env};

/// The environment variable with the filter, in the syntax of `tracing`.
const FILTER_VARIABLE: &str = "POSTBELL_LOG";

/// Lines that may wait for the reader. A line has at most 8 KiB of a child's output, so a controller
/// whose log is not read holds at most 8 MB.
const QUEUED_LINES: usize = 1024;

/// How long the end of the process may wait for the reader. [`WorkerGuard`] waits up to 1.1 s.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The format of the log's lines.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// Human-readable lines
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// Writes the queued lines when it is dropped, unless the reader has stopped reading.
#[must_use]
pub(crate) struct LogGuard(Option<WorkerGuard>);

/// Returns the filter that the environment sets.
pub(crate) fn filter(env: &Env) -> Option<&str> {
    env.variable(FILTER_VARIABLE)
}

/// Starts the log of this process.
///
/// # Errors
///
/// If the filter does not parse. The log is not started then, so another filter can be tried.
pub(crate) fn start(filter: &str, format: LogFormat) -> anyhow::Result<LogGuard> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|_| ConfigError::Value {
            key: FILTER_VARIABLE.to_owned(),
            source_name: "environment".to_owned(),
            problem: "expected a filter such as info,postbell_relay=debug".to_owned(),
        })?;
    let (writer, guard) = writer(io::stderr(), format);
    let log = Subscriber::builder()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        // The reader may close its end; the process continues.
        .log_internal_errors(false)
        .with_writer(writer);
    match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    }
    .map_err(anyhow::Error::from_boxed)?;
    Ok(guard)
}

/// Returns a writer that never blocks, and the guard of its thread.
fn writer(stream: impl Write + Send + 'static, format: LogFormat) -> (NonBlocking, LogGuard) {
    let dropped = Arc::new(OnceLock::new());
    let lines = LineWriter {
        stream,
        format,
        dropped: Arc::clone(&dropped),
        reported: 0,
    };
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUED_LINES)
        .thread_name("log")
        .finish(lines);
    dropped.get_or_init(|| writer.error_counter());
    (writer, LogGuard(Some(guard)))
}

/// Writes lines to the stream, and reports dropped ones. Only the log's thread uses it, so it may
/// block.
struct LineWriter<W> {
    stream: W,
    format: LogFormat,
    dropped: Arc<OnceLock<ErrorCounter>>,
    reported: usize,
}

impl<W: Write> LineWriter<W> {
    fn report_dropped(&mut self) -> io::Result<()> {
        let dropped = self.dropped.get().map_or(0, ErrorCounter::dropped_lines);
        if dropped > self.reported {
            let message = format!(
                "{} log lines were dropped: the log was not read in time",
                dropped - self.reported
            );
            match self.format {
                LogFormat::Text => writeln!(self.stream, " WARN {message}")?,
                LogFormat::Json => {
                    let line = serde_json::json!({"level": "WARN", "fields": {"message": message}});
                    writeln!(self.stream, "{line}")?;
                }
            }
            self.reported = dropped;
        }
        Ok(())
    }
}

impl<W: Write> Write for LineWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.stream.write_all(line)?;
        self.report_dropped()?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let Some(guard) = self.0.take() else { return };
        let (done, flushed) = mpsc::channel();
        // The guard prints to stdout if the queue is full, which can block as well: it must not
        // keep the process from ending.
        thread::spawn(move || {
            drop(guard);
            let _ = done.send(());
        });
        let _ = flushed.recv_timeout(FLUSH_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn unread_log_drops_lines_and_reports_how_many() {
        let (mut reader, stream) = io::pipe().unwrap();
        let (mut log, guard) = writer(stream, LogFormat::Text);
        // More than the queue and the pipe (64 KiB, pipe(7)) hold.
        let line = format!("{}\n", "x".repeat(9_999));
        let written = 3 * QUEUED_LINES;
        for _ in 0..written {
            log.write_all(line.as_bytes()).unwrap();
        }
        let dropped = log.error_counter().dropped_lines();
        assert!(dropped > 0);
        let read = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text).unwrap()
        });
        drop(guard);
        drop(log);
        let text = read.join().unwrap();
        let complete = text.lines().filter(|read| *read == line.trim_end());
        assert_eq!(complete.count(), written - dropped);
        assert!(text.contains(&format!(
            "\n WARN {dropped} log lines were dropped: the log was not read in time\n"
        )));
    }

    #[test]
    fn unread_log_does_not_keep_the_process_from_ending() {
        let (reader, stream) = io::pipe().unwrap();
        let (mut log, guard) = writer(stream, LogFormat::Text);
        for _ in 0..2 * QUEUED_LINES {
            log.write_all(&[b'x'; 1_000]).unwrap();
        }
        drop(guard);
        drop(reader);
    }

    #[test]
    fn long_lines_are_written_whole() {
        let (mut reader, stream) = io::pipe().unwrap();
        let (mut log, guard) = writer(stream, LogFormat::Text);
        let line = format!("{}\n", "x".repeat(20_000));
        log.write_all(line.as_bytes()).unwrap();
        log.write_all(b"two\n").unwrap();
        drop((log, guard));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("{line}two\n"));
    }
}
