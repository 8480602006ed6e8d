//! Ends elements: by their end tags, and by what implies one.

use super::super::links;
use super::super::stack::{Element, OpenLink, Role, TableKind};
use super::super::tag::{Flow, Tag};
use super::Page;

/// The largest number of formatting elements that stay open where an element around them is closed.
const MAX_REOPENED: usize = 8;

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

    /// Closes what the next element ends without an end tag (HTML, section 13.1.2.4).
    pub(super) fn close_implied(&mut self, tag: &Tag) {
        use Tag::{A, Caption, Dd, Dt, Li, Option, P, Table, Tbody, Td, Tfoot, Th, Thead, Tr};
        if tag.flow() != Flow::Inline && *tag != Tr {
            let at = self.open.innermost(&[P], |open| {
                open.is_cell() || matches!(open, Table | Caption | Tag::Button)
            });
            at.into_iter().for_each(|at| self.close_to(at));
        }
        let is_list =
            |open: &Tag| matches!(open, Tag::Ul | Tag::Ol | Tag::Menu | Tag::Dir | Tag::Dl);
        let at = match tag {
            Li => self.open.innermost(&[Li], |open| {
                is_list(open) || open.is_of_table() || matches!(open, Tag::Div | Tag::Blockquote)
            }),
            Dt | Dd => self
                .open
                .innermost(&[Dt, Dd], |open| is_list(open) || open.is_of_table()),
            Option => self.open.innermost(&[Option], |open| *open == Tag::Select),
            A => self.open.innermost(&[A], |open| {
                open.is_of_table() || matches!(open, Tag::Div | P)
            }),
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
    }

    /// Closes an element and all within. Formatting that was open within stays open, as in a browser.
    pub(super) fn close_to(&mut self, at: usize) {
        let is_barrier = self.open.as_slice()[at].tag.is_of_table()
            || !self.open.as_slice()[at].visibility.has_box();
        let mut reopened = Vec::new();
        while self.open.len() > at {
            let is_within = self.open.len() > at + 1;
            let closed = self.close_last();
            if let Some(mut closed) = closed.filter(|closed| {
                is_within
                    && !is_barrier
                    && reopened.len() < MAX_REOPENED
                    && closed.tag.is_formatting()
            }) {
                // The link's target was written.
                if !matches!(closed.role, Role::Mark(_)) {
                    closed.role = Role::None;
                }
                reopened.push(closed);
            }
        }
        for element in reopened.into_iter().rev() {
            if let Role::Mark(mark) = &element.role {
                self.writer.open_mark(mark.clone());
            }
            self.open.push(element);
        }
    }

    pub(super) fn close_last(&mut self) -> Option<Element> {
        let element = self.open.pop()?;
        if !element.visibility.has_box() {
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
