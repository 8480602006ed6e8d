//! The pieces of CSS text: comments, escapes, blocks and declarations (CSS Syntax, level 3).

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

/// Replaces the characters that CSS takes for others before all else (CSS Syntax, section 3.3).
pub(super) fn preprocessed(css: &str) -> Cow<'_, str> {
    if css.contains(['\r', '\u{c}', '\0']) {
        let css = css.replace("\r\n", "\n").replace(['\r', '\u{c}'], "\n");
        Cow::Owned(css.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(css)
    }
}

/// Whether a value asks for what a property is without a declaration.
pub(super) fn is_default(value: &str) -> bool {
    matches!(
        value,
        "none" | "initial" | "unset" | "inherit" | "revert" | "revert-layer"
    )
}

pub(super) fn is_space(one: char) -> bool {
    matches!(one, ' ' | '\n' | '\t' | '\r' | '\u{c}')
}

/// Other white space, such as U+00A0, is a part of names.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'\\') || !byte.is_ascii()
}

/// Replaces each comment. None if one separates two names and `between_names` is none.
pub(super) fn without_comments<'a>(
    css: &'a str,
    replacement: &str,
    between_names: Option<&str>,
) -> Option<Cow<'a, str>> {
    if !css.contains("/*") {
        return Some(Cow::Borrowed(css));
    }
    let mut clean = String::with_capacity(css.len());
    let mut kept = 0;
    let mut scanner = Scanner::new(css);
    while let Some(comment) = scanner.next_comment() {
        clean.push_str(&css[kept..comment.start]);
        kept = comment.end;
        let is_name = |byte: Option<&u8>| byte.is_some_and(|byte| is_name_byte(*byte));
        let behind = css.as_bytes().get(kept);
        if is_name(clean.as_bytes().last()) && is_name(behind) {
            clean.push_str(between_names?);
        } else {
            clean.push_str(replacement);
        }
    }
    clean.push_str(&css[kept..]);
    Some(Cow::Owned(clean))
}

/// Resolves escapes such as `\69` (CSS Syntax, section 4.3.7).
pub(super) fn unescaped(text: &str) -> Cow<'_, str> {
    resolved(text, |_| false)
}

/// Resolves escapes of what names have. Others stay, as a backslash and one character.
pub(super) fn with_short_escapes(text: &str) -> Cow<'_, str> {
    resolved(text, |one| {
        one.is_ascii() && !is_name_byte(one as u8) || one == '\\'
    })
}

fn resolved(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
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
        let (one, behind) = if digits == 0 {
            let one = escape.chars().next();
            (one, &escape[one.map_or(0, char::len_utf8)..])
        } else {
            let code = u32::from_str_radix(&escape[..digits], 16).unwrap_or_default();
            let one = char::from_u32(code).filter(|one| *one != '\0');
            let behind = &escape[digits..];
            let behind = behind.strip_prefix(is_space).unwrap_or(behind);
            (Some(one.unwrap_or(char::REPLACEMENT_CHARACTER)), behind)
        };
        if one.is_some_and(&stays) {
            plain.push('\\');
        }
        // An escaped line break is none of the text.
        plain.extend(one.filter(|one| *one != '\n'));
        rest = behind;
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
        .filter(|at| lowercase(trim(&value[at + 1..])) == "important");
    let value = trim(&value[..mark.unwrap_or(value.len())]);
    // Of a longer value, such as a picture within the style, the beginning says what it is.
    let end = value.floor_char_boundary(MAX_VALUE);
    Some(Declaration {
        property: lowercase(trim(property)),
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

/// Splits at a byte outside strings, comments and brackets.
pub(super) fn pieces(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut scanner = Scanner::new(text);
    let mut start = Some(0);
    std::iter::from_fn(move || {
        let from = start?;
        match scanner.find(|one| one.byte == separator && one.depth == 0) {
            Some(found) => {
                start = Some(found.at + 1);
                Some(&text[from..found.at])
            }
            None => start.take().map(|_| &text[from..]),
        }
    })
}

/// The position of the brace that closes a block, at whose first byte `text` begins.
pub(super) fn end_of_block(text: &str) -> usize {
    // A brace that closes nothing in the text closes the block.
    let mut found = Scanner::new(text);
    let end = found.find(|one| one.byte == b'}' && one.depth == 0 && !one.is_bracket);
    end.map_or(text.len(), |end| end.at)
}

/// A byte outside strings, comments, escapes and URLs without quotes.
pub(super) struct Significant {
    pub(super) at: usize,
    pub(super) byte: u8,
    /// The open brackets around it. A bracket itself is outside of its pair.
    pub(super) depth: usize,
    /// The byte opens a bracket, or closes one that was opened.
    pub(super) is_bracket: bool,
}

/// Finds the bytes that structure CSS.
pub(super) struct Scanner<'a> {
    css: &'a str,
    at: usize,
    /// The start of the name before `at`, if there is one.
    name: Option<usize>,
    /// The brackets that close the open ones.
    open: Vec<u8>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(css: &'a str) -> Self {
        Self {
            css,
            at: 0,
            name: None,
            open: Vec::new(),
        }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.css.as_bytes().get(at).copied()
    }

    /// The next comment outside strings and URLs.
    fn next_comment(&mut self) -> Option<std::ops::Range<usize>> {
        loop {
            let start = self.at;
            if self.css.as_bytes()[start..].starts_with(b"/*") {
                self.skip_comment();
                return Some(start..self.at);
            }
            self.step()?;
        }
    }

    fn skip_comment(&mut self) {
        let end = self.css[self.at + 2..].find("*/");
        self.at = end.map_or(self.css.len(), |end| self.at + 2 + end + 2);
        self.name = None;
    }

    /// Skips an escape, or a backslash before a line break.
    fn skip_escape(&mut self) {
        self.at += 1;
        if self.byte(self.at).is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    fn skip_string(&mut self, quote: u8) {
        self.at += 1;
        while let Some(byte) = self.byte(self.at) {
            match byte {
                // A line break ends a broken string.
                b'\n' => return,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
            if byte == quote {
                break;
            }
        }
        self.at = self.at.min(self.css.len());
    }

    /// Skips the rest of a URL without quotes, of which the bracket is the next byte. Returns whether it is one.
    fn skip_url(&mut self) -> bool {
        let name = self.name.map(|start| unescaped(&self.css[start..self.at]));
        if !name.is_some_and(|name| name.eq_ignore_ascii_case("url")) {
            return false;
        }
        let inner = self.css[self.at + 1..].trim_start_matches(is_space);
        if inner.starts_with(['"', '\'']) {
            return false;
        }
        self.at = self.css.len() - inner.len();
        loop {
            match self.byte(self.at) {
                Some(b')') | None => break,
                Some(b'\\') => self.skip_escape(),
                Some(_) => self.at += 1,
            }
        }
        self.at = (self.at + 1).min(self.css.len());
        true
    }

    /// Passes one byte, string, escape or URL. Returns the byte if it is significant.
    fn step(&mut self) -> Option<Option<Significant>> {
        let (at, byte) = (self.at, self.byte(self.at)?);
        if is_name_byte(byte) {
            self.name.get_or_insert(at);
        } else if byte != b'(' {
            self.name = None;
        }
        match byte {
            b'"' | b'\'' => self.skip_string(byte),
            b'\\' => self.skip_escape(),
            b'(' if self.skip_url() => self.name = None,
            _ => {
                self.at += 1;
                if byte == b'(' {
                    self.name = None;
                }
                return Some(self.significant(at, byte));
            }
        }
        Some(None)
    }

    fn significant(&mut self, at: usize, byte: u8) -> Option<Significant> {
        let closing = match byte {
            b'(' => Some(b')'),
            b'[' => Some(b']'),
            b'{' => Some(b'}'),
            _ => None,
        };
        let depth = self.open.len();
        if let Some(closing) = closing {
            self.open.push(closing);
        } else if self.open.last() == Some(&byte) {
            self.open.pop();
        }
        Some(Significant {
            at,
            byte,
            depth: depth.min(self.open.len()),
            is_bracket: depth != self.open.len(),
        })
    }
}

impl Iterator for Scanner<'_> {
    type Item = Significant;

    fn next(&mut self) -> Option<Significant> {
        loop {
            if self.css.as_bytes()[self.at..].starts_with(b"/*") {
                self.skip_comment();
            } else if let Some(found) = self.step()? {
                return Some(found);
            }
        }
    }
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
    fn comments_are_replaced_outside_strings_and_urls() {
        let clean = |css| without_comments(css, "", Some(" ")).map(Cow::into_owned);
        for (css, expected) in [
            ("a/*b*/c", "a c"),
            ("a/**/.b", "a.b"),
            ("a '/*' /* d */e /* f", "a '/*' e "),
            ("url(/*) x", "url(/*) x"),
            (
                "url( /*) \\75rl(/*) xurl(/*y*/)",
                "url( /*) \\75rl(/*) xurl()",
            ),
            ("\"a\\\n/*\"/**/", "\"a\\\n/*\""),
        ] {
            assert_eq!(clean(css).as_deref(), Some(expected), "{css}");
        }
        assert_eq!(without_comments("a/**/b", "", None), None);
    }

    #[test]
    fn a_bracket_is_closed_by_its_own_kind_alone() {
        for (text, end) in [
            ("x:(});y}z", 7),
            ("[}]}", 3),
            ("a{b}c}", 5),
            (")]}", 2),
            ("(", 1),
        ] {
            assert_eq!(end_of_block(text), end, "{text}");
        }
        let split: Vec<_> = pieces("a;(b;]c);'d;';url(e;f'g);h", b';').collect();
        assert_eq!(split, ["a", "(b;]c)", "'d;'", "url(e;f'g)", "h"]);
    }
}
