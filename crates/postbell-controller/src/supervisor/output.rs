//! Logs the output of a child line by line.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tracing::info;

/// Longer lines are logged in pieces.
const MAX_LINE: usize = 8 * 1024;

/// Logs each line until the stream ends.
pub(super) async fn log_lines(name: &'static str, stream: impl AsyncRead + Unpin) {
    lines(stream, |line| info!(child = name, "{name}: {line}")).await;
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

    #[tokio::test]
    async fn long_lines_are_logged_in_pieces() {
        let flood = vec![b'x'; 3 * MAX_LINE + 1];
        let lengths: Vec<_> = logged(&flood).await.iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_LINE, MAX_LINE, MAX_LINE, 1]);
    }
}
