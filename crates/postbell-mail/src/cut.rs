//! Cuts a text to a number of bytes.

/// The longest link that is left out whole rather than cut.
const MAX_LINK: usize = 4 * 1024;

/// Cuts a text to at most `limit` bytes, at a character boundary. Returns whether it was longer.
pub(crate) fn cut(mut text: String, limit: usize) -> (String, bool) {
    if text.len() <= limit {
        return (text, false);
    }
    text.truncate(text.floor_char_boundary(limit));
    (text, true)
}

/// Cuts a letter. A link that does not fit is left out: a part of one leads elsewhere.
pub(crate) fn cut_letter(text: String, limit: usize) -> (String, bool) {
    let limit = match text.split_at_checked(text.floor_char_boundary(limit)) {
        Some((start, rest)) => {
            let is_space = |one: char| one.is_whitespace();
            let word = start.trim_end_matches(|one| !is_space(one)).len();
            let end = start.len() + rest.find(is_space).unwrap_or(rest.len());
            let is_cut_link = end > start.len() && text[word..end].contains("://");
            if is_cut_link && word > 0 && end - word <= MAX_LINK {
                word
            } else {
                limit
            }
        }
        None => limit,
    };
    cut(text, limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character_boundary() {
        for cut in [cut, cut_letter] {
            assert_eq!(cut("grüße".to_owned(), 3), ("gr".to_owned(), true));
            assert_eq!(cut("grüße".to_owned(), 4), ("grü".to_owned(), true));
            assert_eq!(cut("grüße".to_owned(), 7), ("grüße".to_owned(), false));
            assert_eq!(cut("🥨".to_owned(), 3), (String::new(), true));
        }
    }

    #[test]
    fn a_link_is_whole_or_left_out() {
        let text = "See (https://x.org/1) now";
        assert_eq!(cut_letter(text.to_owned(), 10), ("See ".to_owned(), true));
        assert_eq!(
            cut_letter(text.to_owned(), 21),
            ("See (https://x.org/1)".to_owned(), true)
        );
    }
}
