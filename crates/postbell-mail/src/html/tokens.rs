//! The tokens of a page, from html5gum's tokenizer (WHATWG, section 13.2.5).

use std::io::{self, Read};

use html5gum::{Emitter, Error, IoReader, State, Tokenizer};

use super::tag::Tag;

/// The longest name of a tag or an attribute that means something is far shorter.
pub(super) const MAX_NAME: usize = 64;

/// The largest number of attributes of one tag that are kept.
const MAX_ATTRIBUTES: usize = 128;

/// The largest size of the kept attributes of one tag, in bytes.
const MAX_ATTRIBUTES_SIZE: usize = 1024 * 1024;

/// The most steps of the tokenizer in a pass: about a tenth of a second. A newsletter of 100 kB has some 30,000.
pub(super) const MAX_STEPS: u64 = 1_000_000;

/// Takes the tokens of a page, without comments and doctypes.
pub(super) trait TokenSink {
    /// Whether the value of an attribute of an element is wanted; both names in lower case.
    fn wants(&self, element: &[u8], attribute: &str) -> bool;

    /// Whether what is read is in a drawing or a formula, whose elements all contain markup.
    fn is_in_drawing(&self) -> bool {
        false
    }

    fn start(&mut self, tag: StartTag);

    fn end(&mut self, tag: &Tag);

    /// A part of a text.
    fn text(&mut self, text: &str);

    /// Whether no more tokens are wanted after `steps` of the tokenizer.
    fn is_done(&self, steps: u64) -> bool;
}

/// A start tag.
pub(super) struct StartTag {
    pub(super) tag: Tag,
    pub(super) attributes: Attributes,
    pub(super) is_self_closing: bool,
}

/// The attributes of a tag. Of two with the same name, the first counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes {
    values: Vec<(Box<str>, String)>,
    size: usize,
    /// There are more, or a value is longer.
    pub(super) is_cut: bool,
}

impl Attributes {
    /// The value of the attribute with this name in lower case.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().find(|(known, _)| **known == *name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The attributes whose name is wanted.
    pub(super) fn filtered(&self, is_wanted: impl Fn(&str) -> bool) -> Self {
        let values = self.values.iter().filter(|(name, _)| is_wanted(name));
        Self {
            values: values.cloned().collect(),
            ..Self::default()
        }
    }

    /// Adds the attributes of a later tag for the same element.
    pub(super) fn extend(&mut self, other: Self) {
        self.is_cut |= other.is_cut;
        for (name, value) in other.values {
            self.add(&name, value.as_bytes());
        }
    }

    /// Adds an attribute, unless it is there or there are too many.
    fn add(&mut self, name: &str, value: &[u8]) {
        if self.has(name) {
            return;
        }
        if self.values.len() < MAX_ATTRIBUTES {
            let value = String::from_utf8_lossy(value).into_owned();
            self.values.push((name.into(), value));
        } else {
            self.is_cut = true;
        }
    }
}

/// Reads the tokens of a page of UTF-8 until the sink is done. Returns the steps of the tokenizer.
pub(super) fn read(page: impl Read, sink: &mut impl TokenSink) -> io::Result<u64> {
    let collector = Collector {
        sink,
        steps: 0,
        current: Current::Other,
        name: Vec::new(),
        last_start: Vec::new(),
        is_self_closing: false,
        attributes: Attributes::default(),
        attribute: Vec::new(),
        is_wanted: None,
        value: Vec::new(),
        rest: Vec::new(),
        is_ended: false,
    };
    let mut tokenizer = Tokenizer::new_with_emitter(IoReader::new(page), collector);
    match tokenizer.next().transpose()? {
        Some(Done { steps }) => Ok(steps),
        // The tokenizer gives nothing else before the end of the page.
        None => Ok(0),
    }
}

/// The sink wants no more, or the page has ended.
struct Done {
    steps: u64,
}

/// What the tokenizer reads at present.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Current {
    Other,
    Start,
    End,
}

/// Collects the pieces of tags, and gives tags and texts to the sink.
struct Collector<'a, S> {
    sink: &'a mut S,
    /// The calls of the tokenizer.
    steps: u64,
    current: Current,
    name: Vec<u8>,
    last_start: Vec<u8>,
    is_self_closing: bool,
    attributes: Attributes,
    attribute: Vec<u8>,
    /// Whether the value of the current attribute is kept; decided when the value or the next attribute begins.
    is_wanted: Option<bool>,
    value: Vec<u8>,
    /// The beginning of a character at the end of a piece of text.
    rest: Vec<u8>,
    is_ended: bool,
}

impl<S: TokenSink> Collector<'_, S> {
    fn is_wanted(&mut self) -> bool {
        let is_start = self.current == Current::Start;
        let name = std::str::from_utf8(&self.attribute).unwrap_or_default();
        let (sink, attributes, element) = (&self.sink, &self.attributes, &self.name);
        *self.is_wanted.get_or_insert_with(|| {
            is_start && !name.is_empty() && sink.wants(element, name) && !attributes.has(name)
        })
    }

    fn finish_attribute(&mut self) {
        if !self.attribute.is_empty() && self.is_wanted() {
            let name = String::from_utf8_lossy(&self.attribute);
            self.attributes.add(&name, &self.value);
        }
        self.attribute.clear();
        self.value.clear();
        self.is_wanted = None;
    }

    /// Gives a text to the sink. A character can be in two pieces.
    fn text(&mut self, piece: &[u8]) {
        let joint;
        let piece = if self.rest.is_empty() {
            piece
        } else {
            joint = [std::mem::take(&mut self.rest).as_slice(), piece].concat();
            &joint
        };
        for chunk in piece.utf8_chunks() {
            if !chunk.valid().is_empty() {
                self.sink.text(chunk.valid());
            }
            // The page is UTF-8: what is not valid is the beginning of a character.
            self.rest = chunk.invalid().to_vec();
        }
    }
}

impl<S: TokenSink> Emitter for Collector<'_, S> {
    type Token = Done;

    fn set_last_start_tag(&mut self, name: Option<&[u8]>) {
        self.last_start = name.unwrap_or_default().to_vec();
    }

    fn emit_eof(&mut self) {
        self.is_ended = true;
    }

    fn emit_error(&mut self, _: Error) {}

    #[inline]
    fn should_emit_errors(&mut self) -> bool {
        false
    }

    #[inline]
    fn pop_token(&mut self) -> Option<Done> {
        let is_done = self.is_ended || self.sink.is_done(self.steps);
        is_done.then_some(Done { steps: self.steps })
    }

    fn emit_string(&mut self, piece: &[u8]) {
        self.steps += 1;
        if !self.sink.is_done(self.steps) {
            self.text(piece);
        }
    }

    fn init_start_tag(&mut self) {
        self.steps += 1;
        self.current = Current::Start;
        self.name.clear();
        self.is_self_closing = false;
        self.attributes = Attributes::default();
    }

    fn init_end_tag(&mut self) {
        self.steps += 1;
        self.current = Current::End;
        self.name.clear();
    }

    fn init_comment(&mut self) {
        self.steps += 1;
        self.current = Current::Other;
    }

    fn emit_current_tag(&mut self) -> Option<State> {
        self.finish_attribute();
        let tag = Tag::named(&String::from_utf8_lossy(&self.name));
        match std::mem::replace(&mut self.current, Current::Other) {
            Current::Start => {
                std::mem::swap(&mut self.last_start, &mut self.name);
                let next = content_of(&tag).filter(|_| !self.sink.is_in_drawing());
                self.sink.start(StartTag {
                    tag,
                    attributes: std::mem::take(&mut self.attributes),
                    is_self_closing: self.is_self_closing,
                });
                next
            }
            Current::End => {
                self.sink.end(&tag);
                None
            }
            Current::Other => None,
        }
    }

    fn emit_current_comment(&mut self) {}

    fn emit_current_doctype(&mut self) {}

    fn set_self_closing(&mut self) {
        self.is_self_closing = true;
    }

    fn set_force_quirks(&mut self) {}

    fn push_tag_name(&mut self, piece: &[u8]) {
        self.steps += 1;
        push(&mut self.name, piece, MAX_NAME);
    }

    fn push_comment(&mut self, _: &[u8]) {
        self.steps += 1;
    }

    fn push_doctype_name(&mut self, _: &[u8]) {
        self.steps += 1;
    }

    fn init_doctype(&mut self) {
        self.current = Current::Other;
    }

    fn init_attribute(&mut self) {
        self.steps += 1;
        self.finish_attribute();
    }

    fn push_attribute_name(&mut self, piece: &[u8]) {
        self.steps += 1;
        // A name that is too long is none that is wanted.
        push(&mut self.attribute, piece, MAX_NAME + 1);
    }

    fn push_attribute_value(&mut self, piece: &[u8]) {
        self.steps += 1;
        if self.is_wanted() {
            let left = MAX_ATTRIBUTES_SIZE.saturating_sub(self.attributes.size);
            self.attributes.is_cut |= piece.len() > left;
            let kept = piece.len().min(left);
            self.attributes.size += kept;
            self.value.extend(&piece[..kept]);
        }
    }

    fn set_doctype_public_identifier(&mut self, _: &[u8]) {}

    fn set_doctype_system_identifier(&mut self, _: &[u8]) {}

    fn push_doctype_public_identifier(&mut self, _: &[u8]) {
        self.steps += 1;
    }

    fn push_doctype_system_identifier(&mut self, _: &[u8]) {
        self.steps += 1;
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&mut self) -> bool {
        self.sink.is_in_drawing()
    }

    fn current_is_appropriate_end_tag_token(&mut self) -> bool {
        self.current == Current::End && !self.last_start.is_empty() && self.last_start == self.name
    }
}

fn push(name: &mut Vec<u8>, piece: &[u8], limit: usize) {
    let left = limit.saturating_sub(name.len());
    name.extend(&piece[..piece.len().min(left)]);
}

/// How the content of an element is read that is not markup (WHATWG, section 13.2.6). No script runs in a mail, so
/// that of `noscript` is.
fn content_of(tag: &Tag) -> Option<State> {
    match tag {
        Tag::Textarea | Tag::Title => Some(State::RcData),
        Tag::Script => Some(State::ScriptData),
        Tag::Style | Tag::Iframe | Tag::Xmp | Tag::Noembed | Tag::Noframes => Some(State::RawText),
        Tag::Other(name) if **name == *"plaintext" => Some(State::PlainText),
        _ => None,
    }
}
