//! A response in chunks that are freed while they are parsed: a message of 25 MB is never in memory
//! twice.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read};

use bytes::{Buf, Bytes};
use postbell_http::{ResponseBody, next_chunk};
use serde::de::DeserializeOwned;

use super::GmailError;
use super::failure::unavailable;

/// The longest response. A message has at most 25 MB, 35 MB in base64
/// (<https://support.google.com/mail/answer/6584>).
const LONGEST: usize = 64 * 1024 * 1024;

/// A response in chunks.
#[derive(Default)]
pub(super) struct Chunks {
    chunks: VecDeque<Bytes>,
    length: usize,
}

impl Chunks {
    /// Reads a response.
    pub(super) async fn read(mut body: ResponseBody) -> Result<Self, GmailError> {
        let mut chunks = Self::default();
        while let Some(chunk) = next_chunk(&mut body).await.map_err(unavailable)? {
            chunks.add(chunk)?;
        }
        Ok(chunks)
    }

    /// Adds a chunk.
    fn add(&mut self, chunk: Bytes) -> Result<(), GmailError> {
        self.length += chunk.len();
        if self.length > LONGEST {
            return Err(GmailError::Unreadable);
        }
        self.chunks.push_back(chunk);
        Ok(())
    }

    /// Parses the JSON.
    pub(super) fn parse<T: DeserializeOwned>(self) -> Result<T, GmailError> {
        let parsed = if self.chunks.len() == 1 {
            serde_json::from_slice(&self.chunks[0])
        } else {
            serde_json::from_reader(BufReader::new(self))
        };
        parsed.map_err(|_| GmailError::Unreadable)
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(chunk) = self.chunks.front_mut() {
            let length = chunk.len().min(buffer.len());
            if length > 0 || buffer.is_empty() {
                chunk.copy_to_slice(&mut buffer[..length]);
                return Ok(length);
            }
            self.chunks.pop_front();
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_any_size_are_parsed() {
        let mut chunks = Chunks::default();
        for piece in ["a", "", "bc", "def", ""] {
            chunks.add(Bytes::from_static(piece.as_bytes())).unwrap();
        }
        let mut text = String::new();
        chunks.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcdef");
    }

    #[test]
    fn an_endless_response_is_refused() {
        let mut chunks = Chunks::default();
        let mebibyte = Bytes::from(vec![0; 1024 * 1024]);
        let added = (0..100).map(|_| chunks.add(mebibyte.clone()));
        assert_eq!(added.take_while(Result::is_ok).count(), 64);
    }
}
