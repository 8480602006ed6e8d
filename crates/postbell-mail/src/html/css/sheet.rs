//! Style sheets: rules, found by the most special condition of their selectors.

use std::collections::{HashMap, HashSet};

use super::super::stack::Element;
use super::super::tokens::Attributes;
use super::declarations::{Declarations, Styles};
use super::media::media_applies;
use super::selector::{Key, Selector};
use super::syntax::{end_of_block, pieces, unquoted, without_comments};

/// The largest number of selectors.
const MAX_RULES: usize = 20_000;

/// The largest number of comparisons of an element with a selector.
pub(super) const MAX_STEPS: u64 = 4_000_000;

/// What it costs to read a selector.
const STEPS_OF_SELECTOR: u64 = 4;

/// The bytes of a text that cost as much as a comparison.
pub(super) const BYTES_OF_STEP: u64 = 64;

/// The deepest nesting of groups and rules.
const MAX_DEPTH: usize = 8;

/// The rules of a page.
#[derive(Debug, Default)]
pub(in super::super) struct StyleSheet {
    rules: Vec<Rule>,
    styles: Vec<Styles>,
    by_key: HashMap<Key, Vec<usize>>,
    /// The attributes that selectors test.
    tested: HashSet<Box<str>>,
    /// Those of them that are tested of an ancestor.
    tested_of_ancestors: HashSet<Box<str>>,
    steps: u64,
    is_incomplete: bool,
}

#[derive(Debug)]
struct Rule {
    selector: Selector,
    /// The position of its declarations.
    styles: usize,
}

impl StyleSheet {
    /// Adds the rules of a `style` element.
    pub(in super::super) fn add(&mut self, css: &str) {
        self.add_rules(&without_comments(css), 0, false);
    }

    /// Notes that there are rules that were not read.
    pub(in super::super) fn give_up(&mut self) {
        self.is_incomplete = true;
    }

    /// Whether the value of an attribute decides whether a rule applies.
    pub(in super::super) fn tests(&self, attribute: &str) -> bool {
        self.tested.contains(attribute)
    }

    /// Whether the value decides whether a rule applies to what is within the element.
    pub(in super::super) fn tests_of_ancestors(&self, attribute: &str) -> bool {
        self.tested_of_ancestors.contains(attribute)
    }

    pub(in super::super) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Whether a rule was not read.
    pub(in super::super) fn is_incomplete(&self) -> bool {
        self.is_incomplete
    }

    /// Whether the rules can no longer be compared with an element.
    pub(in super::super) fn is_exhausted(&self) -> bool {
        self.steps > MAX_STEPS
    }

    pub(in super::super) fn steps(&self) -> u64 {
        self.steps
    }

    fn add_rules(&mut self, css: &str, depth: usize, is_doubtful: bool) {
        let mut rest = css;
        while let Some(at) = start_of_block_or_end(rest).filter(|_| !self.is_incomplete) {
            let (prelude, behind) = rest.split_at(at);
            if let Some(after_statement) = behind.strip_prefix(';') {
                rest = after_statement;
                continue;
            }
            let block = &behind[1..];
            let end = end_of_block(block);
            rest = block.get(end + 1..).unwrap_or_default();
            let block = &block[..end];
            match prelude.trim().strip_prefix('@').map(Group::named) {
                Some(Group::Ignored) => {}
                Some(_) if depth >= MAX_DEPTH => self.give_up(),
                Some(Group::Applies) => self.add_rules(block, depth + 1, is_doubtful),
                Some(Group::Unknown) => self.add_rules(block, depth + 1, true),
                // Its declarations are those of an element that is not known.
                Some(Group::Scope) => self.add_rule("*", block, depth + 1, true),
                None => self.add_rule(prelude, block, depth, is_doubtful),
            }
        }
    }

    /// Adds a rule, and those nested in it, which are doubtful: what is around their elements is not compared.
    fn add_rule(&mut self, selectors: &str, block: &str, depth: usize, is_doubtful: bool) {
        if !block.contains('{') {
            let styles = Styles::parse(block, &mut self.steps);
            return self.add_styles(selectors, styles, is_doubtful);
        }
        let mut own = String::new();
        let mut rest = block;
        while let Some(at) = start_of_block_or_end(rest) {
            let (before, behind) = rest.split_at(at);
            if let Some(after_declaration) = behind.strip_prefix(';') {
                own.push_str(before);
                own.push(';');
                rest = after_declaration;
                continue;
            }
            let block = &behind[1..];
            let end = end_of_block(block);
            rest = block.get(end + 1..).unwrap_or_default();
            let block = &block[..end];
            match before.trim().strip_prefix('@').map(Group::named) {
                Some(Group::Ignored) => {}
                _ if depth >= MAX_DEPTH => self.give_up(),
                Some(Group::Applies) => self.add_rule(selectors, block, depth + 1, is_doubtful),
                Some(_) => self.add_rule(selectors, block, depth + 1, true),
                None => self.add_rule(before, block, depth + 1, true),
            }
        }
        own.push_str(rest);
        let styles = Styles::parse(&own, &mut self.steps);
        self.add_styles(selectors, styles, is_doubtful);
    }

    fn add_styles(&mut self, selectors: &str, styles: Styles, is_doubtful: bool) {
        if styles == Styles::default() {
            return;
        }
        for text in pieces(selectors, b',') {
            // A group within a rule repeats its selectors.
            self.steps += STEPS_OF_SELECTOR + text.len() as u64 / BYTES_OF_STEP;
            if self.steps > MAX_STEPS {
                return;
            }
            let Some(mut selector) = Selector::parse(text.trim()) else {
                continue;
            };
            if self.rules.len() >= MAX_RULES {
                self.is_incomplete = true;
                return;
            }
            selector.is_doubtful |= is_doubtful;
            self.tested.extend(selector.tested_attributes());
            self.tested_of_ancestors
                .extend(selector.tested_attributes_of_ancestors());
            self.by_key
                .entry(selector.key())
                .or_default()
                .push(self.rules.len());
            self.rules.push(Rule {
                selector,
                styles: self.styles.len(),
            });
        }
        self.styles.push(styles);
    }

    /// What the rules declare for an element within `ancestors`.
    fn styles(
        &mut self,
        element: &Element,
        attributes: &Attributes,
        ancestors: &[Element],
    ) -> (Styles, Option<Declarations>) {
        let (mut found, mut doubtful) = (Styles::default(), None);
        let classes = element
            .classes
            .iter()
            .map(|class| Key::Class(class.clone()));
        let keys = [
            Key::Any,
            Key::Tag(element.tag.clone()),
            Key::Id(element.id.clone()),
        ];
        let mut selected = Vec::new();
        for key in keys.into_iter().chain(classes) {
            for at in self.by_key.get(&key).into_iter().flatten() {
                let rule = &self.rules[*at];
                if self.steps <= MAX_STEPS
                    && rule
                        .selector
                        .selects(element, attributes, ancestors, &mut self.steps)
                {
                    selected.push((rule.selector.specificity, *at));
                }
            }
        }
        selected.sort_unstable();
        for (_, at) in selected {
            let styles = &self.styles[self.rules[at].styles];
            if self.rules[at].selector.is_doubtful {
                let before: Declarations = doubtful.take().unwrap_or_default();
                doubtful = Some(before.worse_of(&styles.normal).worse_of(&styles.important));
            } else {
                found.normal = found.normal.overridden_by(&styles.normal);
                found.important = found.important.overridden_by(&styles.important);
            }
        }
        (found, doubtful)
    }

    /// All that is declared for an element, by its attributes, the rules and its own style; and what doubtful rules
    /// make of it, at worst.
    pub(in super::super) fn declarations(
        &mut self,
        element: &Element,
        attributes: &Attributes,
        ancestors: &[Element],
    ) -> (Declarations, Option<Declarations>) {
        let own = attributes
            .get("style")
            .map(|style| Styles::parse(style, &mut self.steps));
        let of_attributes = Declarations::of_attributes(&element.tag, attributes);
        if self.rules.is_empty() {
            let declared = match own {
                Some(own) => of_attributes
                    .overridden_by(&own.normal)
                    .overridden_by(&own.important),
                None => of_attributes,
            };
            let doubtful = declared.clone().at_worst();
            return (declared, doubtful);
        }
        let (sheet, doubtful) = self.styles(element, attributes, ancestors);
        let own = own.unwrap_or_default();
        let declared = of_attributes
            .overridden_by(&sheet.normal)
            .overridden_by(&own.normal)
            .overridden_by(&sheet.important)
            .overridden_by(&own.important);
        let worst = doubtful.map(|doubtful| declared.worse_of(&doubtful));
        let cut = worst.as_ref().unwrap_or(&declared).clone().at_worst();
        (declared, cut.or(worst))
    }
}

/// The position of the next brace or semicolon.
fn start_of_block_or_end(css: &str) -> Option<usize> {
    unquoted(css).find_map(|(at, byte)| matches!(byte, b'{' | b';').then_some(at))
}

/// Whether the rules within an at-rule apply.
enum Group {
    Applies,
    /// They depend on what is not known.
    Unknown,
    /// As unknown ones, and it can have declarations of its own.
    Scope,
    Ignored,
}

impl Group {
    fn named(at_rule: &str) -> Self {
        let at_rule = at_rule.to_ascii_lowercase();
        let end = at_rule.find(|one: char| one.is_whitespace() || one == '(');
        let (name, query) = at_rule.split_at(end.unwrap_or(at_rule.len()));
        match name {
            "media" if media_applies(query) => Self::Applies,
            "supports" | "layer" => Self::Applies,
            "container" | "starting-style" => Self::Unknown,
            "scope" => Self::Scope,
            _ => Self::Ignored,
        }
    }
}
