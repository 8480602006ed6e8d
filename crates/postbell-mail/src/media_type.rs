//! The media types that decide what a part is for.

use postbell_google::Part;

/// What a part is, by its media type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MediaType {
    /// The same content in several forms, the best last (RFC 2046, section 5.1.4).
    Alternative,
    /// A part and what it refers to (RFC 2387).
    Related,
    /// Content, then what a program needs: a signature (RFC 1847), a delivery report (RFC 6522).
    FirstOnly,
    /// Content that is encrypted with PGP (RFC 3156) or otherwise (RFC 1847).
    Encrypted,
    /// Mails that are shown as text (RFC 2046, section 5.1.5).
    Digest,
    /// Any other container: its parts follow each other.
    Mixed,
    /// A mail within the mail.
    Mail,
    Html,
    Plain,
    /// RFC 1896.
    Enriched,
    /// RFC 5545.
    Calendar,
    /// Markdown, and other text that is readable as it stands.
    OtherText,
    /// Signed or encrypted with S/MIME, so that its content is opaque (RFC 8551).
    Smime,
    /// A file, or a text that no reader shows in the letter.
    File,
}

impl MediaType {
    pub(crate) fn of(part: &Part) -> Self {
        let name = part.mime_type.trim().to_ascii_lowercase();
        match name.as_str() {
            "multipart/alternative" => Self::Alternative,
            "multipart/related" => Self::Related,
            "multipart/signed" | "multipart/report" | "multipart/appledouble" => Self::FirstOnly,
            "multipart/encrypted" => Self::Encrypted,
            "multipart/digest" => Self::Digest,
            "message/rfc822" | "message/global" => Self::Mail,
            "text/html" => Self::Html,
            "text/plain" => Self::Plain,
            "text/enriched" | "text/richtext" => Self::Enriched,
            "text/calendar" => Self::Calendar,
            "application/pkcs7-mime" | "application/x-pkcs7-mime" => Self::Smime,
            "text/css"
            | "text/directory"
            | "text/javascript"
            | "text/rfc822-headers"
            | "text/rtf"
            | "text/vcard"
            | "text/x-amp-html"
            | "text/x-vcard"
            | "text/xml" => Self::File,
            // RFC 2045, section 5.2: without a valid type it is plain text.
            name if part.parts.is_empty() && !is_valid(name) => Self::Plain,
            _ if name.starts_with("multipart/") || name.is_empty() => Self::Mixed,
            _ if name.starts_with("text/") => Self::OtherText,
            _ => Self::File,
        }
    }
}

/// Whether a media type consists of two tokens (RFC 2045, section 5.1).
fn is_valid(name: &str) -> bool {
    let is_token = |text: &str| {
        let is_part = |one: char| one.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(one);
        !text.is_empty() && text.chars().all(is_part)
    };
    name.split_once('/')
        .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_without_a_valid_type_is_plain_text() {
        for (mime_type, expected) in [
            ("", MediaType::Plain),
            ("<html>", MediaType::Plain),
            ("text", MediaType::Plain),
            ("<html>/plain", MediaType::Plain),
            ("application/x-unknown", MediaType::File),
        ] {
            let part = Part {
                mime_type: mime_type.to_owned(),
                ..Part::default()
            };
            assert_eq!(MediaType::of(&part), expected, "{mime_type}");
        }
    }
}
