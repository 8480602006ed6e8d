//! Logs the output of a child line by line.

use postbell_core::printable;
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tracing::{error, info, warn};

/// Longer lines are logged in pieces.
const MAX_LINE: usize = 8 * 1024;

/// Logs each line until the stream ends. A line that is a JSON log record keeps its level and time.
pub(super) async fn log_lines(name: &'static str, stream: impl AsyncRead + Unpin) {
    lines(stream, |line| log_line(name, line)).await;
}

fn log_line(name: &'static str, line: &str) {
    let Some(Record {
        level,
        time,
        message,
        trace,
        rest,
    }) = Record::read(line)
    else {
        info!(child = name, "{name}: {line}");
        return;
    };
    let (time, trace) = (time.as_deref(), trace.as_deref());
    macro_rules! log {
        ($log:ident) => {
            $log!(
                child = name,
                child.level = level,
                child.time = time,
                trace.id = trace,
                child.fields = rest,
                "{name}: {message}"
            )
        };
    }
    match level.to_ascii_lowercase().as_str() {
        "error" | "fatal" | "critical" => log!(error),
        "warn" | "warning" => log!(warn),
        // A level below is the child's choice: it is not filtered here.
        _ => log!(info),
    }
}

/// A line of a JSON log, as tracing, pino, bunyan, Go's slog and Python's libraries write it.
#[derive(Debug, Eq, PartialEq)]
struct Record {
    level: String,
    time: Option<String>,
    message: String,
    trace: Option<String>,
    /// The other fields, as JSON.
    rest: Option<String>,
}

impl Record {
    fn read(line: &str) -> Option<Self> {
        let mut record: Map<String, Value> = serde_json::from_str(line).ok()?;
        let mut fields = match record.remove("fields") {
            Some(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        let level = ["level", "severity", "lvl"];
        let level = level
            .iter()
            .find_map(|name| level_name(record.get(*name)?))?;
        let message = ["message", "msg"].iter().find_map(|name| {
            let found = record.remove(*name).or_else(|| fields.remove(*name))?;
            text(found)
        })?;
        let time = ["timestamp", "time", "ts", "@timestamp"];
        let time = time.iter().find_map(|name| text(record.remove(*name)?));
        let span = record.remove("span");
        record.remove("spans");
        for name in ["level", "severity", "lvl"] {
            record.remove(name);
        }
        let of_span = span.as_ref().and_then(|span| span.get("trace.id")).cloned();
        let trace = fields.remove("trace.id").or(of_span).and_then(text);
        record.extend(fields);
        let rest = (!record.is_empty()).then(|| Value::Object(record).to_string());
        Some(Self {
            level,
            time,
            message,
            trace,
            rest,
        })
    }
}

/// The name of a level. Numbers are those of pino and bunyan.
fn level_name(level: &Value) -> Option<String> {
    match level {
        Value::String(name) => Some(name.clone()),
        Value::Number(number) => Some(
            match number.as_u64()? {
                50.. => "error",
                40..50 => "warn",
                30..40 => "info",
                20..30 => "debug",
                _ => "trace",
            }
            .to_owned(),
        ),
        _ => None,
    }
}

/// A text, or a number as text.
fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(printable(&text)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Calls `log` with each line, without its line end.
async fn lines(stream: impl AsyncRead + Unpin, mut log: impl FnMut(&str)) {
    let mut stream = BufReader::with_capacity(MAX_LINE, stream);
    let mut line = Vec::new();
    loop {
        // An error ends the stream, too.
        let Ok(bytes) = stream.fill_buf().await else {
            return;
        };
        if bytes.is_empty() {
            if !line.is_empty() {
                log(&String::from_utf8_lossy(&line));
            }
            return;
        }
        let room = MAX_LINE - line.len();
        let bytes = &bytes[..bytes.len().min(room)];
        let end = bytes.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
        let used = end.map_or(bytes.len(), |end| end + 1);
        stream.consume(used);
        if end.is_some() || line.len() == MAX_LINE {
            let text = String::from_utf8_lossy(&line);
            // A progress bar returns to the start of its line; in a log that would overwrite text.
            text.trim_end_matches('\r').split('\r').for_each(&mut log);
            line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn logged(text: &[u8]) -> Vec<String> {
        let mut logged = Vec::new();
        lines(text, |line| logged.push(line.to_owned())).await;
        logged
    }

    #[tokio::test]
    async fn lines_are_logged_one_by_one_including_an_unterminated_last_one() {
        let lines = logged(b"one\r\ntwo\n\nfour\rfive\nsix \xff").await;
        assert_eq!(lines, ["one", "two", "", "four", "five", "six \u{fffd}"]);
        assert!(logged(b"").await.is_empty());
    }

    fn record(line: &str) -> Option<(String, Option<String>, String)> {
        Record::read(line).map(|read| (read.level, read.time, read.message))
    }

    #[test]
    fn a_json_record_keeps_its_level_and_time() {
        let of = |level: &str, time: &str, message: &str| {
            Some((level.to_owned(), Some(time.to_owned()), message.to_owned()))
        };
        for (line, expected) in [
            (
                r#"{"timestamp":"2026-11-30T03:00:00Z","level":"WARN","fields":{"message":"late","wait":"1s"},"target":"x"}"#,
                of("WARN", "2026-11-30T03:00:00Z", "late"),
            ),
            (
                r#"{"level":50,"time":1764471600000,"pid":7,"msg":"boom"}"#,
                of("error", "1764471600000", "boom"),
            ),
            (
                r#"{"time":"t","level":"DEBUG","msg":"m","user":"u"}"#,
                of("DEBUG", "t", "m"),
            ),
            (
                r#"{"severity":"ERROR","message":"m"}"#,
                Some(("ERROR".to_owned(), None, "m".to_owned())),
            ),
            (r#"{"level":"info"}"#, None),
            (r#"{"message":"m"}"#, None),
            ("[1]", None),
            ("WARN late", None),
        ] {
            assert_eq!(record(line), expected, "{line}");
        }
    }

    #[test]
    fn a_json_record_of_ours_has_its_trace_and_its_other_fields() {
        let line = r#"{"timestamp":"t","level":"INFO","fields":{"message":"m","messages":2},"span":{"name":"sync","trace.id":"4bf9"},"spans":[]}"#;
        let read = Record::read(line).unwrap();
        assert_eq!(read.trace.as_deref(), Some("4bf9"));
        assert_eq!(read.rest.as_deref(), Some(r#"{"messages":2}"#));
    }

    #[tokio::test]
    async fn long_lines_are_logged_in_pieces() {
        let flood = vec![b'x'; 3 * MAX_LINE + 1];
        let lengths: Vec<_> = logged(&flood).await.iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_LINE, MAX_LINE, MAX_LINE, 1]);
    }
}
