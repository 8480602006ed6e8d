//! Tests of attributes in selectors.

use super::super::tokens::MAX_NAME;
use super::syntax::{is_space, trim, unescaped};

/// Attributes whose values are compared without case (HTML, section 4.16.2).
const CASELESS: [&str; 46] = [
    "accept",
    "accept-charset",
    "align",
    "alink",
    "axis",
    "bgcolor",
    "charset",
    "checked",
    "clear",
    "codetype",
    "color",
    "compact",
    "declare",
    "defer",
    "dir",
    "direction",
    "disabled",
    "enctype",
    "face",
    "frame",
    "hreflang",
    "http-equiv",
    "lang",
    "language",
    "link",
    "media",
    "method",
    "multiple",
    "nohref",
    "noresize",
    "noshade",
    "nowrap",
    "readonly",
    "rel",
    "rev",
    "rules",
    "scope",
    "scrolling",
    "selected",
    "shape",
    "target",
    "text",
    "type",
    "valign",
    "valuetype",
    "vlink",
];

/// A test of an attribute in a selector.
#[derive(Debug)]
pub(super) struct AttributeTest {
    pub(super) name: Box<str>,
    comparison: Comparison,
    value: Box<str>,
    ignores_case: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Comparison {
    Exists,
    Equals,
    HasWord,
    HasPrefix,
    StartsWith,
    EndsWith,
    Contains,
}

impl AttributeTest {
    /// Parses what stands between the brackets, with short escapes. None if it is not understood.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (before, value) = match text.split_once('=') {
            Some((before, value)) => (trim(before), Some(trim(value))),
            None => (trim(text), None),
        };
        let name = before.trim_end_matches(['~', '|', '^', '$', '*']);
        let name = name.rsplit('|').next().map(trim).unwrap_or_default();
        let name = name.to_ascii_lowercase();
        if name.is_empty() || name.len() > MAX_NAME || name.contains('\\') {
            return None;
        }
        let comparison = match (value, before.chars().last()) {
            (None, _) => Comparison::Exists,
            (_, Some('~')) => Comparison::HasWord,
            (_, Some('|')) => Comparison::HasPrefix,
            (_, Some('^')) => Comparison::StartsWith,
            (_, Some('$')) => Comparison::EndsWith,
            (_, Some('*')) => Comparison::Contains,
            _ => Comparison::Equals,
        };
        let value = value.unwrap_or_default();
        let quote = value.chars().next().filter(|one| matches!(one, '"' | '\''));
        let (value, flag) = match quote {
            Some(quote) => value[1..].rsplit_once(quote).unwrap_or((&value[1..], "")),
            None => value.split_once(is_space).unwrap_or((value, "")),
        };
        let flag = trim(flag);
        let is_caseless = CASELESS.contains(&&*name) && !flag.eq_ignore_ascii_case("s");
        Some(Self {
            comparison,
            value: unescaped(value).into(),
            ignores_case: is_caseless || flag.eq_ignore_ascii_case("i"),
            name: name.into(),
        })
    }

    pub(super) fn holds(&self, value: &str) -> bool {
        if self.ignores_case {
            return self.compare(
                &value.to_ascii_lowercase(),
                &self.value.to_ascii_lowercase(),
            );
        }
        self.compare(value, &self.value)
    }

    fn compare(&self, value: &str, wanted: &str) -> bool {
        match self.comparison {
            Comparison::Exists => true,
            Comparison::Equals => value == wanted,
            Comparison::HasWord => value.split_ascii_whitespace().any(|word| word == wanted),
            Comparison::HasPrefix => value
                .strip_prefix(wanted)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-')),
            _ if wanted.is_empty() => false,
            Comparison::StartsWith => value.starts_with(wanted),
            Comparison::EndsWith => value.ends_with(wanted),
            Comparison::Contains => value.contains(wanted),
        }
    }
}
