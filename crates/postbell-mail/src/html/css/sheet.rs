//! Style sheets: rules, found by the most special condition of their selectors.

use std::collections::{HashMap, HashSet};

use super::super::stack::Element;
use super::super::tokens::Attributes;
use super::declarations::{Declarations, Styles};
use super::media::media_applies;
use super::selector::{Key, Selector};
use super::syntax::{end_of_block, pieces, without_comments};

/// The largest number of selectors.
const MAX_RULES: usize = 20_000;

/// The largest number of comparisons of an element with a selector.
pub(super) const MAX_STEPS: u64 = 4_000_000;

/// The deepest nesting of conditional groups.
const MAX_DEPTH: usize = 4;

/// The rules of a page.
#[derive(Debug, Default)]
pub(in super::super) struct StyleSheet {
    rules: Vec<Rule>,
    styles: Vec<Styles>,
    by_key: HashMap<Key, Vec<usize>>,
    /// The attributes that selectors test.
    tested: HashSet<Box<str>>,
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
        self.add_rules(&without_comments(css), 0);
    }

    /// Notes that there are rules that were not read.
    pub(in super::super) fn give_up(&mut self) {
        self.is_incomplete = true;
    }

    /// Whether the value of an attribute decides whether a rule applies.
    pub(in super::super) fn tests(&self, attribute: &str) -> bool {
        self.tested.contains(attribute)
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

    fn add_rules(&mut self, css: &str, depth: usize) {
        let mut rest = css;
        while let Some(at) = rest.find(['{', ';']).filter(|_| !self.is_incomplete) {
            let (prelude, behind) = rest.split_at(at);
            if let Some(after_statement) = behind.strip_prefix(';') {
                rest = after_statement;
                continue;
            }
            let block = &behind[1..];
            let end = end_of_block(block);
            rest = block.get(end + 1..).unwrap_or_default();
            match prelude.trim().strip_prefix('@') {
                Some(at_rule) if group_applies(at_rule) && depth < MAX_DEPTH => {
                    self.add_rules(&block[..end], depth + 1);
                }
                Some(_) => {}
                None => self.add_rule(prelude, &block[..end]),
            }
        }
    }

    fn add_rule(&mut self, selectors: &str, block: &str) {
        let styles = Styles::parse(block, &mut self.steps);
        if styles == Styles::default() {
            return;
        }
        for selector in pieces(selectors, b',').filter_map(|one| Selector::parse(one.trim())) {
            if self.rules.len() >= MAX_RULES {
                self.is_incomplete = true;
                return;
            }
            self.tested.extend(selector.tested_attributes());
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
            return (declared, None);
        }
        let (sheet, doubtful) = self.styles(element, attributes, ancestors);
        let own = own.unwrap_or_default();
        let declared = of_attributes
            .overridden_by(&sheet.normal)
            .overridden_by(&own.normal)
            .overridden_by(&sheet.important)
            .overridden_by(&own.important);
        let doubtful = doubtful.map(|doubtful| declared.worse_of(&doubtful));
        (declared, doubtful)
    }
}

/// Whether the rules within an at-rule apply.
fn group_applies(at_rule: &str) -> bool {
    let at_rule = at_rule.to_ascii_lowercase();
    match at_rule.split_once(|one: char| one.is_whitespace() || one == '(') {
        Some(("media", _)) => media_applies(&at_rule["media".len()..]),
        Some(("supports", _)) => true,
        _ => at_rule.starts_with("layer"),
    }
}
