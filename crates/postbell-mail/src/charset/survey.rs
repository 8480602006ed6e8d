//! What the bytes of a text say about their charset.

use std::io::{self, Read};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::Encoding;

use super::decoded::PIECE;

/// How much of a text the detection of its charset reads, in bytes.
const DETECTED: usize = 64 * 1024;

/// How much of a text is counted if it is not valid UTF-8, in bytes.
const COUNTED: usize = 1024 * 1024;

/// The kinds of bytes in a text.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) size: usize,
    pub(super) has_other_than_ascii: bool,
    pub(super) has_zero: bool,
    /// An escape sequence selects a Japanese character set (RFC 1468).
    pub(super) has_japanese_escape: bool,
    start: Vec<u8>,
    /// Characters beyond ASCII, and sequences that are no UTF-8.
    valid: usize,
    invalid: usize,
    /// The beginning of a character at the end of the bytes so far.
    rest: Vec<u8>,
    last: [u8; 2],
}

impl Survey {
    pub(super) fn of(mut bytes: impl Read) -> io::Result<Self> {
        let mut survey = Self::default();
        let mut piece = vec![0; PIECE];
        loop {
            match bytes.read(&mut piece)? {
                0 => return Ok(survey),
                size => survey.add(&piece[..size]),
            }
        }
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        let mut survey = Self::default();
        survey.add(bytes);
        survey
    }

    fn add(&mut self, piece: &[u8]) {
        let is_counted = self.invalid == 0 || self.size < COUNTED;
        self.size += piece.len();
        let wanted = DETECTED.saturating_sub(self.start.len()).min(piece.len());
        self.start.extend(&piece[..wanted]);
        self.has_zero |= piece.contains(&0);
        self.find_japanese_escape(piece);
        if self.rest.is_empty() && piece.is_ascii() {
            return;
        }
        self.has_other_than_ascii = true;
        if is_counted {
            self.count(piece);
        }
    }

    fn find_japanese_escape(&mut self, piece: &[u8]) {
        let [first, second] = self.last;
        let joint: Vec<_> = [first, second]
            .into_iter()
            .chain(piece.iter().copied().take(2))
            .collect();
        let is_escape = |bytes: &[u8]| matches!(bytes, b"\x1b$B" | b"\x1b$@");
        self.has_japanese_escape |= joint.windows(3).any(is_escape)
            || piece.contains(&0x1b) && piece.windows(3).any(is_escape);
        if let [.., first, second] = joint.as_slice() {
            self.last = match piece {
                [.., first, second] => [*first, *second],
                _ => [*first, *second],
            };
        }
    }

    fn count(&mut self, piece: &[u8]) {
        let joint = [std::mem::take(&mut self.rest).as_slice(), piece].concat();
        let mut left = joint.as_slice();
        loop {
            let error = std::str::from_utf8(left).err();
            let valid = error.map_or(left.len(), |error| error.valid_up_to());
            // The first bytes of characters beyond ASCII.
            self.valid += left[..valid].iter().filter(|byte| **byte >= 0xc0).count();
            match error.map(|error| error.error_len()) {
                None => return,
                Some(None) => {
                    self.rest = left[valid..].to_vec();
                    return;
                }
                Some(Some(wrong)) => {
                    self.invalid += 1;
                    left = &left[valid + wrong..];
                }
            }
        }
    }

    /// The first bytes.
    pub(super) fn start(&self) -> &[u8] {
        &self.start
    }

    pub(super) fn is_utf8(&self) -> bool {
        self.invalid == 0 && self.rest.is_empty()
    }

    /// Whether all is UTF-8 but for a part of a character at the end.
    pub(super) fn is_cut_utf8(&self) -> bool {
        self.invalid == 0 && !self.rest.is_empty()
    }

    /// Whether there are characters beyond ASCII in UTF-8.
    pub(super) fn has_utf8(&self) -> bool {
        self.valid > 0
    }

    /// Whether nine of ten sequences beyond ASCII are valid: the others are damage.
    pub(super) fn is_mostly_utf8(&self) -> bool {
        let invalid = self.invalid + usize::from(!self.rest.is_empty());
        self.valid > 0 && self.valid >= 9 * invalid
    }

    /// The charset that the bytes are most likely written in, which is not UTF-8.
    pub(super) fn detected(&self) -> &'static Encoding {
        let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
        detector.feed(&self.start, true);
        detector.guess(None, Utf8Detection::Deny)
    }
}
