//! Text from outside, made safe for a terminal.

/// Replaces control characters, so that external text, such as a mail's subject, cannot control the
/// terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(
            printable("a\x1b[2Jb\r\nü"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}ü"
        );
    }
}
