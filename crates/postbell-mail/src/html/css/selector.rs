//! Selectors of tags, classes, ids and attributes, of descendants and of children.
//!
//! The page is read in one pass, so what depends on siblings is not known: a selector with such a condition selects more
//! than it says, and is doubtful. So is one that is not read whole.

use super::super::stack::Element;
use super::super::tag::Tag;
use super::super::tokens::{Attributes, MAX_NAME};
use super::attribute::AttributeTest;
use super::cost::{BYTES_OF_STEP, MAX_COMPARISONS};
use super::syntax::{Scanner, is_space, trim, unescaped, with_short_escapes, without_comments};

/// The longest selector, in bytes, and in compounds. Of a longer one the end counts.
const MAX_SELECTOR: usize = 512;
const MAX_COMPOUNDS: usize = 8;

/// Pseudo-classes that hold for no element with text while a person only reads.
const NEVER: [&str; 13] = [
    "active",
    "after",
    "before",
    "empty",
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

/// Pseudo-classes that hold only if an element takes the focus itself.
const FOCUS: [&str; 3] = ["focus", "focus-visible", "focus-within"];

/// How classes and ids are compared: without case if the page has no document type, and where a mail reader shows
/// every page so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Case {
    Counts,
    Ignored,
}

impl Case {
    fn is_same(self, one: &str, other: &str) -> bool {
        match self {
            Self::Counts => one == other,
            Self::Ignored => one.eq_ignore_ascii_case(other),
        }
    }
}

/// A selector: its compounds, the last of which is the element's own.
#[derive(Debug)]
pub(super) struct Selector {
    compounds: Vec<Compound>,
    pub(super) specificity: u32,
    /// It may select less.
    pub(super) is_doubtful: bool,
    /// It selects nothing if no element takes the focus itself.
    pub(super) needs_focus: bool,
}

/// A text that is no selector.
#[derive(Debug)]
pub(super) struct InvalidSelector;

/// The conditions on one element.
#[derive(Debug, Default)]
struct Compound {
    tag: Option<Tag>,
    id: Option<Box<str>>,
    classes: Vec<Box<str>>,
    attributes: Vec<AttributeTest>,
    /// It must be the child of the element of the compound before, not only within it.
    is_child: bool,
    /// A condition is left out.
    is_doubtful: bool,
}

/// What finds a selector for an element: the most special condition of its last compound, in lower case.
#[derive(Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Key {
    Id(Box<str>),
    Class(Box<str>),
    Tag(Tag),
    Any,
}

impl Selector {
    /// Parses one selector, unless it never selects an element.
    ///
    /// # Errors
    ///
    /// It is none: a browser ignores the whole rule.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, InvalidSelector> {
        let text = without_comments(text, "", None).ok_or(InvalidSelector)?;
        let text = with_short_escapes(trim(&text));
        let Plain {
            text,
            mut is_doubtful,
            needs_focus,
        } = match Plain::of(&text) {
            Some(plain) => plain,
            None => return Ok(None),
        };
        let mut compounds = Vec::new();
        let mut rest = trim(&text);
        if rest.len() > MAX_SELECTOR {
            is_doubtful = true;
            let last = rest.rsplit([' ', '>']).next().unwrap_or_default();
            let is_whole = last.len() <= MAX_SELECTOR && !rest.contains(['[', '\\']);
            rest = if is_whole { last } else { "*" };
        }
        let mut is_child = false;
        while !rest.is_empty() {
            if let Some(behind) = rest.strip_prefix('>') {
                is_child = true;
                rest = behind.trim_start_matches(is_space);
                continue;
            }
            let (mut compound, behind) = Compound::parse(rest).ok_or(InvalidSelector)?;
            compound.is_child = std::mem::take(&mut is_child);
            is_doubtful |= compound.is_doubtful;
            compounds.push(compound);
            rest = behind.trim_start_matches(is_space);
            if compounds.len() > MAX_COMPOUNDS {
                is_doubtful = true;
                compounds.remove(0);
            }
        }
        let specificity = compounds.iter().map(Compound::specificity).sum();
        if compounds.is_empty() {
            return Err(InvalidSelector);
        }
        Ok(Some(Self {
            compounds,
            specificity,
            is_doubtful,
            needs_focus,
        }))
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
            (Some(id), _, _) => Key::id(id),
            (None, Some(class), _) => Key::class(class),
            (None, None, Some(tag)) => Key::Tag(tag.clone()),
            (None, None, None) => Key::Any,
        }
    }

    /// Whether the selector selects an element within `ancestors`, and whether that is doubtful. Adds the compared
    /// elements to `steps`.
    pub(super) fn selects(
        &self,
        element: &Element,
        attributes: &Attributes,
        ancestors: &[Element],
        steps: &mut u64,
    ) -> Option<bool> {
        let mut is_selected = |case| {
            *steps += 1;
            let (last, outer) = self.compounds.split_last()?;
            let is_match = last.matches(element, attributes, case, steps)
                && is_within(outer, last.is_child, ancestors, case, steps);
            is_match.then_some(())
        };
        is_selected(Case::Ignored)?;
        Some(self.is_doubtful || is_selected(Case::Counts).is_none())
    }
}

impl Key {
    pub(super) fn id(id: &str) -> Self {
        Self::Id(id.to_ascii_lowercase().into())
    }

    pub(super) fn class(class: &str) -> Self {
        Self::Class(class.to_ascii_lowercase().into())
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
    case: Case,
    steps: &mut u64,
) -> bool {
    let Some((last, outer)) = compounds.split_last() else {
        return true;
    };
    for (at, ancestor) in ancestors.iter().enumerate().rev() {
        *steps += 1;
        if *steps > MAX_COMPARISONS {
            return false;
        }
        let is_match = last.matches(ancestor, &ancestor.attributes, case, steps);
        if is_match && is_within(outer, last.is_child, &ancestors[..at], case, steps) {
            return true;
        }
        // An element outside of this ancestor's ancestors is outside of an outer one's, too.
        if is_child || is_match && !last.is_child {
            return false;
        }
    }
    false
}

/// A selector without its conditions on siblings and on more than an element's own properties.
struct Plain {
    text: String,
    /// There were some.
    is_doubtful: bool,
    needs_focus: bool,
}

impl Plain {
    /// None if the selector never holds.
    fn of(text: &str) -> Option<Self> {
        let mut plain = Self {
            text: String::with_capacity(text.len()),
            is_doubtful: false,
            needs_focus: false,
        };
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let behind = &rest[first.len_utf8()..];
            rest = match first {
                '[' => plain.take(rest, end_of_test(rest)? + 1),
                '\\' => plain.take(rest, 1 + behind.chars().next().map_or(0, char::len_utf8)),
                ':' => plain.without_pseudo_class(behind)?,
                '+' | '~' => {
                    // The elements before, whatever they are.
                    plain.is_doubtful = true;
                    plain.text.clear();
                    behind
                }
                '&' => {
                    plain.leave_out();
                    behind
                }
                '|' => {
                    // The namespace before it.
                    let start = plain.text.rfind([' ', '>']).map_or(0, |at| at + 1);
                    plain.is_doubtful |= plain.text[start..] != *"*";
                    plain.text.truncate(start);
                    behind
                }
                one if is_space(one) => {
                    plain.text.push(' ');
                    behind
                }
                one => plain.take(rest, one.len_utf8()),
            };
        }
        Some(plain)
    }

    fn take<'a>(&mut self, rest: &'a str, length: usize) -> &'a str {
        self.text.push_str(&rest[..length]);
        &rest[length..]
    }

    fn leave_out(&mut self) {
        self.is_doubtful = true;
        if self.text.is_empty() || self.text.ends_with([' ', '>']) {
            self.text.push('*');
        }
    }

    /// The rest after a pseudo-class, which begins at its name.
    fn without_pseudo_class<'a>(&mut self, rest: &'a str) -> Option<&'a str> {
        let name = rest.split(|one: char| !one.is_ascii_alphanumeric() && one != '-');
        let name = name.into_iter().next().unwrap_or_default();
        let behind = &rest[name.len()..];
        if never_holds(name, behind) {
            return None;
        }
        self.needs_focus |= FOCUS.contains(&&*name.to_ascii_lowercase());
        self.leave_out();
        Some(behind_arguments(behind))
    }
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
    let mut found = Scanner::new(text);
    let end = found.find(|one| one.byte == b']' && one.depth == 0 && one.is_bracket);
    end.map(|end| end.at)
}

/// What follows the arguments of a pseudo-class, if it has any.
fn behind_arguments(text: &str) -> &str {
    if !text.starts_with('(') {
        return text;
    }
    let mut found = Scanner::new(text);
    let end = found.find(|one| one.byte == b')' && one.depth == 0 && one.is_bracket);
    end.map_or("", |end| &text[end.at + 1..])
}

impl Compound {
    fn parse(text: &str) -> Option<(Self, &str)> {
        let mut compound = Self::default();
        let (name, mut rest) = name_at_start(text);
        if name.len() > MAX_NAME {
            compound.is_doubtful = true;
        } else if !name.is_empty() && name != "*" {
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
                    let test = AttributeTest::parse(&rest[1..end]);
                    compound.is_doubtful |= test.is_none();
                    compound.attributes.extend(test);
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

    fn matches(
        &self,
        element: &Element,
        attributes: &Attributes,
        case: Case,
        steps: &mut u64,
    ) -> bool {
        let id = self.id.as_ref();
        self.tag.as_ref().is_none_or(|tag| *tag == element.tag)
            && id.is_none_or(|id| case.is_same(id, &element.id))
            && self.classes.iter().all(|class| {
                let mut classes = element.classes.iter();
                classes.any(|one| case.is_same(one, class))
            })
            && self.attributes.iter().all(|test| {
                let value = attributes.get(&test.name);
                *steps += value.map_or(0, |value| value.len() as u64 / BYTES_OF_STEP);
                value.is_some_and(|value| test.holds(value))
            })
    }
}

/// The name at the start of a text with short escapes, and what is behind it.
fn name_at_start(text: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let end = text.find(|one: char| {
        let was_escaped = std::mem::replace(&mut is_escaped, one == '\\');
        is_escaped &= !was_escaped;
        !was_escaped
            && (is_space(one) || matches!(one, '.' | '#' | '[' | '>' | ']' | '!' | '{' | '}'))
    });
    text.split_at(end.unwrap_or(text.len()))
}
