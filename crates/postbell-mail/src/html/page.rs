//! Reads the tokens of a page and writes its text.

mod closing;

use super::css::{Color, Declarations, Drawing, StyleSheet};
use super::links;
use super::markdown::Mark;
use super::stack::{Element, Numbering, OpenElements, OpenLink, Role, TableKind};
use super::style::Preamble;
use super::tag::{Flow, Tag};
use super::tokens::{Attributes, MAX_STEPS, StartTag, TokenSink};
use super::visibility::{LINK, Look, Seen, Sight, Style};
use super::writer::Writer;
use super::{HtmlText, Output};

/// The largest number of classes of one element, and the longest that a selector can have.
const MAX_CLASSES: usize = 64;
const MAX_CLASS: usize = 512;

/// The most open elements that are compared: about a tenth of a second.
const MAX_COMPARED: u64 = 20_000_000;

/// Attributes whose values decide what is written.
const WANTED: [&str; 19] = [
    "alt",
    "background",
    "bgcolor",
    "border",
    "class",
    "color",
    "height",
    "hidden",
    "href",
    "id",
    "open",
    "popover",
    "role",
    "size",
    "start",
    "style",
    "text",
    "value",
    "width",
];

/// A page that is being read.
pub(super) struct Page {
    writer: Writer,
    open: OpenElements,
    sheet: StyleSheet,
    link: Color,
    /// The target that was written last: a picture and its caption often have the same.
    last_target: String,
    /// Cells in the current row of the innermost data table.
    cells_in_row: usize,
    /// The stack is full. From here on no element is opened or closed.
    is_too_deep: bool,
    /// The visibility of text can no longer be decided.
    is_lost: bool,
    /// Formatting that goes on where the next text or inline element stands ("active formatting elements", HTML, section
    /// 13.2.4.3).
    pending: Vec<Element>,
}

impl Page {
    pub(super) fn new(preamble: Preamble, limit: usize, output: Output) -> Self {
        let link = preamble.body.get("link").and_then(Color::of_attribute);
        let mut page = Self {
            writer: Writer::new(limit, output),
            open: OpenElements::default(),
            sheet: preamble.sheet,
            link: link.unwrap_or(LINK),
            last_target: String::new(),
            cells_in_row: 0,
            is_too_deep: false,
            is_lost: false,
            pending: Vec::new(),
        };
        // They are there without tags, too.
        for (tag, attributes) in [(Tag::Html, preamble.html), (Tag::Body, preamble.body)] {
            let element = page.element(tag, &attributes);
            page.open.push(element);
        }
        page
    }

    /// The text, after `steps` of the tokenizer.
    pub(super) fn finish(mut self, steps: u64) -> HtmlText {
        let is_cut = self.is_cut(steps);
        while self.open.len() > 0 {
            self.close_last();
        }
        let steps = steps + self.open.steps + self.sheet.steps();
        let (text, was_cut) = self.writer.finish();
        HtmlText {
            text,
            was_cut: was_cut || is_cut,
            steps,
        }
    }

    /// Whether the visibility of the rest cannot be decided, or only with too much work.
    fn is_cut(&self, steps: u64) -> bool {
        self.is_lost
            || self.sheet.is_exhausted()
            || steps > MAX_STEPS
            || self.open.steps > MAX_COMPARED
    }

    /// Writes on where the nesting is too deep to be followed, as long as everything is visible: from the first
    /// hidden element on, the end of what it hides is not known.
    fn pass_too_deep(&mut self, element: &Element) {
        self.is_too_deep = true;
        self.start_flow(&element.tag);
        self.is_lost |= element.sight.of_text() != Seen::Yes;
    }

    /// The element of a start tag, with how its text is drawn.
    fn element(&mut self, tag: Tag, attributes: &Attributes) -> Element {
        let classes = attributes.get("class").unwrap_or_default();
        let classes = classes.split_ascii_whitespace();
        let id = attributes.get("id").unwrap_or_default();
        // A rule for what is left out may hide the element.
        let is_cut = id.len() > MAX_CLASS
            || classes.clone().any(|class| class.len() > MAX_CLASS)
            || classes.clone().nth(MAX_CLASSES).is_some();
        self.is_lost |= is_cut && self.sheet.has_rules();
        let mut element = Element {
            classes: classes
                .filter(|class| class.len() <= MAX_CLASS)
                .take(MAX_CLASSES)
                .map(Into::into)
                .collect(),
            id: Some(id)
                .filter(|id| id.len() <= MAX_CLASS)
                .unwrap_or_default()
                .into(),
            attributes: attributes.filtered(|name| self.sheet.tests_of_ancestors(name)),
            look: Look::default(),
            sight: self.sight(),
            role: Role::None,
            interrupted: Vec::new(),
            tag,
        };
        let style = self.style(&element, attributes);
        let is_closed_dialog = element.tag == Tag::Dialog && !attributes.has("open");
        element.look = Look {
            is_removed: element.tag.is_never_drawn()
                || attributes.has("popover")
                || is_closed_dialog,
            link: (element.tag == Tag::A && attributes.has("href")).then_some(self.link),
            is_preformatted: element.tag.is_preformatted(),
            style,
        };
        element.sight = element.look.within(element.sight);
        element
    }

    /// The declarations for an element.
    fn style(&mut self, element: &Element, attributes: &Attributes) -> Option<Box<Style>> {
        if attributes.is_empty() && !self.sheet.has_rules() {
            return None;
        }
        let ancestors = self.open.as_slice();
        let (declared, doubtful) = self.sheet.declarations(element, attributes, ancestors);
        let is_collapsed = matches!(element.tag, Tag::Col | Tag::Colgroup)
            && declared.drawing == Some(Drawing::Hidden);
        // A collapsed column hides cells, and such a margin what is behind the element.
        self.is_lost |= is_collapsed || declared.pulls_up == Some(true) && element.sight.has_box();
        let is_plain = doubtful.is_empty() && declared == Declarations::default();
        (!is_plain).then(|| Box::new(Style { declared, doubtful }))
    }

    /// The visibility at the present position.
    fn sight(&self) -> Sight {
        self.open.sight_before(self.open.len())
    }

    /// Writes an element without content.
    fn write_void(&mut self, element: &Element, attributes: &Attributes) {
        if !element.sight.has_box() {
            if element.tag == Tag::Img && element.sight.of_text() == Seen::Maybe {
                self.writer.leave_out();
            }
            return;
        }
        match element.tag {
            Tag::Br => self.writer.break_line(),
            Tag::Hr => self.writer.start_paragraph(),
            Tag::Img if !is_pixel(attributes) => {
                let alternative = attributes.get("alt").unwrap_or_default();
                self.writer.write_alternative(alternative);
                for outer in self.open.innermost_first() {
                    if let Role::Link(link) = &mut outer.role {
                        link.has_picture = true;
                        break;
                    }
                }
            }
            _ => {}
        }
    }

    fn open(&mut self, mut element: Element, attributes: &Attributes) {
        if element.sight.has_box() {
            self.start_flow(&element.tag);
            self.open_box(&mut element, attributes);
        }
        if element.tag.ends_formatting() {
            element.interrupted = std::mem::take(&mut self.pending);
        }
        self.open.push(element);
    }

    fn open_mark(&mut self, element: &mut Element, mark: Mark) {
        if self.writer.open_mark(mark.clone()) {
            element.role = Role::Mark(mark);
        }
    }

    fn open_box(&mut self, element: &mut Element, attributes: &Attributes) {
        match element.tag {
            Tag::Ul | Tag::Menu | Tag::Dir => {
                element.role = Role::List(Numbering::Bullets);
                self.writer.enter_list();
            }
            Tag::Ol => {
                let start = number(attributes, "start").unwrap_or(1);
                element.role = Role::List(Numbering::From(start));
                self.writer.enter_list();
            }
            Tag::Li => {
                let marker = self.next_marker(number(attributes, "value"));
                self.writer.set_marker(Some(marker));
            }
            Tag::Blockquote => {
                element.role = Role::Quote;
                self.writer.enter_quote();
            }
            Tag::Table if self.writer.takes_table() => {
                element.role = Role::Table(table_kind(attributes));
            }
            Tag::Table => element.role = Role::Table(TableKind::Layout),
            Tag::H1 | Tag::H2 | Tag::H3 | Tag::H4 | Tag::H5 | Tag::H6 => {
                self.writer.start_heading(element.tag.level());
            }
            Tag::B | Tag::Strong => self.open_mark(element, Mark::Strong),
            Tag::I | Tag::Em => self.open_mark(element, Mark::Emphasis),
            Tag::Pre | Tag::Listing | Tag::Xmp if self.writer.start_code() => {
                element.role = Role::Code;
            }
            Tag::Tr if self.is_in_data_table() => {
                self.writer.start_data_row();
                self.cells_in_row = 0;
            }
            Tag::Td | Tag::Th => self.start_cell(&element.tag),
            Tag::A => element.role = self.open_link(attributes.get("href")),
            Tag::Q => self.write_text("“"),
            _ => {}
        }
    }

    /// What a link is, if it leads out of the mail.
    fn open_link(&mut self, href: Option<&str>) -> Role {
        let is_too_long = href.is_some_and(|href| href.len() > links::MAX_TARGET);
        if is_too_long {
            self.writer.leave_out();
            return Role::None;
        }
        let Some(target) = href.and_then(links::target) else {
            return Role::None;
        };
        let is_mark = self.writer.open_mark(Mark::Link(target.clone()));
        Role::Link(OpenLink {
            target,
            start: self.writer.position(),
            has_picture: false,
            is_mark,
        })
    }

    /// The mark of the next item of the innermost list.
    fn next_marker(&mut self, value: Option<i64>) -> String {
        let mut lists = self
            .open
            .innermost_first()
            .filter_map(|element| match &mut element.role {
                Role::List(numbering) => Some(numbering),
                _ => None,
            });
        match lists.next() {
            Some(Numbering::From(next)) => {
                let number = value.unwrap_or(*next);
                *next = number.saturating_add(1);
                format!("{number}. ")
            }
            _ => "- ".to_owned(),
        }
    }

    fn start_cell(&mut self, tag: &Tag) {
        if *tag == Tag::Th && self.become_data_table() {
            self.writer.start_data_row();
            self.cells_in_row = 0;
        }
        if self.is_in_data_table() {
            self.writer.start_data_cell(self.cells_in_row == 0);
            self.cells_in_row += 1;
        } else {
            self.writer.start_layout_cell();
        }
    }

    fn is_in_data_table(&mut self) -> bool {
        let mut tables = self
            .open
            .innermost_first()
            .filter_map(|element| match element.role {
                Role::Table(kind) => Some(kind),
                _ => None,
            });
        tables.next() == Some(TableKind::Data)
    }

    /// A table with a header cell is read by its columns. Returns whether that was not known.
    fn become_data_table(&mut self) -> bool {
        let table = self
            .open
            .innermost_first()
            .find(|element| matches!(element.role, Role::Table(_)));
        let is_new = table
            .as_ref()
            .is_some_and(|table| matches!(table.role, Role::Table(TableKind::Unknown)));
        if let Some(table) = table.filter(|_| is_new) {
            table.role = Role::Table(TableKind::Data);
        }
        is_new
    }

    fn start_flow(&mut self, tag: &Tag) {
        match tag.flow() {
            Flow::Inline => {}
            Flow::Paragraph if !self.is_in_item(tag) => self.writer.start_paragraph(),
            Flow::Block | Flow::Paragraph => self.writer.start_line(),
        }
    }

    /// Whether a paragraph or list belongs to a list's item, whose items stand close together.
    fn is_in_item(&mut self, tag: &Tag) -> bool {
        let is_close = matches!(tag, Tag::P | Tag::Ul | Tag::Ol | Tag::Menu | Tag::Dir);
        is_close
            && self
                .open
                .innermost_first()
                .take(3)
                .any(|element| element.tag == Tag::Li)
    }

    fn write_text(&mut self, text: &str) {
        let sight = self.sight();
        match sight.of_text() {
            Seen::Yes if sight.is_preformatted() => self.writer.write_preformatted(text),
            Seen::Yes => self.writer.write(text),
            Seen::Maybe if !text.trim().is_empty() => self.writer.leave_out(),
            Seen::Maybe | Seen::No => {}
        }
    }

    /// Begins a part of a table outside of a table: a browser ignores its tag.
    fn pass_part_of_table(&mut self, tag: &Tag) {
        self.start_flow(tag);
        if tag.is_cell() {
            self.writer.start_layout_cell();
        }
    }

    /// Whether an element does not begin: it can be open only once, or only within another.
    fn is_ignored(&mut self, tag: &Tag) -> bool {
        match tag {
            Tag::Html | Tag::Body => true,
            Tag::Form => self.open.has(tag),
            Tag::Frameset => {
                // It takes the place of a body without text.
                self.is_lost |= self.writer.position() == 0;
                true
            }
            Tag::Table => false,
            Tag::Col | Tag::Colgroup => !self.open.has(&Tag::Table),
            _ if tag.is_of_table() && !self.open.has(&Tag::Table) => {
                self.pass_part_of_table(tag);
                true
            }
            _ => false,
        }
    }
}

impl TokenSink for Page {
    fn wants(&self, _: &[u8], attribute: &str) -> bool {
        WANTED.contains(&attribute) || self.sheet.tests(attribute)
    }

    fn is_in_drawing(&self) -> bool {
        self.open.drawing().is_some()
    }

    fn is_done(&self, steps: u64) -> bool {
        self.writer.is_full() || self.is_cut(steps)
    }

    fn start(&mut self, start: StartTag) {
        let StartTag {
            tag,
            attributes,
            is_self_closing,
        } = start;
        // What was cut off may hide the element.
        self.is_lost |= attributes.is_cut;
        self.leave_drawing(&tag, &attributes);
        let is_of_drawing = tag.is_drawing() || self.is_in_drawing();
        if !self.is_too_deep && !is_of_drawing {
            if !tag.is_of_head() {
                self.leave_head();
            }
            self.close_implied(&tag);
        }
        if !is_of_drawing && self.is_ignored(&tag) {
            return;
        }
        if !is_of_drawing && !tag.is_before_formatting() {
            self.reopen_pending();
        }
        let element = self.element(tag, &attributes);
        if element.tag.is_void() {
            self.write_void(&element, &attributes);
        } else if self.open.is_full() {
            self.pass_too_deep(&element);
        } else if !(is_self_closing && (is_of_drawing || element.tag.is_prefixed())) {
            self.open(element, &attributes);
        }
    }

    fn text(&mut self, text: &str) {
        if self
            .open
            .last()
            .is_some_and(|element| element.tag == Tag::Head)
            && !text.trim().is_empty()
        {
            self.leave_head();
        }
        if !self.is_in_drawing() {
            self.reopen_pending();
        }
        self.write_text(text);
    }

    fn end(&mut self, tag: &Tag) {
        match tag {
            Tag::Html | Tag::Body => return,
            Tag::Br => return self.writer.break_line(),
            _ if self.is_too_deep => return,
            _ => {}
        }
        self.close_by_tag(tag);
    }
}

/// What a table's own attributes say about its purpose.
fn table_kind(attributes: &Attributes) -> TableKind {
    match attributes.get("role").map(str::trim) {
        Some("presentation" | "none") => TableKind::Layout,
        Some("table" | "grid") => TableKind::Data,
        _ if number(attributes, "border").is_some_and(|width| width > 0) => TableKind::Data,
        _ => TableKind::Unknown,
    }
}

/// Whether a picture is a tracking pixel or a spacer.
fn is_pixel(attributes: &Attributes) -> bool {
    let is_small = |name| number(attributes, name).is_some_and(|size| size <= 1);
    is_small("width") || is_small("height")
}

fn number(attributes: &Attributes, name: &str) -> Option<i64> {
    let value = attributes.get(name)?.trim();
    let digits = value.trim_end_matches(|one: char| !one.is_ascii_digit());
    digits.parse().ok()
}
