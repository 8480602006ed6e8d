//! The text of one text part.

use std::io::Read;

use postbell_google::{Body, Part};
use postbell_protocol::webhook::BodyFormat;

use super::{Form, LetterReader, MissingPart, PartText};
use crate::charset::{self, Charset};
use crate::html::{self, Output};
use crate::invisible::visible_text;
use crate::media_type::MediaType;
use crate::part::content_parameter;
use crate::{calendar, enriched, flowed};

/// How much of a plain text is decoded at least: markup and layout may take most of it.
const MIN_DECODED: usize = 1024 * 1024;

/// The largest part that is fetched on its own, in bytes.
const MAX_FETCHED: u64 = 5 * 1024 * 1024;

/// The largest number of parts of one mail that are fetched.
const MAX_MISSING: usize = 10;

impl LetterReader<'_> {
    pub(super) fn leaf(&mut self, part: &Part, media_type: MediaType) -> Option<PartText> {
        let body = self.body(part)?;
        let label = content_parameter(part, "charset");
        if media_type == MediaType::Html {
            return self.html(body, label.as_deref());
        }
        let text = self.start_of(body, label.as_deref())?;
        Some(match media_type {
            MediaType::Calendar => {
                self.plain(calendar::text_of(&visible_text(&text)), Form::Calendar)
            }
            MediaType::Enriched => {
                self.plain(enriched::text_of(&visible_text(&text)), Form::Enriched)
            }
            _ if is_markdown(part) && self.format == BodyFormat::Markdown => PartText {
                text: visible_text(&text),
                formatted: None,
                form: Form::Plain,
            },
            _ => self.plain(plain_text(part, &text), Form::Plain),
        })
    }

    /// The text of a page, which is decoded while it is read: a mail can have 25 MB.
    fn html(&mut self, body: &Body, label: Option<&str>) -> Option<PartText> {
        let charset = Charset::of(body.reader(), label).ok();
        let Some(charset) = charset.filter(|_| body.data.is_some()) else {
            self.letter.is_incomplete = true;
            return None;
        };
        let output = match self.format {
            BodyFormat::Markdown => Output::Markdown,
            BodyFormat::Text | BodyFormat::Html => Output::Text,
        };
        // A little more than is wanted, so that the end is cut where it would be cut in a plain text.
        let limit = self.limit.saturating_add(64);
        let page = html::text_of(|| charset.decode(body.reader()), limit, output);
        let formatted = if self.format == BodyFormat::Html {
            Some(self.source(charset.decode(body.reader()), limit)?)
        } else {
            self.letter.is_incomplete |= page.was_cut;
            None
        };
        Some(PartText {
            text: page.text,
            formatted,
            form: Form::Html,
        })
    }

    /// The HTML itself, of which at most `limit` bytes are taken.
    fn source(&mut self, page: impl Read, limit: usize) -> Option<String> {
        let mut bytes = Vec::new();
        let read = page.take(limit as u64 + 1).read_to_end(&mut bytes).ok()?;
        self.letter.is_incomplete |= read > limit;
        let source = String::from_utf8(bytes);
        Some(source.unwrap_or_else(|error| {
            let valid = error.utf8_error().valid_up_to();
            String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned()
        }))
    }

    /// About as much of a text as is wanted.
    fn start_of(&mut self, body: &Body, label: Option<&str>) -> Option<String> {
        // A charset needs at most two bytes for one byte of UTF-8.
        let wanted = self.limit.saturating_mul(2).saturating_add(MIN_DECODED);
        let bytes = body.first_bytes(wanted);
        self.letter.is_incomplete |= bytes.as_ref().is_none_or(|bytes| bytes.len() >= wanted);
        Some(charset::decode(&bytes?, label))
    }

    /// The body that came with the message, or was fetched.
    fn body<'a>(&mut self, part: &'a Part) -> Option<&'a Body>
    where
        Self: 'a,
    {
        let body = &part.body;
        if body.data.as_ref().is_some_and(|data| !data.is_empty()) {
            return Some(body);
        }
        let id = body.attachment_id.as_ref().filter(|id| !id.is_empty())?;
        let fetched = self.fetched.get(id);
        if fetched.is_none() {
            self.letter.is_incomplete = true;
            if body.size <= MAX_FETCHED && self.letter.missing.len() < MAX_MISSING {
                self.letter.missing.push(MissingPart {
                    attachment_id: id.clone(),
                    size: body.size,
                });
            }
        }
        fetched
    }
}

fn is_markdown(part: &Part) -> bool {
    part.mime_type.trim().eq_ignore_ascii_case("text/markdown")
}

fn plain_text(part: &Part, text: &str) -> String {
    let text = visible_text(text);
    let is = |name: &str, wanted: &str| {
        content_parameter(part, name).is_some_and(|value| value.eq_ignore_ascii_case(wanted))
    };
    if is("format", "flowed") {
        flowed::text_of(&text, is("delsp", "yes"))
    } else {
        text
    }
}
