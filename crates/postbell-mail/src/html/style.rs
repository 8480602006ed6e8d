//! Finds what decides about a whole page, wherever it stands: style sheets, and the attributes of its root elements.

use std::cell::Cell;
use std::io::{self, Read};

use super::css::{Holds, StyleSheet, media_applies};
use super::tag::Tag;
use super::tokens::{self, Attributes, MAX_STEPS, StartTag, TokenSink};

/// The most CSS of a page, in bytes. Gmail applies far less.
const MAX_CSS: usize = 2 * 1024 * 1024;

/// How much of a page is searched at once, in bytes.
const PIECE: usize = 16 * 1024;

/// How much is read at once behind the last tag that is searched for, in bytes.
const REST: usize = 256;

/// The elements that are searched for.
const NAMES: [&[u8]; 4] = [b"style", b"html", b"body", b"link"];

const LONGEST_NAME: usize = 5;

/// What decides about a whole page.
#[derive(Default)]
pub(super) struct Preamble {
    /// The rules of all `style` elements.
    pub(super) sheet: StyleSheet,
    /// The attributes of all `html` tags: later ones add to the first (HTML, section 13.2.6.4.7).
    pub(super) html: Attributes,
    /// Those of all `body` tags.
    pub(super) body: Attributes,
}

impl Preamble {
    pub(super) fn read<R: Read>(open: &impl Fn() -> R) -> io::Result<Self> {
        let mut reader = StyleReader::default();
        let end = end_of_tags(open())?;
        if end > 0 {
            let page = UpToLastTag {
                page: open(),
                left: end,
                is_behind: &reader.is_behind.clone(),
            };
            let steps = tokens::read(page, &mut reader)?;
            reader.is_incomplete |= steps > MAX_STEPS;
        }
        let mut preamble = reader.finish();
        if preamble.sheet.needs_focus() && contains(open(), b"autofocus")? {
            preamble.sheet.set_focus();
        }
        Ok(preamble)
    }

    /// Whether not all of it was read.
    pub(super) fn is_incomplete(&self) -> bool {
        self.sheet.is_incomplete() || self.html.is_cut || self.body.is_cut
    }
}

/// Calls a function with each piece of a page and its position. A piece repeats the last `overlap` bytes before it.
fn for_each_piece(
    mut page: impl Read,
    overlap: usize,
    mut with: impl FnMut(&[u8], u64),
) -> io::Result<()> {
    let mut piece = vec![0; PIECE + overlap];
    let (mut kept, mut before) = (0, 0_u64);
    loop {
        let read = page.read(&mut piece[kept..])?;
        if read == 0 {
            return Ok(());
        }
        let filled = kept + read;
        with(&piece[..filled], before);
        kept = filled.min(overlap);
        before += (filled - kept) as u64;
        piece.copy_within(filled - kept..filled, 0);
    }
}

/// The position behind the name of the last tag that may be one of those that are searched for; zero if there is none,
/// and the end of the page if it begins a style.
fn end_of_tags(page: impl Read) -> io::Result<u64> {
    let mut end = 0;
    for_each_piece(page, LONGEST_NAME + 1, |piece, before| {
        let mut rest = piece;
        while let Some(at) = rest.iter().position(|byte| *byte == b'<') {
            rest = &rest[at + 1..];
            let is_end = rest.first() == Some(&b'/');
            let name = rest.get(usize::from(is_end)..).unwrap_or_default();
            let is_name = |known: &&[u8]| {
                name.get(..known.len())
                    .is_some_and(|name| name.eq_ignore_ascii_case(known))
            };
            let Some(name) = NAMES.into_iter().find(|known| is_name(known)) else {
                continue;
            };
            let behind = piece.len() - rest.len() + usize::from(is_end) + name.len();
            // The text within the last style belongs to it.
            let is_style = name == NAMES[0] && !is_end;
            end = if is_style {
                u64::MAX
            } else {
                before + behind as u64
            };
        }
    })?;
    Ok(end)
}

fn contains(page: impl Read, word: &[u8]) -> io::Result<bool> {
    let mut is_found = false;
    for_each_piece(page, word.len(), |piece, _| {
        let mut windows = piece.windows(word.len());
        is_found |= windows.any(|window| window.eq_ignore_ascii_case(word));
    })?;
    Ok(is_found)
}

/// Reads a page, and notes when all up to the last tag was read.
struct UpToLastTag<'a, R> {
    page: R,
    left: u64,
    is_behind: &'a Cell<bool>,
}

impl<R: Read> Read for UpToLastTag<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = if self.left == 0 {
            self.is_behind.set(true);
            REST
        } else {
            usize::try_from(self.left).unwrap_or(usize::MAX)
        };
        let most = most.min(into.len());
        let read = self.page.read(&mut into[..most])?;
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}

/// Collects the contents of the `style` elements, and the attributes of the root elements.
#[derive(Default)]
struct StyleReader {
    found: Preamble,
    css: String,
    size: usize,
    /// Whether the current text is a style sheet that applies.
    media: Option<Holds>,
    /// Templates that are open.
    templates: usize,
    /// The page has a drawing or a formula, in which markup is read in another way.
    has_drawing: bool,
    /// What is searched for was read before the current tag.
    is_behind: std::rc::Rc<Cell<bool>>,
    is_done: bool,
    is_incomplete: bool,
}

impl StyleReader {
    fn end_of_element(&mut self) {
        if let Some(media) = self.media.take().filter(|_| !self.is_incomplete) {
            self.found.sheet.add(&std::mem::take(&mut self.css), media);
        }
        self.is_done |= self.is_behind.get();
    }

    fn finish(mut self) -> Preamble {
        self.end_of_element();
        if self.is_incomplete {
            self.found.sheet.give_up();
        }
        self.found
    }

    /// The media for which a style sheet counts.
    fn media_of(&self, attributes: &Attributes) -> Option<Holds> {
        let kind = attributes.get("type").unwrap_or_default();
        let is_css = kind.is_empty() || kind.eq_ignore_ascii_case("text/css");
        let media = attributes.get("media").unwrap_or_default();
        (is_css && self.templates == 0).then(|| media_applies(media))
    }
}

impl TokenSink for StyleReader {
    fn wants(&self, element: &[u8], attribute: &str) -> bool {
        match element {
            b"html" | b"body" => true,
            b"style" => matches!(attribute, "media" | "type"),
            b"link" => attribute == "href",
            _ => false,
        }
    }

    fn start(&mut self, start: StartTag) {
        self.end_of_element();
        match start.tag {
            Tag::Style => self.media = self.media_of(&start.attributes),
            Tag::Template => self.templates += 1,
            Tag::Svg | Tag::Math => self.has_drawing = true,
            // Whether it belongs to the page depends on where it stands.
            Tag::Html | Tag::Body if self.templates > 0 => self.is_incomplete = true,
            Tag::Html => self.found.html.extend(start.attributes),
            Tag::Body => self.found.body.extend(start.attributes),
            Tag::Link => {
                // Other style sheets than those within the mail are not loaded.
                let target = start.attributes.get("href").unwrap_or_default();
                let scheme = target.trim_start().get(..5).unwrap_or_default();
                self.is_incomplete |= scheme.eq_ignore_ascii_case("data:");
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: &Tag) {
        self.end_of_element();
        if *tag == Tag::Template {
            self.templates = self.templates.saturating_sub(1);
        }
    }

    fn text(&mut self, text: &str) {
        if self.media.is_none() {
            // In a drawing, what is text elsewhere can be a style.
            self.is_incomplete |= self.has_drawing && text.contains("<");
            return;
        }
        // In a drawing, the text of a style has entities and sections.
        self.is_incomplete |= self.has_drawing && text.contains(['&', '<']);
        self.size += text.len();
        self.is_incomplete |= self.size > MAX_CSS;
        if !self.is_incomplete {
            self.css.push_str(text);
        }
    }

    fn is_done(&self, steps: u64) -> bool {
        self.is_done || self.is_incomplete || steps > MAX_STEPS
    }
}
