//! Style sheets: rules, found by the most special condition of their selectors.

use std::collections::{HashMap, HashSet};

use super::super::stack::Element;
use super::super::tokens::Attributes;
use super::cost::{BYTES_OF_STEP, MAX_COMPARISONS};
use super::declarations::{Declarations, Styles};
use super::media::{Holds, media_applies};
use super::selector::{InvalidSelector, Key, Selector};
use super::syntax::{
    Scanner, end_of_block, is_space, pieces, preprocessed, trim, unescaped, without_comments,
};

/// The largest number of selectors.
const MAX_RULES: usize = 20_000;

/// The cost of reading a selector.
const STEPS_OF_SELECTOR: u64 = 4;

/// Of more doubtful rules of one element, only what all of them declare together is judged.
const MAX_DOUBTFUL: usize = 16;

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
    has_focus: bool,
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
    /// Adds the rules of a `style` element, of which it may depend on its media whether they apply.
    pub(in super::super) fn add(&mut self, css: &str, media: Holds) {
        match media {
            Holds::No => {}
            Holds::Maybe => self.add_rules(&preprocessed(css), 0, true),
            Holds::Yes => self.add_rules(&preprocessed(css), 0, false),
        }
    }

    /// Whether an element that takes the focus itself decides whether a rule applies.
    pub(in super::super) fn needs_focus(&self) -> bool {
        self.rules.iter().any(|rule| rule.selector.needs_focus)
    }

    /// Notes that an element of the page may take the focus.
    pub(in super::super) fn set_focus(&mut self) {
        self.has_focus = true;
    }

    /// Notes that some rules were not read.
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
        self.steps > MAX_COMPARISONS
    }

    pub(in super::super) fn steps(&self) -> u64 {
        self.steps
    }

    fn add_rules(&mut self, css: &str, depth: usize, is_doubtful: bool) {
        let mut rest = css;
        while !self.is_incomplete {
            rest = start_of_rule(rest);
            let Some(at) = end_of_prelude(rest, rest.starts_with('@')) else {
                break;
            };
            let (prelude, behind) = rest.split_at(at);
            if let Some(after_statement) = behind.strip_prefix(';') {
                let is_import = prelude.contains("data:") || prelude.contains('\\');
                if is_import && prelude.to_ascii_lowercase().starts_with("@import") {
                    self.give_up();
                }
                rest = after_statement;
                continue;
            }
            let block = &behind[1..];
            let end = end_of_block(block);
            rest = block.get(end + 1..).unwrap_or_default();
            let block = &block[..end];
            match Group::of(prelude) {
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
        while let Some(at) = end_of_prelude(rest, true) {
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
            match Group::of(before) {
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
        let first = self.rules.len();
        let mut is_doubtful = is_doubtful;
        for text in pieces(selectors, b',') {
            // A group within a rule repeats its selectors.
            self.steps += STEPS_OF_SELECTOR + text.len() as u64 / BYTES_OF_STEP;
            if self.steps > MAX_COMPARISONS {
                return;
            }
            match Selector::parse(text) {
                Ok(Some(selector)) if self.rules.len() < MAX_RULES => self.add_selector(selector),
                Ok(Some(_)) => return self.give_up(),
                Ok(None) => {}
                // A browser that does not know it either ignores the rule.
                Err(InvalidSelector) => is_doubtful = true,
            }
        }
        for rule in &mut self.rules[first..] {
            rule.selector.is_doubtful |= is_doubtful;
        }
        self.styles.push(styles);
    }

    fn add_selector(&mut self, selector: Selector) {
        self.tested.extend(selector.tested_attributes());
        self.tested_of_ancestors
            .extend(selector.tested_attributes_of_ancestors());
        let at = self.rules.len();
        self.by_key.entry(selector.key()).or_default().push(at);
        self.rules.push(Rule {
            selector,
            styles: self.styles.len(),
        });
    }

    /// What the rules declare for an element within `ancestors`, and what each doubtful one does.
    fn styles(
        &mut self,
        element: &Element,
        attributes: &Attributes,
        ancestors: &[Element],
    ) -> (Styles, Vec<Declarations>) {
        let classes = element.classes.iter().map(|class| Key::class(class));
        let keys = [
            Key::Any,
            Key::Tag(element.tag.clone()),
            Key::id(&element.id),
        ];
        let mut selected = Vec::new();
        // Two classes can differ in case alone.
        let mut keys: Vec<_> = keys.into_iter().chain(classes).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            for at in self.by_key.get(&key).into_iter().flatten() {
                let selector = &self.rules[*at].selector;
                if self.steps > MAX_COMPARISONS || selector.needs_focus && !self.has_focus {
                    continue;
                }
                let is_doubtful = selector.selects(element, attributes, ancestors, &mut self.steps);
                if let Some(is_doubtful) = is_doubtful {
                    selected.push((selector.specificity, *at, is_doubtful));
                }
            }
        }
        selected.sort_unstable();
        let (mut found, mut doubtful) = (Styles::default(), Vec::new());
        for (_, at, is_doubtful) in selected {
            let styles = &self.styles[self.rules[at].styles];
            if is_doubtful {
                doubtful.push(styles.normal.worse_of(&styles.important));
            } else {
                found.normal = found.normal.overridden_by(&styles.normal);
                found.important = found.important.overridden_by(&styles.important);
            }
        }
        (found, doubtful)
    }

    /// All that is declared for an element, by its attributes, the rules and its own style; and what doubtful rules
    /// and values make of it, each of them and all together.
    pub(in super::super) fn declarations(
        &mut self,
        element: &Element,
        attributes: &Attributes,
        ancestors: &[Element],
    ) -> (Declarations, Vec<Declarations>) {
        let own = attributes
            .get("style")
            .map(|style| Styles::parse(&preprocessed(style), &mut self.steps))
            .unwrap_or_default();
        let of_attributes = Declarations::of_attributes(&element.tag, attributes);
        let (sheet, rules) = if self.rules.is_empty() {
            Default::default()
        } else {
            self.styles(element, attributes, ancestors)
        };
        let declared = of_attributes
            .overridden_by(&sheet.normal)
            .overridden_by(&own.normal)
            .overridden_by(&sheet.important)
            .overridden_by(&own.important);
        let mut doubtful: Vec<_> = declared.at_worst().into_iter().collect();
        let mut all = declared.clone();
        for rule in &rules {
            all = all.worse_of(rule);
            if rules.len() <= MAX_DOUBTFUL {
                let worse = declared.worse_of(rule);
                doubtful.push(worse.at_worst().unwrap_or(worse));
            }
        }
        if rules.len() > 1 {
            doubtful.push(all.at_worst().unwrap_or(all));
        }
        (declared, doubtful)
    }
}

/// What follows white space, comments, and the marks that hid CSS from browsers of the nineties.
fn start_of_rule(css: &str) -> &str {
    let mut rest = css;
    loop {
        let before = rest;
        rest = rest.trim_start_matches(is_space);
        for mark in ["<!--", "-->"] {
            rest = rest.strip_prefix(mark).unwrap_or(rest);
        }
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, behind)| behind);
        }
        if rest.len() == before.len() {
            return rest;
        }
    }
}

/// The position of the next block, or of a semicolon before it that ends the text.
fn end_of_prelude(css: &str, ends_at_semicolon: bool) -> Option<usize> {
    let mut found = Scanner::new(css).filter(|one| one.depth == 0);
    let end = found.find(|one| one.byte == b'{' || ends_at_semicolon && one.byte == b';');
    end.map(|end| end.at)
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
    /// The group of rules with this prelude; none if it is that of a rule.
    fn of(prelude: &str) -> Option<Self> {
        let prelude = without_comments(prelude, " ", Some(" ")).unwrap_or_default();
        let at_rule = trim(&prelude).strip_prefix('@')?;
        let at_rule = unescaped(at_rule).to_ascii_lowercase();
        let end = at_rule.find(|one: char| is_space(one) || one == '(');
        let (name, query) = at_rule.split_at(end.unwrap_or(at_rule.len()));
        let group = match name {
            "media" => match media_applies(query) {
                Holds::Yes => Self::Applies,
                Holds::Maybe => Self::Unknown,
                Holds::No => Self::Ignored,
            },
            "supports" if !query.contains("not") => Self::Applies,
            // The rules of a layer yield to those of none, whatever their order.
            "layer" | "supports" | "container" | "starting-style" => Self::Unknown,
            "scope" => Self::Scope,
            _ => Self::Ignored,
        };
        Some(group)
    }
}
