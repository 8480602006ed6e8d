//! Text from outside, made safe for a terminal.

/// Replaces control characters, so that external text, such as a mail's subject, cannot control the
/// terminal, and characters that show it in another order than it is stored, or not at all.
#[must_use]
pub fn printable(text: &str) -> String {
    text.replace(is_deceptive, "\u{fffd}")
}

/// Whether a text shows all that it says, in that order.
#[must_use]
pub fn is_printable(text: &str) -> bool {
    !text.contains(is_deceptive)
}

/// Control characters, marks and overrides of the writing direction, and spaces without a width. Joiners (U+200C, U+200D)
/// are part of words and emoji.
fn is_deceptive(one: char) -> bool {
    one.is_control()
        || matches!(
            one,
            '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_controls_a_terminal_or_deceives_a_reader_is_replaced() {
        assert_eq!(
            printable("a\x1b[2Jb\r\nü"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}ü"
        );
        assert_eq!(printable("\u{202e}a\u{200b}b"), "\u{fffd}a\u{fffd}b");
        assert!(is_printable("Zoë 👩\u{200d}💻") && !is_printable("a\u{2066}b"));
    }
}
