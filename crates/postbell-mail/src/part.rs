//! What a part's own fields say about it: its name, its disposition, its charset.

use postbell_google::Part;

use crate::header::{decode_text, field};
use crate::media_type::MediaType;
use crate::parameter::{main_value, parameter};

/// Where a part stands in its container.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// The mail itself.
    Root,
    /// One of the forms of the same content, or what related parts belong to.
    Content,
    /// The first part of another container.
    First,
    Later,
}

/// The value of `Content-Disposition` (RFC 2183).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Disposition {
    Unstated,
    Inline,
    Attachment,
}

pub(crate) fn disposition(part: &Part) -> Disposition {
    match field(&part.headers, "content-disposition")
        .map(main_value)
        .as_deref()
    {
        None | Some("") => Disposition::Unstated,
        Some("inline") => Disposition::Inline,
        // Section 2.8: an unknown disposition is an attachment.
        Some(_) => Disposition::Attachment,
    }
}

/// The decoded name of a file; empty if the part has none.
pub(crate) fn file_name(part: &Part) -> String {
    // Gmail takes the name of most files out of the fields, but may keep an extended one (RFC 2231) there.
    let name = decode_text(&part.filename);
    // A replacement character may stand for one that was split over two pieces of the field.
    if !name.is_empty() && !name.contains(char::REPLACEMENT_CHARACTER) {
        return name;
    }
    let of_field = |name: &str, parameter_name: &str| {
        let value = field(&part.headers, name)?;
        parameter(value, parameter_name).filter(|name| !name.is_empty())
    };
    of_field("content-disposition", "filename")
        .or_else(|| of_field("content-type", "name"))
        .unwrap_or(name)
}

/// Whether a text part is a file and not a part of the letter.
pub(crate) fn is_file(part: &Part, media_type: MediaType, place: Place) -> bool {
    let disposition = disposition(part);
    let has_name = !file_name(part).is_empty();
    let is_attachment = disposition == Disposition::Attachment;
    match place {
        // A mail is shown whatever its name is.
        Place::Root => is_attachment && has_name,
        Place::Content => is_attachment,
        // RFC 8621, section 4.1.4: a named text is shown where it comes first.
        Place::First if disposition == Disposition::Inline => {
            let is_letter = matches!(
                media_type,
                MediaType::Plain | MediaType::Html | MediaType::Enriched | MediaType::OtherText
            );
            has_name && !is_letter
        }
        Place::First | Place::Later => is_attachment || has_name,
    }
}

/// A parameter of the part's `Content-Type`.
pub(crate) fn content_parameter(part: &Part, name: &str) -> Option<String> {
    parameter(field(&part.headers, "content-type")?, name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_damaged_name_is_read_from_the_fields_again() {
        let named = |filename: &str, value: &str| {
            let part = json!({
                "filename": filename,
                "headers": [{ "name": "Content-Disposition", "value": value }],
            });
            file_name(&serde_json::from_value(part).unwrap())
        };
        let split = "attachment; filename*0*=UTF-8''a%D8; filename*1*=%AF.txt";
        assert_eq!(named("a\u{fffd}\u{fffd}.txt", split), "a\u{62f}.txt");
        assert_eq!(named("b.txt", split), "b.txt");
        assert_eq!(named("a\u{fffd}.txt", "attachment"), "a\u{fffd}.txt");
    }
}
