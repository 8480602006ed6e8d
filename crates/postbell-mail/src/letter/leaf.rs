//! The text of one text part.

use postbell_google::{Body, Part};

use super::{Form, LetterReader, MissingPart, PartText};
use crate::charset;
use crate::invisible::visible_text;
use crate::media_type::MediaType;
use crate::part::content_parameter;
use crate::{calendar, enriched, flowed, html};

/// How much of a plain text is decoded at least: markup and layout may take most of it.
const MIN_DECODED: usize = 1024 * 1024;

/// The largest part that is fetched on its own, in bytes.
const MAX_FETCHED: u64 = 5 * 1024 * 1024;

/// The largest number of parts of one mail that are fetched.
const MAX_MISSING: usize = 10;

impl LetterReader<'_> {
    pub(super) fn leaf(&mut self, part: &Part, media_type: MediaType) -> Option<PartText> {
        let bytes = self.bytes(part, media_type)?;
        let text = charset::decode(bytes, content_parameter(part, "charset").as_deref());
        Some(match media_type {
            MediaType::Html => self.html(&text),
            MediaType::Calendar => PartText {
                text: calendar::text_of(&visible_text(&text)),
                form: Form::Calendar,
            },
            MediaType::Enriched => PartText {
                text: enriched::text_of(&visible_text(&text)),
                form: Form::Enriched,
            },
            _ => PartText {
                text: plain_text(part, &text),
                form: Form::Plain,
            },
        })
    }

    fn html(&mut self, text: &str) -> PartText {
        // A little more than is wanted, so that the end is cut where it would be cut in a plain text.
        let page = html::text_of(text, self.limit.saturating_add(64));
        self.letter.is_incomplete |= page.was_cut;
        PartText {
            text: page.text,
            form: Form::Html,
        }
    }

    /// The content of a part: about as much of it as is wanted, because a mail can have 25 MB.
    fn bytes(&mut self, part: &Part, media_type: MediaType) -> Option<Vec<u8>> {
        let body = self.body(part)?;
        let wanted = match media_type {
            MediaType::Html | MediaType::Calendar => usize::MAX,
            // A charset needs at most two bytes for one byte of UTF-8.
            _ => self.limit.saturating_mul(2).saturating_add(MIN_DECODED),
        };
        let bytes = body.first_bytes(wanted);
        self.letter.is_incomplete |= bytes.as_ref().is_none_or(|bytes| bytes.len() >= wanted);
        bytes
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
