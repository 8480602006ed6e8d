//! Finds the style sheets of a page.

use std::io::{self, Read};

use super::css::{StyleSheet, media_applies};
use super::tag::Tag;
use super::tokens::{self, StartTag, TokenSink};

/// The most CSS of a page, in bytes. Gmail applies far less.
const MAX_CSS: usize = 2 * 1024 * 1024;

/// The most steps of the tokenizer that are taken to find them: about a tenth of a second.
const MAX_STEPS: u64 = 1_000_000;

/// How much of a page is searched at once, in bytes.
const PIECE: usize = 16 * 1024;

const NAME: &[u8] = b"style";

/// The rules of all `style` elements. They count for the whole page, wherever they stand.
pub(super) fn style_sheet<R: Read>(open: &impl Fn() -> R) -> io::Result<StyleSheet> {
    let mut reader = StyleReader::default();
    let end = end_of_styles(open())?;
    if end > 0 {
        let steps = tokens::read(open().take(end), &mut reader)?;
        reader.is_incomplete |= steps > MAX_STEPS;
    }
    Ok(reader.finish())
}

/// The position behind the last tag that may be one of a `style` element; zero if there is none. What follows needs no
/// reading for styles.
fn end_of_styles(mut page: impl Read) -> io::Result<u64> {
    let mut piece = vec![0; PIECE + NAME.len() + 2];
    let (mut kept, mut before, mut end) = (0, 0_u64, 0);
    loop {
        let read = page.read(&mut piece[kept..])?;
        if read == 0 {
            return Ok(end);
        }
        let filled = &piece[..kept + read];
        let mut rest = filled;
        while let Some(at) = rest.iter().position(|byte| *byte == b'<') {
            rest = &rest[at + 1..];
            let is_end = rest.first() == Some(&b'/');
            let name = rest
                .get(usize::from(is_end)..)
                .and_then(|rest| rest.get(..NAME.len()));
            if name.is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
                // What is within the last one belongs to it.
                let behind = filled.len() - rest.len() + NAME.len() + 2;
                end = if is_end {
                    before + behind as u64
                } else {
                    u64::MAX
                };
            }
        }
        // A tag can be in two pieces.
        kept = filled.len().min(NAME.len() + 1);
        let moved = filled.len() - kept;
        before += moved as u64;
        let filled = moved..moved + kept;
        piece.copy_within(filled, 0);
    }
}

/// Collects the contents of the `style` elements whose media query applies.
#[derive(Default)]
struct StyleReader {
    sheet: StyleSheet,
    css: String,
    size: usize,
    applies: bool,
    is_incomplete: bool,
}

impl StyleReader {
    fn end_of_element(&mut self) {
        if std::mem::take(&mut self.applies) {
            self.sheet.add(&std::mem::take(&mut self.css));
        }
    }

    fn finish(mut self) -> StyleSheet {
        self.end_of_element();
        if self.is_incomplete {
            self.sheet.give_up();
        }
        self.sheet
    }
}

impl TokenSink for StyleReader {
    fn wants(&self, attribute: &str) -> bool {
        attribute == "media"
    }

    fn start(&mut self, start: StartTag) {
        let media = start.attributes.get("media");
        self.applies = start.tag == Tag::Style && media.is_none_or(media_applies);
    }

    fn end(&mut self, _: &Tag) {
        self.end_of_element();
    }

    fn text(&mut self, text: &str) {
        if self.applies {
            self.size += text.len();
            self.is_incomplete |= self.size > MAX_CSS;
            if !self.is_incomplete {
                self.css.push_str(text);
            }
        }
    }

    fn is_done(&self, steps: u64) -> bool {
        self.is_incomplete || steps > MAX_STEPS
    }
}
