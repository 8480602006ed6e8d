//! Characters that a person does not see.

/// Whether a text has nothing that a person could see.
pub(crate) fn is_blank(text: &str) -> bool {
    text.chars()
        .all(|one| is_space(one) || one.is_control() || is_ignorable(one) || is_smuggled(one))
}

/// White space, and characters that are drawn as white space.
pub(crate) fn is_space(one: char) -> bool {
    one.is_whitespace()
        || matches!(
            one,
            '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}'
        )
}

/// Characters without a picture of their own: soft hyphens, joiners, direction marks, placeholders.
pub(crate) fn is_ignorable(one: char) -> bool {
    matches!(
        one,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffc}'
    )
}

/// Tag characters and the supplementary variation selectors. They draw nothing, and a language model reads
/// them as letters, so they carry instructions past a person's eyes.
fn is_smuggled(one: char) -> bool {
    matches!(one, '\u{e0000}'..='\u{e01ef}')
}

/// Overrides and isolates of the writing direction, which show a text in another order than it is stored.
pub(crate) fn is_direction_override(one: char) -> bool {
    matches!(one, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Removes smuggled characters, except in a flag (an emoji with tags) and one selector behind a letter.
#[derive(Default)]
pub(crate) struct SmuggleFilter {
    before: char,
    is_in_flag: bool,
}

impl SmuggleFilter {
    /// Whether the next character of a text stays.
    pub(crate) fn keeps(&mut self, one: char) -> bool {
        let before = std::mem::replace(&mut self.before, one);
        match one {
            '\u{e0000}'..='\u{e007f}' => {
                self.is_in_flag |= before == '\u{1f3f4}';
                self.is_in_flag
            }
            // An ideograph's variant (Unicode Technical Standard 37).
            '\u{e0100}'..='\u{e01ef}' => {
                matches!(before, '\u{2e80}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}')
            }
            _ => {
                self.is_in_flag = false;
                !is_smuggled(one)
            }
        }
    }
}

/// A plain text as a person sees it: lines end in a line feed; control and smuggled characters are removed.
pub(crate) fn visible_text(text: &str) -> String {
    let mut filter = SmuggleFilter::default();
    let mut visible = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(one) = characters.next() {
        match one {
            '\r' => {
                if characters.peek() != Some(&'\n') {
                    visible.push('\n');
                }
            }
            '\n' | '\t' => visible.push(one),
            '\u{feff}' => {}
            _ if one.is_control() || !filter.keeps(one) => {}
            _ => visible.push(one),
        }
    }
    visible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_spaces_and_invisible_characters_is_blank() {
        for blank in [
            "",
            " \r\n",
            "\u{a0}\u{200b}\u{feff}",
            "\u{34f}\u{200c}\u{2007}\u{ad}\u{2800}",
            "\u{e0041}",
        ] {
            assert!(is_blank(blank), "{blank:?}");
        }
        assert!(!is_blank(" . "));
    }

    #[test]
    fn smuggled_letters_are_removed_and_flags_stay() {
        let smuggled: String = "IGNORE"
            .chars()
            .filter_map(|one| char::from_u32(0xe0000 + u32::from(one)))
            .collect();
        assert_eq!(
            visible_text(&format!("Hello{smuggled}\r\nAnn")),
            "Hello\nAnn"
        );
        let scotland = "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}";
        assert_eq!(visible_text(scotland), scotland);
        assert_eq!(
            visible_text("葛\u{e0100}城 a\u{e0100}\u{e0101}"),
            "葛\u{e0100}城 a"
        );
    }

    #[test]
    fn control_characters_are_removed_and_lines_stay() {
        assert_eq!(visible_text("a\0\u{1b}[1mb\tc\rd\r\ne"), "a[1mb\tc\nd\ne");
    }
}
