//! The pieces of CSS text: comments, escapes, blocks and declarations.

use std::borrow::Cow;

/// The longest value that is read, in bytes.
const MAX_VALUE: usize = 4 * 1024;

/// A declaration: a property and its value in lower case.
pub(super) struct Declaration<'a> {
    pub(super) property: Cow<'a, str>,
    pub(super) value: Cow<'a, str>,
    pub(super) is_important: bool,
    /// The value is longer than what is read of it.
    pub(super) is_cut: bool,
}

/// Removes comments, and the marks that hid CSS from browsers of the nineties.
pub(super) fn without_comments(css: &str) -> Cow<'_, str> {
    if !css.contains("/*") && !css.contains("<!--") && !css.contains("-->") {
        return Cow::Borrowed(css);
    }
    let mut clean = String::with_capacity(css.len());
    let mut rest = css;
    while let Some(at) = start_of_comment(rest) {
        let (before, comment) = rest.split_at(at);
        clean.push_str(before);
        // As a space: `dis/**/play` is two words.
        clean.push(' ');
        rest = comment[2..]
            .split_once("*/")
            .map_or("", |(_, behind)| behind);
    }
    clean.push_str(rest);
    Cow::Owned(clean.replace("<!--", " ").replace("-->", " "))
}

fn start_of_comment(css: &str) -> Option<usize> {
    let mut slashes = unquoted(css).filter(|(_, byte)| *byte == b'/');
    slashes.find_map(|(at, _)| css[at..].starts_with("/*").then_some(at))
}

/// Resolves escapes such as `\69` (CSS Syntax, section 4.3.7).
pub(super) fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        plain.push_str(before);
        let digits = escape
            .bytes()
            .take(6)
            .take_while(u8::is_ascii_hexdigit)
            .count();
        if digits == 0 {
            let literal = escape.chars().next();
            plain.extend(literal);
            rest = &escape[literal.map_or(0, char::len_utf8)..];
        } else {
            let code = u32::from_str_radix(&escape[..digits], 16).unwrap_or_default();
            plain.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            let behind = &escape[digits..];
            rest = behind
                .strip_prefix(|one: char| one.is_ascii_whitespace())
                .unwrap_or(behind);
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// The declarations of a block without its braces, or of a `style` attribute.
pub(super) fn declarations(block: &str) -> impl Iterator<Item = Declaration<'_>> {
    pieces(block, b';').filter_map(declaration)
}

fn declaration(text: &str) -> Option<Declaration<'_>> {
    let (property, value) = text.split_once(':')?;
    let mark = value
        .rfind('!')
        .filter(|at| lowercase(value[at + 1..].trim()) == "important");
    let value = value[..mark.unwrap_or(value.len())].trim();
    // Of a longer value, such as a picture within the style, the beginning says what it is.
    let end = value.floor_char_boundary(MAX_VALUE);
    Some(Declaration {
        property: lowercase(property.trim()),
        value: lowercase(&value[..end]),
        is_important: mark.is_some(),
        is_cut: end < value.len(),
    })
}

/// Text without escapes in lower case.
fn lowercase(text: &str) -> Cow<'_, str> {
    if text.contains(|one: char| one == '\\' || one.is_ascii_uppercase()) {
        Cow::Owned(unescaped(text).to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// Splits at a byte outside quotes and brackets.
pub(super) fn pieces(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        match first_outside(text, separator) {
            Some(at) => {
                rest = Some(&text[at + 1..]);
                Some(&text[..at])
            }
            None => rest.take(),
        }
    })
}

/// The position of the first such byte outside quotes and brackets.
fn first_outside(text: &str, separator: u8) -> Option<usize> {
    let mut depth = 0_usize;
    unquoted(text).find_map(|(at, byte)| {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ if byte == separator && depth == 0 => return Some(at),
            _ => {}
        }
        None
    })
}

/// The bytes that are neither quoted nor escaped, with their positions.
pub(super) fn unquoted(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let (mut quote, mut is_escaped) = (None, false);
    text.bytes().enumerate().filter(move |(_, byte)| {
        let was_escaped = std::mem::replace(&mut is_escaped, *byte == b'\\');
        match *byte {
            _ if was_escaped => is_escaped = false,
            // A line break ends a broken string.
            b'\n' => quote = None,
            byte if quote == Some(byte) => quote = None,
            _ if quote.is_some() => {}
            b'"' | b'\'' => quote = Some(*byte),
            b'\\' => {}
            _ => return true,
        }
        false
    })
}

/// The position of the brace that closes a block, at whose first byte `text` begins.
pub(super) fn end_of_block(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in unquoted(text) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return at,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_read_as_a_browser_reads_them() {
        let block =
            "Color : RED ; background:url(data:a;b) ;d\\69 splay:none!important; x: 'a;b' ; ;";
        let read: Vec<_> = declarations(block)
            .map(|one| {
                (
                    one.property.into_owned(),
                    one.value.into_owned(),
                    one.is_important,
                )
            })
            .collect();
        let expected = [
            ("color", "red", false),
            ("background", "url(data:a;b)", false),
            ("display", "none", true),
            ("x", "'a;b'", false),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(p, v, i)| ((*p).to_owned(), (*v).to_owned(), *i))
            .collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn comments_are_removed() {
        assert_eq!(
            without_comments("<!-- a/* b */c --> d /* e").trim(),
            "a c   d"
        );
    }
}
