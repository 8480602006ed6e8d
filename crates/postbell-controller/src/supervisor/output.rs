//! What a child prints goes to the log, line by line.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tracing::info;

/// The longest line; what is longer is passed on in pieces.
const LONGEST_LINE: usize = 8 * 1024;

/// Passes on every line until the stream ends.
pub(super) async fn pass_on(name: &'static str, stream: impl AsyncRead + Unpin) {
    lines(stream, |line| info!(child = name, "{name}: {line}")).await;
}

/// Calls `take` with each line, without its end.
async fn lines(stream: impl AsyncRead + Unpin, mut take: impl FnMut(&str)) {
    let mut stream = BufReader::with_capacity(LONGEST_LINE, stream);
    let mut line = Vec::new();
    loop {
        // A stream that breaks has ended.
        let Ok(come) = stream.fill_buf().await else {
            return;
        };
        if come.is_empty() {
            if !line.is_empty() {
                take(&String::from_utf8_lossy(&line));
            }
            return;
        }
        let room = LONGEST_LINE - line.len();
        let come = &come[..come.len().min(room)];
        let end = come.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&come[..end.unwrap_or(come.len())]);
        let used = end.map_or(come.len(), |end| end + 1);
        stream.consume(used);
        if end.is_some() || line.len() == LONGEST_LINE {
            let text = String::from_utf8_lossy(&line);
            // A progress bar returns to the start of its line; in a log it would overwrite others.
            text.trim_end_matches('\r').split('\r').for_each(&mut take);
            line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn taken(text: &[u8]) -> Vec<String> {
        let mut taken = Vec::new();
        lines(text, |line| taken.push(line.to_owned())).await;
        taken
    }

    #[tokio::test]
    async fn each_line_comes_by_itself_the_last_one_too() {
        let lines = taken(b"one\r\ntwo\n\nfour\rfive\nsix \xff").await;
        assert_eq!(lines, ["one", "two", "", "four", "five", "six \u{fffd}"]);
        assert!(taken(b"").await.is_empty());
    }

    #[tokio::test]
    async fn a_line_without_end_is_passed_on_in_pieces() {
        let flood = vec![b'x'; 3 * LONGEST_LINE + 1];
        let lengths: Vec<_> = taken(&flood).await.iter().map(String::len).collect();
        assert_eq!(lengths, [LONGEST_LINE, LONGEST_LINE, LONGEST_LINE, 1]);
    }
}
