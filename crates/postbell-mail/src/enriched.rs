//! `text/enriched` (RFC 1896) and its predecessor `text/richtext`.

/// The longest name of a formatting command.
const MAX_COMMAND: usize = 60;

/// Removes the formatting commands.
pub(crate) fn text_of(enriched: &str) -> String {
    let mut text = String::with_capacity(enriched.len());
    let mut rest = enriched;
    let mut parameters = 0_usize;
    while let Some(at) = rest.find(['<', '\n']) {
        if parameters == 0 {
            text.push_str(&rest[..at]);
        }
        rest = &rest[at..];
        if rest.starts_with('\n') {
            let breaks = rest.bytes().take_while(|byte| *byte == b'\n').count();
            // A single line break is a space; of several, one is left out.
            if breaks == 1 {
                text.push(' ');
            }
            text.extend(std::iter::repeat_n('\n', breaks - 1));
            rest = &rest[breaks..];
        } else if let Some(behind) = rest.strip_prefix("<<") {
            text.push('<');
            rest = behind;
        } else if let Some((command, behind)) = command(rest) {
            match command.to_ascii_lowercase().as_str() {
                "param" => parameters += 1,
                "/param" => parameters = parameters.saturating_sub(1),
                "nl" | "paragraph" | "/paragraph" => text.push('\n'),
                "lt" => text.push('<'),
                _ => {}
            }
            rest = behind;
        } else {
            text.push('<');
            rest = &rest[1..];
        }
    }
    if parameters == 0 {
        text.push_str(rest);
    }
    text
}

fn command(text: &str) -> Option<(&str, &str)> {
    let end = text
        .bytes()
        .take(MAX_COMMAND + 2)
        .position(|byte| byte == b'>')?;
    Some((&text[1..end], &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_removed_and_lines_are_kept() {
        let enriched =
            "<bold>Now</bold> is\nthe time.\n\n<color><param>red</param>Red</color> a <<b>";
        assert_eq!(text_of(enriched), "Now is the time.\nRed a <b>");
        assert_eq!(text_of("richtext:<nl>1 <lt> 2<"), "richtext:\n1 < 2<");
    }
}
