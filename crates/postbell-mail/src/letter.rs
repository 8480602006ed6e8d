//! Which parts of a mail are its letter, decided as mail readers do (RFC 2046, 2183, 2387, 8621), and their text.

mod agreement;
mod leaf;

use std::collections::HashMap;

use postbell_google::{Body, Part};
use postbell_protocol::webhook::BodyFormat;

use self::agreement::Agreement;
use crate::header::{decode_addresses, decode_text, field};
use crate::html;
use crate::invisible::is_blank;
use crate::media_type::MediaType;
use crate::part::{Place, content_parameter, is_file};

/// The deepest nesting of parts that is followed.
const MAX_DEPTH: usize = 32;

/// The largest number of parts that are read.
const MAX_PARTS: usize = 2_000;

/// A plain text shorter than this behind HTML is never taken for a copy of it: it may be a list's footer.
const SMALL_TEXT: usize = 200;

/// The text of a mail.
#[derive(Debug, Default)]
pub(crate) struct Letter {
    pub(crate) text: Option<String>,
    /// Whether the mail has more text.
    pub(crate) is_incomplete: bool,
    /// The parts whose content Gmail keeps apart.
    pub(crate) missing: Vec<MissingPart>,
}

/// A text part whose content must be fetched from Gmail by its id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MissingPart {
    /// The id of `messages.attachments.get`.
    pub attachment_id: String,
    /// The size in bytes.
    pub size: u64,
}

/// Fetched contents, by attachment id.
pub type FetchedParts = HashMap<String, Body>;

/// The text of one part.
#[derive(Debug)]
struct PartText {
    /// As a person reads it, by which parts are compared.
    text: String,
    /// As the bot gets it, if that is not the text.
    formatted: Option<String>,
    form: Form,
}

impl PartText {
    fn formatted(&self) -> &str {
        self.formatted.as_deref().unwrap_or(&self.text)
    }
}

/// How a text was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Plain,
    Enriched,
    Html,
    Calendar,
    /// Our own words about a part that cannot be read.
    Notice,
}

/// Reads the letter, of which about `limit` bytes are wanted.
pub(crate) fn read(
    mail: &Part,
    limit: usize,
    format: BodyFormat,
    fetched: &FetchedParts,
) -> Letter {
    let mut reader = LetterReader {
        limit,
        format,
        fetched,
        parts_left: MAX_PARTS,
        letter: Letter::default(),
    };
    let found = reader.part(mail, Place::Root, 0);
    reader.letter.text = found.map(|found| found.formatted.unwrap_or(found.text));
    reader.letter
}

struct LetterReader<'a> {
    limit: usize,
    format: BodyFormat,
    fetched: &'a FetchedParts,
    parts_left: usize,
    letter: Letter,
}

impl LetterReader<'_> {
    /// The text of a part, unless it is blank or no part of the letter.
    fn part(&mut self, part: &Part, place: Place, depth: usize) -> Option<PartText> {
        if depth > MAX_DEPTH || self.parts_left == 0 {
            self.letter.is_incomplete = true;
            return None;
        }
        self.parts_left -= 1;
        match MediaType::of(part) {
            MediaType::Alternative => self.alternative(part, depth),
            MediaType::Related => self.related(part, depth),
            MediaType::FirstOnly => self.first_of(part, depth),
            MediaType::Encrypted => {
                Some(self.notice("This message is encrypted. Its text cannot be read here."))
            }
            MediaType::Digest => self.digest(part, depth),
            MediaType::Mixed => self.mixed(part, depth),
            // An attached mail is not the letter, whatever it says.
            MediaType::Mail => None,
            MediaType::Smime => self.smime(part),
            // Gmail may name the root after its first part.
            MediaType::File if place == Place::Root && !part.parts.is_empty() => {
                self.mixed(part, depth)
            }
            MediaType::File => None,
            media_type if is_file(part, media_type, place) => None,
            media_type => self.leaf(part, media_type),
        }
        .filter(|found| !is_blank(&found.text))
    }

    /// The best form of the same content. A plain text is taken where it says what the HTML shows: a blank one, a stub,
    /// a teaser, and one with text that the HTML does not show all give way to the HTML.
    fn alternative(&mut self, part: &Part, depth: usize) -> Option<PartText> {
        let mut forms = Vec::new();
        for (at, child) in part.parts.iter().enumerate() {
            forms.extend(
                self.part(child, Place::Content, depth + 1)
                    .map(|found| (at, found)),
            );
        }
        let take_last = |forms: &mut Vec<(usize, PartText)>, form: Form| {
            let at = forms.iter().rposition(|(_, found)| found.form == form)?;
            Some(forms.remove(at))
        };
        let html = take_last(&mut forms, Form::Html);
        let enriched = take_last(&mut forms, Form::Enriched);
        let first_plain = forms
            .iter()
            .position(|(_, found)| found.form == Form::Plain);
        let plain = first_plain.map(|at| forms.remove(at)).or(enriched);
        match (plain, html) {
            (Some((plain_at, plain)), Some((html_at, html))) => {
                // The text that a person or a good program laid out is better than one that is made of the HTML.
                let is_better = self.format == BodyFormat::Text
                    && (plain_at > html_at
                        || Agreement::of(&plain.text, &html.text).is_same_letter());
                Some(if is_better { plain } else { html })
            }
            (Some((_, found)), None) | (None, Some((_, found))) => Some(found),
            (None, None) => forms.pop().map(|(_, found)| found),
        }
    }

    /// The part that the others belong to: the named one, or the first (RFC 2387, section 3.2).
    fn related(&mut self, part: &Part, depth: usize) -> Option<PartText> {
        let bare = |id: &str| id.trim().trim_matches(['<', '>']).to_owned();
        let start = content_parameter(part, "start").map(|start| bare(&start));
        let is_start = |child: &&Part| {
            let id = field(&child.headers, "content-id").map(bare);
            id.is_some() && id == start
        };
        let root = part.parts.iter().find(is_start).or(part.parts.first())?;
        self.part(root, Place::Content, depth + 1).or_else(|| {
            let mut others = part
                .parts
                .iter()
                .filter(|child| !std::ptr::eq(*child, root));
            others.find_map(|child| self.part(child, Place::Later, depth + 1))
        })
    }

    fn first_of(&mut self, part: &Part, depth: usize) -> Option<PartText> {
        part.parts
            .iter()
            .enumerate()
            .find_map(|(at, child)| self.part(child, place_of(at), depth + 1))
    }

    /// All parts in their order: text before and after a picture, a list's footer behind the letter.
    fn mixed(&mut self, part: &Part, depth: usize) -> Option<PartText> {
        let mut found = Vec::new();
        for (at, child) in part.parts.iter().enumerate() {
            if let Some(text) = self.part(child, place_of(at), depth + 1) {
                self.add(&mut found, text);
            }
            if self.is_full(&found) && at + 1 < part.parts.len() {
                self.letter.is_incomplete = true;
                break;
            }
        }
        joined(found)
    }

    /// Adds a text, unless it is another form of the one before.
    fn add(&self, found: &mut Vec<PartText>, text: PartText) {
        if let Some(before) = found.last() {
            match (before.form, text.form) {
                (Form::Plain, Form::Html) => {
                    let agreement = Agreement::of(&before.text, &text.text);
                    let is_same = agreement.is_same_letter();
                    if is_same && self.format == BodyFormat::Text {
                        return;
                    }
                    if is_same || agreement.is_extract() {
                        found.pop();
                    }
                }
                (Form::Html, Form::Plain)
                    if text.text.len() >= SMALL_TEXT
                        && Agreement::of(&text.text, &before.text).is_copy() =>
                {
                    return;
                }
                _ => {}
            }
        }
        found.push(text);
    }

    /// The mails of a digest, which readers show one after the other.
    fn digest(&mut self, part: &Part, depth: usize) -> Option<PartText> {
        let mut found = Vec::new();
        for (at, child) in part.parts.iter().enumerate() {
            let text = match MediaType::of(child) {
                MediaType::Mail => self.mail_of_digest(child, depth + 1),
                _ => self.part(child, place_of(at), depth + 1),
            };
            found.extend(text);
            if self.is_full(&found) && at + 1 < part.parts.len() {
                self.letter.is_incomplete = true;
                break;
            }
        }
        joined(found)
    }

    fn mail_of_digest(&mut self, mail: &Part, depth: usize) -> Option<PartText> {
        let inner = mail.parts.first()?;
        let line = |name: &str, decode: fn(&str) -> String| {
            let value = field(&inner.headers, name).or_else(|| field(&mail.headers, name))?;
            Some(format!("{name}: {}\n", decode(value))).filter(|_| !value.trim().is_empty())
        };
        let from = line("From", decode_addresses).unwrap_or_default();
        let subject = line("Subject", decode_text).unwrap_or_default();
        let text = self.part(inner, Place::Root, depth + 1);
        let head = self.plain(format!("{from}{subject}"), Form::Plain);
        let has_head = !head.text.is_empty();
        joined(
            Some(head)
                .filter(|_| has_head)
                .into_iter()
                .chain(text)
                .collect(),
        )
    }

    /// Says what an opaque S/MIME part is. A detached signature is a file.
    fn smime(&mut self, part: &Part) -> Option<PartText> {
        let kind = content_parameter(part, "smime-type")
            .unwrap_or_default()
            .to_ascii_lowercase();
        match kind.as_str() {
            "certs-only" | "signed-receipt" => None,
            "signed-data" => Some(self.notice(
                "This message is signed with S/MIME in a form whose text cannot be read here.",
            )),
            _ => Some(
                self.notice("This message is encrypted with S/MIME. Its text cannot be read here."),
            ),
        }
    }

    /// A sentence in place of a text that cannot be read.
    fn notice(&mut self, sentence: &str) -> PartText {
        self.letter.is_incomplete = true;
        self.plain(format!("[{sentence}]"), Form::Notice)
    }

    /// A text that is no HTML, in the format that is wanted.
    fn plain(&self, text: String, form: Form) -> PartText {
        let formatted = match self.format {
            BodyFormat::Text => None,
            BodyFormat::Markdown => Some(html::markdown_of_plain(&text)),
            BodyFormat::Html => Some(html::html_of_plain(&text)),
        };
        PartText {
            text,
            formatted,
            form,
        }
    }

    fn is_full(&self, found: &[PartText]) -> bool {
        let size: usize = found.iter().map(|found| found.formatted().len()).sum();
        size > self.limit
    }
}

fn place_of(number: usize) -> Place {
    if number == 0 {
        Place::First
    } else {
        Place::Later
    }
}

fn joined(found: Vec<PartText>) -> Option<PartText> {
    let has_html = found.iter().any(|found| found.form == Form::Html);
    let form = if has_html {
        Form::Html
    } else {
        found.first()?.form
    };
    let texts: Vec<_> = found.iter().map(|found| found.text.trim_end()).collect();
    let formatted = found
        .iter()
        .any(|found| found.formatted.is_some())
        .then(|| {
            let formatted: Vec<_> = found
                .iter()
                .map(|found| found.formatted().trim_end())
                .collect();
            formatted.join("\n\n")
        });
    Some(PartText {
        text: texts.join("\n\n"),
        formatted,
        form,
    })
}
