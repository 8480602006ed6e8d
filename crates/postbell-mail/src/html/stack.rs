//! The open elements of a page, a bounded number.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};

use super::markdown::Mark;
use super::tag::Tag;
use super::tokens::Attributes;
use super::visibility::{Look, Seen, Sight};

/// The deepest nesting: about that of browsers. A deeper element is not opened, and its text belongs to the last one.
const MAX_OPEN: usize = 512;

/// An open element.
#[derive(Clone, Debug)]
pub(super) struct Element {
    pub(super) tag: Tag,
    pub(super) id: Box<str>,
    pub(super) classes: Vec<Box<str>>,
    /// Those that decide which rules apply to what is within it.
    pub(super) attributes: Attributes,
    pub(super) look: Look,
    pub(super) sight: Sight,
    pub(super) role: Role,
    /// Formatting that goes on behind this element, but not in it.
    pub(super) interrupted: Vec<Element>,
}

/// The properties of an open element, kept until it is closed.
#[derive(Clone, Debug, Default)]
pub(super) enum Role {
    #[default]
    None,
    Link(OpenLink),
    List(Numbering),
    Quote,
    Table(TableKind),
    /// A mark of Markdown around the text.
    Mark(Mark),
    /// Code of Markdown.
    Code,
}

/// A link whose target is written behind its text.
#[derive(Clone, Debug)]
pub(super) struct OpenLink {
    pub(super) target: String,
    /// The position in the text where the link's text starts.
    pub(super) start: usize,
    pub(super) has_picture: bool,
    /// The link is a mark of Markdown.
    pub(super) is_mark: bool,
}

/// How the items of a list are marked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Numbering {
    Bullets,
    From(i64),
}

/// What a table is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TableKind {
    /// It arranges the page until a header cell is found.
    Unknown,
    /// It arranges the page. Its cells are text.
    Layout,
    /// It has rows and columns that a person reads.
    Data,
}

/// The open elements, the innermost last.
#[derive(Default)]
pub(super) struct OpenElements {
    elements: Vec<Element>,
    /// How many elements of each kind are open, so that most searches end at once.
    counts: HashMap<Discriminant<Tag>, usize>,
    /// The open drawings and formulas, and elements in them that contain HTML again.
    drawings: Vec<usize>,
    /// The elements that were compared.
    pub(super) steps: u64,
}

impl OpenElements {
    pub(super) fn as_slice(&self) -> &[Element] {
        &self.elements
    }

    pub(super) fn len(&self) -> usize {
        self.elements.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.elements.len() >= MAX_OPEN
    }

    pub(super) fn last(&self) -> Option<&Element> {
        self.elements.last()
    }

    /// The innermost elements first.
    pub(super) fn innermost_first(&mut self) -> impl Iterator<Item = &mut Element> {
        self.elements.iter_mut().rev()
    }

    pub(super) fn push(&mut self, element: Element) {
        if !self.is_full() {
            *self.counts.entry(discriminant(&element.tag)).or_default() += 1;
            let is_within = !self.drawings.is_empty();
            if element.tag.is_drawing() || is_within && element.tag.is_integration_point() {
                self.drawings.push(self.elements.len());
            }
            self.elements.push(element);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Element> {
        let element = self.elements.pop()?;
        self.drawings.pop_if(|at| *at == self.elements.len());
        if let Some(count) = self.counts.get_mut(&discriminant(&element.tag)) {
            *count -= 1;
        }
        Some(element)
    }

    /// The position of the drawing or formula whose elements are not those of HTML.
    pub(super) fn drawing(&self) -> Option<usize> {
        let at = *self.drawings.last()?;
        self.elements[at].tag.is_drawing().then_some(at)
    }

    /// What is seen within the elements before a position.
    pub(super) fn sight_before(&self, at: usize) -> Sight {
        let outer = at.checked_sub(1).and_then(|at| self.elements.get(at));
        outer.map(|outer| outer.sight).unwrap_or_default()
    }

    /// Whether text is seen before an element, but not in it.
    pub(super) fn hides(&self, at: usize) -> bool {
        let is_seen = |sight: Sight| sight.of_text() == Seen::Yes;
        is_seen(self.sight_before(at)) && !is_seen(self.elements[at].sight)
    }

    pub(super) fn has(&self, tag: &Tag) -> bool {
        self.counts
            .get(&discriminant(tag))
            .is_some_and(|count| *count > 0)
    }

    /// The innermost element that fulfils a condition.
    pub(super) fn innermost_where(&mut self, is_wanted: impl Fn(&Tag) -> bool) -> Option<usize> {
        let at = self.elements.iter().rposition(|open| is_wanted(&open.tag));
        self.steps += (self.elements.len() - at.unwrap_or(0)) as u64;
        at
    }

    /// The innermost element with one of these tags, if none that stops the search is within it. A template always
    /// does.
    pub(super) fn innermost(
        &mut self,
        tags: &[Tag],
        stops: impl Fn(&Tag) -> bool,
    ) -> Option<usize> {
        if !tags.iter().any(|tag| self.has(tag)) {
            return None;
        }
        for (at, element) in self.elements.iter().enumerate().rev() {
            self.steps += 1;
            if tags.contains(&element.tag) {
                return Some(at);
            }
            if stops(&element.tag) || element.tag == Tag::Template {
                return None;
            }
        }
        None
    }

    /// The outermost element with one of these tags within the innermost one that stops the search.
    pub(super) fn outermost(
        &mut self,
        tags: &[Tag],
        stops: impl Fn(&Tag) -> bool,
    ) -> Option<usize> {
        if !tags.iter().any(|tag| self.has(tag)) {
            return None;
        }
        let mut found = None;
        for (at, element) in self.elements.iter().enumerate().rev() {
            self.steps += 1;
            if tags.contains(&element.tag) {
                found = Some(at);
            } else if stops(&element.tag) || element.tag == Tag::Template {
                break;
            }
        }
        found
    }
}
