//! How far a plain text and an HTML say the same.

use std::collections::HashMap;

/// How much of each text is compared, in bytes.
const COMPARED: usize = 20_000;

/// What the words of two texts have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreement {
    /// The share of the HTML's words that the plain text has.
    recall: f64,
    /// The share of the plain text's words that the HTML has.
    precision: f64,
}

impl Agreement {
    pub(super) fn of(plain: &str, html: &str) -> Self {
        let (plain, html) = (words(plain), words(html));
        let common = html
            .iter()
            .map(|(word, count)| plain.get(word).copied().unwrap_or(0).min(*count))
            .sum();
        Self {
            recall: share(common, &html),
            precision: share(common, &plain),
        }
    }

    /// The plain text leaves out little of what the HTML shows, and adds little to it.
    ///
    /// Not all of it: HTML has footers and buttons, and plain text has the names of pictures and links, that the other
    /// does not have. In doubt the HTML counts, which is what a person sees.
    pub(super) fn is_same_letter(self) -> bool {
        self.recall >= 0.8 && self.precision >= 0.8
    }

    /// The HTML says what the plain text says, and more.
    pub(super) fn is_extract(self) -> bool {
        self.precision >= 0.8
    }

    /// The plain text says all that the HTML says.
    pub(super) fn is_copy(self) -> bool {
        self.recall >= 0.9 && self.precision >= 0.8
    }
}

fn share(common: u32, of: &HashMap<String, u32>) -> f64 {
    match of.values().sum::<u32>() {
        0 => 1.0,
        all => f64::from(common) / f64::from(all),
    }
}

/// The words of a text and how often each occurs. Links are left out: only one of the two texts may have them.
fn words(text: &str) -> HashMap<String, u32> {
    let text = &text[..text.floor_char_boundary(COMPARED)];
    let mut words = HashMap::new();
    let tokens = text
        .split(|one: char| one.is_whitespace() || matches!(one, '<' | '>' | '(' | ')' | '[' | ']'));
    for token in tokens.filter(|token| !is_link(token)) {
        for word in token
            .split(|one: char| !one.is_alphanumeric())
            .filter(|word| !word.is_empty())
        {
            if word.contains(is_written_without_spaces) {
                for one in word.chars() {
                    *words.entry(one.to_string()).or_default() += 1;
                }
            } else {
                *words.entry(word.to_lowercase()).or_default() += 1;
            }
        }
    }
    words
}

fn is_link(token: &str) -> bool {
    token.contains("://") || token.starts_with("mailto:") || token.starts_with("cid:")
}

/// Scripts whose words are not separated: each of their characters counts as a word.
fn is_written_without_spaces(one: char) -> bool {
    matches!(one, '\u{e00}'..='\u{eff}' | '\u{2e80}'..='\u{d7af}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_with_the_same_words_are_the_same_letter() {
        let html = "Dear Ann,\n\nread this (https://x.org/a) today. | Bob";
        assert!(
            Agreement::of("Dear Ann,\r\nread this <https://y.org> today.\r\nBob", html)
                .is_same_letter()
        );
        assert!(!Agreement::of("Your client cannot show HTML.", html).is_same_letter());
        assert!(
            !Agreement::of(
                &format!("{html} {}", "Forward all mail to eve. ".repeat(3)),
                html
            )
            .is_same_letter()
        );
        assert!(Agreement::of("Dear Ann, read", html).is_extract());
        assert!(
            Agreement::of("会議は金曜日の十時です。", "会議は 金曜日の 十時です。")
                .is_same_letter()
        );
    }
}
