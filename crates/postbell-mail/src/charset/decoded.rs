//! Bytes that are decoded to UTF-8 while they are read.

use std::io::{self, Read};

use encoding_rs::{CoderResult, Decoder, Encoding};

/// How many bytes are decoded at once.
pub(super) const PIECE: usize = 16 * 1024;

/// The smallest buffer into which a character certainly fits.
const MIN_BUFFER: usize = 16;

/// A text as UTF-8.
pub(super) struct Decoded<R> {
    bytes: R,
    decoder: Decoder,
    piece: Box<[u8]>,
    /// What of the piece is not decoded yet.
    start: usize,
    end: usize,
    is_last: bool,
    /// The rest of a character at the end is left out.
    is_cut: bool,
    is_finished: bool,
    /// Decoded text that did not fit into the buffer of a reader.
    rest: Vec<u8>,
}

impl<R: Read> Decoded<R> {
    pub(super) fn new(bytes: R, encoding: &'static Encoding, is_cut: bool) -> Self {
        Self {
            bytes,
            decoder: encoding.new_decoder_with_bom_removal(),
            piece: vec![0; PIECE].into(),
            start: 0,
            end: 0,
            is_last: false,
            is_cut,
            is_finished: false,
            rest: Vec::new(),
        }
    }
}

impl<R: Read> Decoded<R> {
    /// Decodes into a buffer into which any character fits. Returns the number of bytes, which is zero at the end.
    fn decode(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.is_finished {
            if self.start == self.end && !self.is_last {
                self.start = 0;
                self.end = self.bytes.read(&mut self.piece)?;
                self.is_last = self.end == 0;
            }
            let is_end = self.is_last && !self.is_cut;
            let piece = &self.piece[self.start..self.end];
            let (result, read, written, _) = self.decoder.decode_to_utf8(piece, buffer, is_end);
            self.start += read;
            self.is_finished = self.is_last && result == CoderResult::InputEmpty;
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() && buffer.len() >= MIN_BUFFER {
            return self.decode(buffer);
        }
        if self.rest.is_empty() {
            let mut decoded = [0; MIN_BUFFER];
            let size = self.decode(&mut decoded)?;
            self.rest.extend(&decoded[..size]);
        }
        let given = self.rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(self.rest.drain(..given)) {
            *to = from;
        }
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use encoding_rs::{SHIFT_JIS, UTF_8};

    use super::*;

    #[test]
    fn a_text_is_the_same_in_pieces_of_any_size() {
        let bytes = "日本語テキスト。".repeat(3_000);
        let (encoded, _, _) = SHIFT_JIS.encode(&bytes);
        for size in [1, 2, 15, 16, 17, 40_000] {
            for (encoding, source) in [(SHIFT_JIS, &*encoded), (UTF_8, bytes.as_bytes())] {
                let mut decoded = Decoded::new(source, encoding, false);
                let (mut text, mut piece) = (Vec::<u8>::new(), vec![0; size]);
                loop {
                    match decoded.read(&mut piece).unwrap() {
                        0 => break,
                        read => text.extend(&piece[..read]),
                    }
                }
                assert!(text == bytes.as_bytes(), "{size}");
            }
        }
    }
}
