//! Ends elements: by their end tags, and by what implies one.

use super::super::links;
use super::super::stack::{Element, OpenLink, Role, TableKind};
use super::super::tag::Tag;
use super::super::tokens::Attributes;
use super::super::visibility::Seen;
use super::Page;

/// The largest number of formatting elements that stay open where an element around them is closed.
const MAX_REOPENED: usize = 4;

/// It costs as much as this number of comparisons to open an element again.
const STEPS_OF_REOPENING: u64 = 40;

const HEADINGS: [Tag; 6] = [Tag::H1, Tag::H2, Tag::H3, Tag::H4, Tag::H5, Tag::H6];

impl Page {
    /// A head ends where something stands that cannot be in one.
    pub(super) fn leave_head(&mut self) {
        if !self.open.has(&Tag::Head) {
            return;
        }
        if let Some(at) = self.open.innermost(&[Tag::Head], |tag| !tag.is_of_head()) {
            self.close_to(at);
        }
    }

    /// Leaves a drawing or a formula where an element of HTML begins.
    pub(super) fn leave_drawing(&mut self, tag: &Tag, attributes: &Attributes) {
        let of_font = ["color", "face", "size"];
        let is_font = *tag == Tag::Font && of_font.iter().any(|name| attributes.has(name));
        if !is_font && !tag.ends_drawing() {
            return;
        }
        while let Some(drawing) = self.open.drawing() {
            self.close_to(drawing);
        }
    }

    /// Closes what the next element ends without an end tag (HTML, section 13.2.6.4).
    pub(super) fn close_implied(&mut self, tag: &Tag) {
        use Tag::{
            A, Button, Caption, Dd, Dt, Li, Nobr, Option, Table, Tbody, Td, Tfoot, Th, Thead, Tr,
        };
        if tag.is_of_table() {
            self.clear_table(tag);
        }
        let is_end_of_item =
            |open: &Tag| open.is_special() && !matches!(open, Tag::Address | Tag::Div | Tag::P);
        let at = match tag {
            Li => self.open.innermost(&[Li], is_end_of_item),
            Dt | Dd => self.open.innermost(&[Dt, Dd], is_end_of_item),
            Option => self.open.innermost(&[Option], |open| *open == Tag::Select),
            Button => self.open.innermost(&[Button], Tag::is_scope),
            A | Nobr => return self.end_formatting(tag, Tag::ends_formatting),
            Td | Th => self
                .open
                .outermost(&[Td, Th], |open| matches!(open, Tr | Table)),
            Tr => self.open.outermost(&[Tr], |open| *open == Table),
            Tbody | Thead | Tfoot => self
                .open
                .outermost(&[Tbody, Thead, Tfoot, Tr, Caption], |open| *open == Table),
            _ => None,
        };
        at.into_iter().for_each(|at| self.close_to(at));
        if tag.ends_paragraph() {
            self.close_paragraph(tag);
        }
        let is_heading = |element: &Element| element.tag.is_heading();
        if tag.is_heading() && self.open.last().is_some_and(is_heading) {
            self.close_to(self.open.len() - 1);
        }
    }

    fn close_paragraph(&mut self, tag: &Tag) {
        let stops = |open: &Tag| open.is_scope() || *open == Tag::Button;
        let Some(at) = self.open.innermost(&[Tag::P], stops) else {
            return;
        };
        if *tag == Tag::Table && self.open.hides(at) {
            // A table is in the paragraph if the page has no document type, or the mail reader shows it without.
            self.writer.leave_out();
        } else {
            self.close_to(at);
        }
    }

    /// Closes what stands in a table, but in none of its cells, and hides the next part of the table: a browser moves
    /// it before the table.
    fn clear_table(&mut self, tag: &Tag) {
        let Some(part) = self.open.innermost_where(Tag::is_of_table) else {
            return;
        };
        match self.open.as_slice()[part].tag {
            Tag::Td | Tag::Th => return,
            Tag::Caption if *tag != Tag::Table => return self.close_to(part),
            Tag::Caption => return,
            _ => {}
        }
        let within = part + 1..self.open.len();
        let mut hiding = within.filter(|at| self.open.hides(*at));
        if let Some(at) = hiding.next() {
            // Formatting goes on behind the table.
            self.is_lost |= self.open.as_slice()[at].tag.is_formatting();
            self.close_to(at);
        }
        if *tag == Tag::Table
            && let Some(at) = self.open.innermost(&[Tag::Table], |_| false)
        {
            self.close_to(at);
        }
    }

    /// Closes what an end tag ends (HTML, section 13.2.6.4.7).
    pub(super) fn close_by_tag(&mut self, tag: &Tag) {
        let wanted = std::slice::from_ref(tag);
        let within_drawing = self.open.drawing().and_then(|drawing| {
            let at = self.open.innermost(wanted, |_| false)?;
            (at >= drawing).then_some(at)
        });
        let at = match tag {
            _ if within_drawing.is_some() => within_drawing,
            Tag::P => {
                let stops = |open: &Tag| open.is_scope() || *open == Tag::Button;
                let at = self.open.innermost(wanted, stops);
                if at.is_none() {
                    self.writer.start_paragraph();
                }
                at
            }
            Tag::Li => self.open.innermost(wanted, |open| {
                open.is_scope() || matches!(open, Tag::Ul | Tag::Ol)
            }),
            Tag::Form => return self.end_form(),
            _ if tag.is_heading() => self.open.innermost(&HEADINGS, Tag::is_scope),
            _ if tag.is_formatting() => return self.end_formatting(tag, Tag::is_scope),
            _ if tag.is_of_table() => self.open.innermost(wanted, |open| *open == Tag::Table),
            Tag::Template => self.open.innermost(wanted, |_| false),
            _ if tag.is_ended_in_scope() => self.open.innermost(wanted, Tag::is_scope),
            _ => self.open.innermost(wanted, Tag::is_special),
        };
        at.into_iter().for_each(|at| self.close_to(at));
    }

    /// A form ends without what begins within and has not ended.
    fn end_form(&mut self) {
        if let Some(at) = self.open.innermost(&[Tag::Form], Tag::is_scope) {
            let within = &self.open.as_slice()[at + 1..];
            let is_whole = within.iter().all(|open| open.tag.is_ended_by_parent());
            let mut open = at..self.open.len();
            self.is_lost |= !is_whole && open.any(|at| self.open.hides(at));
            self.close_to(at);
        }
    }

    /// Ends formatting: blocks that begin within go on without it ("adoption agency", HTML, section 13.2.6.4.7).
    fn end_formatting(&mut self, tag: &Tag, stops: impl Fn(&Tag) -> bool) {
        let Some(at) = self.open.innermost(std::slice::from_ref(tag), stops) else {
            if let Some(at) = self.pending.iter().rposition(|one| one.tag == *tag) {
                self.pending.remove(at);
            }
            return;
        };
        let mut within = at + 1..self.open.len();
        let block = within.find(|at| self.open.as_slice()[*at].tag.is_special());
        // Of more blocks, a browser ends the formatting in some.
        let blocks = self.open.as_slice()[at..].iter();
        let blocks = blocks.filter(|open| open.tag.is_special()).count();
        self.is_lost |= blocks >= 8 && self.open.hides(at);
        self.close(at, block);
    }

    /// Closes an element and all within. Formatting that begins within goes on, as in a browser.
    pub(super) fn close_to(&mut self, at: usize) {
        self.close(at, None);
    }

    /// Closes an element. The elements within from `first_kept` on go on.
    fn close(&mut self, at: usize, first_kept: Option<usize>) {
        let (mut kept, mut pending) = (Vec::new(), Vec::new());
        while self.open.len() > at {
            let Some(mut closed) = self.close_last() else {
                break;
            };
            let position = self.open.len();
            if closed.tag.ends_formatting() {
                pending.clear();
                self.pending = std::mem::take(&mut closed.interrupted);
            }
            if position == at {
                break;
            }
            if first_kept.is_some_and(|first| position >= first) {
                kept.push(closed);
            } else if closed.tag.is_formatting() {
                pending.push(closed);
            }
        }
        for element in kept.into_iter().rev() {
            self.reopen(element);
        }
        pending.reverse();
        pending.append(&mut self.pending);
        self.pending = pending;
        // Of many, only hidden ones make a difference.
        let first_kept = self.pending.len().saturating_sub(MAX_REOPENED);
        for left_out in self.pending.drain(..first_kept) {
            self.is_lost |= left_out.sight.of_text() != Seen::Yes;
        }
    }

    /// Opens formatting again that goes on.
    pub(super) fn reopen_pending(&mut self) {
        for element in std::mem::take(&mut self.pending) {
            if self.open.is_full() {
                self.is_lost |= element.sight.of_text() != Seen::Yes;
            } else {
                self.reopen(element);
            }
        }
    }

    fn reopen(&mut self, mut element: Element) {
        self.open.steps += STEPS_OF_REOPENING;
        element.sight = element.look.within(self.sight());
        match &element.role {
            _ if !element.sight.has_box() => element.role = Role::None,
            Role::Mark(mark) => {
                self.writer.open_mark(mark.clone());
            }
            Role::Quote => self.writer.enter_quote(),
            Role::List(_) => self.writer.enter_list(),
            // The link's target was written.
            Role::Link(_) | Role::Table(_) | Role::Code | Role::None => element.role = Role::None,
        }
        self.open.push(element);
    }

    pub(super) fn close_last(&mut self) -> Option<Element> {
        let element = self.open.pop()?;
        if !element.sight.has_box() {
            return Some(element);
        }
        match &element.role {
            Role::Link(link) => self.write_target(link),
            Role::List(_) => self.writer.leave_list(),
            Role::Mark(_) => drop(self.writer.close_mark()),
            Role::Code => self.writer.end_code(),
            Role::Quote | Role::Table(_) | Role::None => {}
        }
        match element.tag {
            Tag::Q => self.write_text("”"),
            Tag::Li => self.writer.set_marker(None),
            Tag::Tr if self.is_in_data_table() => self.writer.end_data_row(),
            Tag::H1 | Tag::H2 | Tag::H3 | Tag::H4 | Tag::H5 | Tag::H6 => self.writer.end_heading(),
            _ => {}
        }
        self.start_flow(&element.tag);
        if matches!(element.role, Role::Table(TableKind::Data)) {
            self.writer.end_data_table();
        }
        if matches!(element.role, Role::Quote) {
            self.writer.leave_quote();
        }
        Some(element)
    }

    /// A link's target stands behind its text, unless the text is the target, or it was just written. A link that
    /// shows nothing has no target.
    fn write_target(&mut self, link: &OpenLink) {
        if link.is_mark {
            // In Markdown, the target is written with the text.
            let is_empty = self.writer.close_mark().is_some();
            if is_empty && link.has_picture && link.target != self.last_target {
                self.writer.write_target(&link.target);
            }
            self.last_target.clone_from(&link.target);
            return;
        }
        let shown = self.writer.since(link.start).trim();
        let shown = shown.trim_start_matches(['|', '-', ' ']);
        let has_text = !shown.is_empty();
        if !has_text && !link.has_picture {
            return;
        }
        if !links::is_target(shown, &link.target) && link.target != self.last_target {
            if has_text {
                self.writer.write_target_behind_text(&link.target);
            } else {
                self.writer.write_target(&link.target);
            }
        }
        self.last_target.clone_from(&link.target);
    }
}
