//! Fields of texts in angle brackets: message ids (RFC 5322, section 3.6.4) and the URLs of RFC 2369.

use crate::header::{field, one_line};
use postbell_google::Header;

/// The largest number of texts that are kept: of more, the last, which are the nearest.
const MAX_COUNT: usize = 100;

/// The longest text that is kept, in bytes.
const MAX_LENGTH: usize = 4 * 1024;

/// The ids of a field, with their angle brackets.
pub(crate) fn message_ids(headers: &[Header], name: &str) -> Vec<String> {
    let ids = bracketed(field(headers, name).unwrap_or_default());
    ids.map(|id| format!("<{id}>")).collect()
}

/// The URLs of a field.
pub(crate) fn urls(headers: &[Header], name: &str) -> Vec<String> {
    let urls = bracketed(field(headers, name).unwrap_or_default());
    urls.filter(|url| url.contains(':')).collect()
}

fn bracketed(value: &str) -> impl Iterator<Item = String> {
    let pieces = value
        .split('<')
        .skip(1)
        .filter_map(|piece| piece.split_once('>'));
    // A long text is folded into several lines.
    let texts = pieces.map(|(text, _)| one_line(text).replace(' ', ""));
    let kept: Vec<_> = texts
        .filter(|text| !text.is_empty() && text.len() <= MAX_LENGTH)
        .collect();
    let skipped = kept.len().saturating_sub(MAX_COUNT);
    kept.into_iter().skip(skipped)
}
