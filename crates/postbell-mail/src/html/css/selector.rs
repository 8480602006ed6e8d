//! Selectors of tags, classes, ids and attributes, of descendants and of children.
//!
//! The page is read in one pass, so what depends on siblings is not known: a selector with such a condition selects more
//! than it says, and is doubtful. So is one that is not read whole.

use super::super::stack::Element;
use super::super::tag::Tag;
use super::super::tokens::Attributes;
use super::sheet::{BYTES_OF_STEP, MAX_STEPS};
use super::syntax::{unescaped, unquoted};

/// The longest selector, in bytes, and in compounds. Of a longer one the end counts.
const MAX_SELECTOR: usize = 512;
const MAX_COMPOUNDS: usize = 8;

/// Pseudo-classes that hold for no element with text while a person only reads.
const NEVER: [&str; 16] = [
    "active",
    "after",
    "before",
    "empty",
    "focus",
    "focus-visible",
    "focus-within",
    "fullscreen",
    "host",
    "hover",
    "modal",
    "popover-open",
    "target",
    "target-within",
    "user-invalid",
    "visited",
];

/// A selector: its compounds, the last of which is the element's own.
#[derive(Debug)]
pub(super) struct Selector {
    compounds: Vec<Compound>,
    pub(super) specificity: u32,
    /// It may select less.
    pub(super) is_doubtful: bool,
}

/// The conditions on one element.
#[derive(Debug, Default)]
struct Compound {
    tag: Option<Tag>,
    id: Option<Box<str>>,
    classes: Vec<Box<str>>,
    attributes: Vec<AttributeTest>,
    /// It must be the child of the element of the compound before, not only within it.
    is_child: bool,
}

#[derive(Debug)]
struct AttributeTest {
    name: Box<str>,
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

/// What finds a selector for an element: the most special condition of its last compound.
#[derive(Debug, Eq, Hash, PartialEq)]
pub(super) enum Key {
    Id(Box<str>),
    Class(Box<str>),
    Tag(Tag),
    Any,
}

impl Selector {
    /// Parses one selector, unless it never selects an element.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let (text, mut is_doubtful) = without_conditions(text)?;
        let mut compounds = Vec::new();
        let mut rest = text.trim();
        if rest.len() > MAX_SELECTOR {
            is_doubtful = true;
            let last = rest.rsplit([' ', '>']).next().unwrap_or_default();
            let is_whole = last.len() <= MAX_SELECTOR && !rest.contains('[');
            rest = if is_whole { last } else { "*" };
        }
        let mut is_child = false;
        while !rest.is_empty() {
            if let Some(behind) = rest.strip_prefix('>') {
                is_child = true;
                rest = behind.trim_start();
                continue;
            }
            let (mut compound, behind) = Compound::parse(rest)?;
            compound.is_child = std::mem::take(&mut is_child);
            compounds.push(compound);
            rest = behind.trim_start();
            if compounds.len() > MAX_COMPOUNDS {
                is_doubtful = true;
                compounds.remove(0);
            }
        }
        let specificity = compounds.iter().map(Compound::specificity).sum();
        (!compounds.is_empty()).then_some(Self {
            compounds,
            specificity,
            is_doubtful,
        })
    }

    /// The names of the attributes that it tests.
    pub(super) fn tested_attributes(&self) -> impl Iterator<Item = Box<str>> {
        tested(&self.compounds)
    }

    /// Those that it tests of the elements around the selected one.
    pub(super) fn tested_attributes_of_ancestors(&self) -> impl Iterator<Item = Box<str>> {
        let outer = self.compounds.split_last().map(|(_, outer)| outer);
        tested(outer.unwrap_or_default())
    }

    pub(super) fn key(&self) -> Key {
        let Some(last) = self.compounds.last() else {
            return Key::Any;
        };
        match (&last.id, last.classes.first(), &last.tag) {
            (Some(id), _, _) => Key::Id(id.clone()),
            (None, Some(class), _) => Key::Class(class.clone()),
            (None, None, Some(tag)) => Key::Tag(tag.clone()),
            (None, None, None) => Key::Any,
        }
    }

    /// Whether the selector selects an element within `ancestors`. Adds the compared elements to `steps`.
    pub(super) fn selects(
        &self,
        element: &Element,
        attributes: &Attributes,
        ancestors: &[Element],
        steps: &mut u64,
    ) -> bool {
        *steps += 1;
        let Some((last, outer)) = self.compounds.split_last() else {
            return false;
        };
        last.matches(element, attributes, steps)
            && is_within(outer, last.is_child, ancestors, steps)
    }
}

fn tested(compounds: &[Compound]) -> impl Iterator<Item = Box<str>> {
    let tests = compounds.iter().flat_map(|compound| &compound.attributes);
    tests.map(|test| test.name.clone())
}

/// Whether the ancestors match the outer compounds, the last of them the parent if `is_child`.
fn is_within(
    compounds: &[Compound],
    is_child: bool,
    ancestors: &[Element],
    steps: &mut u64,
) -> bool {
    let Some((last, outer)) = compounds.split_last() else {
        return true;
    };
    for (at, ancestor) in ancestors.iter().enumerate().rev() {
        *steps += 1;
        if *steps > MAX_STEPS {
            return false;
        }
        let is_match = last.matches(ancestor, &ancestor.attributes, steps);
        if is_match && is_within(outer, last.is_child, &ancestors[..at], steps) {
            return true;
        }
        // An element outside of this ancestor's ancestors is outside of an outer one's, too.
        if is_child || is_match && !last.is_child {
            return false;
        }
    }
    false
}

/// The selector without its conditions on siblings and on more than an element's own properties. Returns whether there
/// are any, or `None` if the selector never holds.
fn without_conditions(text: &str) -> Option<(String, bool)> {
    let (mut plain, mut is_doubtful) = (String::with_capacity(text.len()), false);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let mut length = first.len_utf8();
        match first {
            '[' => length = end_of_test(rest)? + 1,
            '\\' => length += rest[1..].chars().next().map_or(0, char::len_utf8),
            ':' => {
                let name = rest[1..].split(|one: char| !one.is_ascii_alphanumeric() && one != '-');
                let name = name.into_iter().next().unwrap_or_default();
                if never_holds(name, &rest[1 + name.len()..]) {
                    return None;
                }
                is_doubtful = true;
                if plain.is_empty() || plain.ends_with([' ', '>']) {
                    plain.push('*');
                }
                rest = behind_arguments(&rest[1 + name.len()..]);
                continue;
            }
            '+' | '~' => {
                // The elements before, whatever they are.
                is_doubtful = true;
                plain.clear();
                rest = &rest[1..];
                continue;
            }
            '&' => {
                is_doubtful = true;
                if plain.is_empty() || plain.ends_with([' ', '>']) {
                    plain.push('*');
                }
                rest = &rest[1..];
                continue;
            }
            '|' => {
                // The namespace before it.
                let start = plain.rfind([' ', '>']).map_or(0, |at| at + 1);
                is_doubtful |= plain[start..] != *"*";
                plain.truncate(start);
                rest = &rest[1..];
                continue;
            }
            _ => {}
        }
        plain.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    Some((plain, is_doubtful))
}

/// Whether a pseudo-class or a pseudo-element is of no element with text. `behind` follows its name.
fn never_holds(name: &str, behind: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if name.is_empty() {
        // A pseudo-element that has text of the element.
        let behind = behind.trim_start_matches(':').to_ascii_lowercase();
        let has_text = ["first-l", "details-content"];
        return !has_text.iter().any(|name| behind.starts_with(name));
    }
    let is_before_another = name == "empty" && behind.contains(['+', '~']);
    name.starts_with('-') && !name.starts_with("-webkit-any")
        || NEVER.contains(&name.as_str()) && !is_before_another
}

/// The position of the bracket that closes the one at the start.
fn end_of_test(text: &str) -> Option<usize> {
    unquoted(text).find_map(|(at, byte)| (byte == b']').then_some(at))
}

/// What follows the arguments of a pseudo-class, if it has any.
fn behind_arguments(text: &str) -> &str {
    if !text.starts_with('(') {
        return text;
    }
    let mut depth = 0_usize;
    let end = text.find(|one: char| {
        match one {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    end.map_or("", |end| &text[end + 1..])
}

impl Compound {
    fn parse(text: &str) -> Option<(Self, &str)> {
        let mut compound = Self::default();
        let (name, mut rest) = name_at_start(text);
        if !name.is_empty() && name != "*" {
            compound.tag = Some(Tag::named(&unescaped(name).to_ascii_lowercase()));
        }
        while let Some(first) = rest.chars().next() {
            match first {
                '.' | '#' => {
                    let (name, behind) = name_at_start(&rest[1..]);
                    if name.is_empty() {
                        return None;
                    }
                    let name = unescaped(name).into();
                    if first == '.' {
                        compound.classes.push(name);
                    } else {
                        compound.id = Some(name);
                    }
                    rest = behind;
                }
                '[' => {
                    let end = end_of_test(rest)?;
                    compound
                        .attributes
                        .push(AttributeTest::parse(&rest[1..end])?);
                    rest = &rest[end + 1..];
                }
                _ => break,
            }
        }
        (rest.len() < text.len()).then_some((compound, rest))
    }

    fn specificity(&self) -> u32 {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let classes = count(self.classes.len() + self.attributes.len());
        u32::from(self.id.is_some()) * 1_000_000 + classes * 1_000 + u32::from(self.tag.is_some())
    }

    fn matches(&self, element: &Element, attributes: &Attributes, steps: &mut u64) -> bool {
        self.tag.as_ref().is_none_or(|tag| *tag == element.tag)
            && self.id.as_ref().is_none_or(|id| *id == element.id)
            && self
                .classes
                .iter()
                .all(|class| element.classes.contains(class))
            && self.attributes.iter().all(|test| {
                let value = attributes.get(&test.name);
                *steps += value.map_or(0, |value| value.len() as u64 / BYTES_OF_STEP);
                value.is_some_and(|value| test.holds(value))
            })
    }
}

/// The name of an attribute without its namespace, in lower case.
fn attribute_name(text: &str) -> Box<str> {
    let name = text.rsplit('|').next().unwrap_or_default().trim();
    unescaped(name).to_ascii_lowercase().into()
}

/// The name at the start of a text, and what is behind it.
fn name_at_start(text: &str) -> (&str, &str) {
    let (mut digits, mut is_escaped) = (None, false);
    let end = text.find(|one: char| {
        let was_escaped = std::mem::replace(&mut is_escaped, one == '\\');
        if was_escaped {
            is_escaped = false;
            digits = one.is_ascii_hexdigit().then_some(1);
            return false;
        }
        // A space ends the digits of an escape and belongs to it.
        match digits.take() {
            Some(count @ 1..6) if one.is_ascii_hexdigit() => digits = Some(count + 1),
            Some(_) if one.is_whitespace() => return false,
            _ => {}
        }
        matches!(one, '.' | '#' | '[' | '>' | ']') || one.is_whitespace()
    });
    text.split_at(end.unwrap_or(text.len()))
}

impl AttributeTest {
    fn parse(text: &str) -> Option<Self> {
        let Some((name, value)) = text.split_once('=') else {
            return Some(Self {
                name: attribute_name(text),
                comparison: Comparison::Exists,
                value: "".into(),
                ignores_case: false,
            });
        };
        let comparison = match name.trim_end().chars().last()? {
            '~' => Comparison::HasWord,
            '|' => Comparison::HasPrefix,
            '^' => Comparison::StartsWith,
            '$' => Comparison::EndsWith,
            '*' => Comparison::Contains,
            _ => Comparison::Equals,
        };
        let name = name.trim().trim_end_matches(['~', '|', '^', '$', '*']);
        let value = value.trim();
        let quote = value.chars().next().filter(|one| matches!(one, '"' | '\''));
        let (value, flag) = match quote {
            Some(quote) => value[1..].rsplit_once(quote).unwrap_or((&value[1..], "")),
            None => value.split_once(' ').unwrap_or((value, "")),
        };
        Some(Self {
            name: attribute_name(name),
            comparison,
            value: unescaped(value).into(),
            ignores_case: flag.trim().eq_ignore_ascii_case("i"),
        })
    }

    fn holds(&self, value: &str) -> bool {
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
