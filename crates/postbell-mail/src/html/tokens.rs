//! The tokens of a page, from html5gum's tokenizer (WHATWG, section 13.2.5).

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};

use super::tag::Tag;

/// The largest number of attributes of one tag that are kept, besides those that hide text.
const MAX_ATTRIBUTES: usize = 64;

/// Attributes that are kept however many others a tag has.
const ALWAYS_KEPT: [&str; 12] = [
    "alt",
    "background",
    "bgcolor",
    "border",
    "class",
    "color",
    "height",
    "hidden",
    "href",
    "id",
    "style",
    "width",
];

/// A part of a page.
pub(super) enum Token {
    Start(StartTag),
    End(Tag),
    Text(String),
}

/// A start tag.
pub(super) struct StartTag {
    pub(super) tag: Tag,
    pub(super) attributes: Attributes,
    pub(super) is_self_closing: bool,
}

/// The attributes of a tag. Of two with the same name, the first counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(Vec<(Box<str>, String)>);

impl Attributes {
    /// The value of the attribute with this name in lower case.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| **known == *name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Adds an attribute with an empty value, unless it is there or there are too many. Returns whether it was added.
    fn add(&mut self, name: &str) -> bool {
        let is_kept = self.0.len() < MAX_ATTRIBUTES || ALWAYS_KEPT.contains(&name);
        let is_new = is_kept && !self.has(name);
        if is_new {
            self.0.push((name.into(), String::new()));
        }
        is_new
    }
}

/// The tokens of a page, without comments and doctypes.
pub(super) fn tokens(html: &str) -> impl Iterator<Item = Token> {
    let mut collector = Collector::default();
    let callback = move |event: CallbackEvent<'_>, _: Span<()>| collector.token(event);
    let mut emitter = CallbackEmitter::new(callback);
    // The content of `script`, `style` and `title` is not markup.
    emitter.naively_switch_states(true);
    Tokenizer::new_with_emitter(html, emitter).map(|token| match token {
        Ok(token) => token,
        Err(never) => match never {},
    })
}

/// Collects the events of one start tag.
#[derive(Default)]
struct Collector {
    tag: Option<Tag>,
    attributes: Attributes,
    is_value_kept: bool,
}

impl Collector {
    fn token(&mut self, event: CallbackEvent<'_>) -> Option<Token> {
        match event {
            CallbackEvent::OpenStartTag { name } => {
                self.tag = Some(tag(name));
                self.attributes = Attributes::default();
                None
            }
            CallbackEvent::AttributeName { name } => {
                self.is_value_kept = self.attributes.add(&String::from_utf8_lossy(name));
                None
            }
            CallbackEvent::AttributeValue { value } => {
                if let Some((_, last)) = self.attributes.0.last_mut().filter(|_| self.is_value_kept)
                {
                    last.push_str(&String::from_utf8_lossy(value));
                }
                None
            }
            CallbackEvent::CloseStartTag { self_closing } => Some(Token::Start(StartTag {
                tag: self.tag.take()?,
                attributes: std::mem::take(&mut self.attributes),
                is_self_closing: self_closing,
            })),
            CallbackEvent::EndTag { name } => Some(Token::End(tag(name))),
            CallbackEvent::String { value } => {
                Some(Token::Text(String::from_utf8_lossy(value).into_owned()))
            }
            CallbackEvent::Comment { .. }
            | CallbackEvent::Doctype { .. }
            | CallbackEvent::Error(_) => None,
        }
    }
}

fn tag(name: &[u8]) -> Tag {
    // The longest name that means something is far shorter.
    let name = &name[..name.len().min(64)];
    Tag::named(&String::from_utf8_lossy(name))
}
