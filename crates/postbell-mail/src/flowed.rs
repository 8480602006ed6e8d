//! Plain text whose lines flow (`format=flowed`, RFC 3676).

/// Joins the lines that the sender broke. `deletes_space`: the space at the end of such a line is no part of the text.
pub(crate) fn text_of(text: &str, deletes_space: bool) -> String {
    let mut joined = String::with_capacity(text.len());
    // The level of quotes of the line that the next one continues.
    let mut continued = None;
    for (number, line) in text.split('\n').enumerate() {
        let quotes = line.bytes().take_while(|byte| *byte == b'>').count();
        // A space was stuffed before a line that begins with a space or `From `.
        let content = line[quotes..].strip_prefix(' ').unwrap_or(&line[quotes..]);
        let is_signature = content == "-- ";
        if continued != Some(quotes) || is_signature {
            if number > 0 {
                joined.push('\n');
            }
            joined.extend(std::iter::repeat_n('>', quotes));
            if quotes > 0 {
                joined.push(' ');
            }
        }
        let flows = content.ends_with(' ') && !is_signature;
        joined.push_str(if flows && deletes_space {
            &content[..content.len() - 1]
        } else {
            content
        });
        continued = flows.then_some(quotes);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flowed_lines_are_joined() {
        let text = "One \nline.\n\n> quoted \n> text\n>> deeper\n  stuffed\n-- \nAnn";
        let expected = "One line.\n\n> quoted text\n>> deeper\n stuffed\n-- \nAnn";
        assert_eq!(text_of(text, false), expected);
        assert_eq!(text_of("日本 \n語", true), "日本語");
    }
}
