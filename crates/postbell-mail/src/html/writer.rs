//! Writes the text of a page: spaces folded, lines and paragraphs apart, quotes, lists and tables marked.

use crate::invisible::{SmuggleFilter, is_ignorable, is_space};

/// The deepest level of quotes and lists that is marked.
const MAX_LEVELS: usize = 8;

/// The largest number of empty cells that are marked in a row.
const MAX_EMPTY_CELLS: usize = 50;

/// What stands between the last written character and the next.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
enum Gap {
    #[default]
    None,
    Space,
    Line,
    Paragraph,
}

/// The text written so far, and what is written before the next character.
#[derive(Default)]
pub(super) struct Writer {
    text: String,
    limit: usize,
    gap: Gap,
    cells: Cells,
    /// A zero-width joiner, which is only written between two characters.
    joiner: Option<char>,
    filter: SmuggleFilter,
    is_after_link: bool,
    marker: Option<String>,
    quotes: usize,
    /// The quotes of the last written line.
    last_quotes: usize,
    lists: usize,
    was_cut: bool,
}

/// The cells of the current row that began since the last character.
#[derive(Default)]
struct Cells {
    /// A cell of a layout table began in the line. If its content begins a line of its own, it is not marked.
    is_layout: bool,
    /// Cells of a data table, each of which is marked, so that its column can be counted.
    data: usize,
    /// The current cell of a data table has no text yet, so that a block in it does not end the row's line.
    is_data_start: bool,
    /// The row of the data table has text.
    row_has_text: bool,
}

impl Writer {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.text.len() > self.limit
    }

    pub(super) fn position(&self) -> usize {
        self.text.len()
    }

    pub(super) fn since(&self, position: usize) -> &str {
        self.text.get(position..).unwrap_or_default()
    }

    pub(super) fn start_line(&mut self) {
        if self.gap != Gap::Paragraph && !self.cells.is_data_start {
            self.gap = Gap::Line;
        }
    }

    pub(super) fn start_paragraph(&mut self) {
        if !self.cells.is_data_start {
            self.gap = Gap::Paragraph;
        }
    }

    /// Ends a line, or adds an empty one.
    pub(super) fn break_line(&mut self) {
        if self.has_line_gap() {
            self.start_paragraph();
        } else {
            self.start_line();
        }
    }

    pub(super) fn start_layout_cell(&mut self) {
        self.cells.is_layout = !self.has_line_gap() && !self.text.is_empty();
    }

    /// Begins a row of a data table, which is one line.
    pub(super) fn start_data_row(&mut self) {
        self.cells = Cells::default();
        self.start_line();
    }

    pub(super) fn start_data_cell(&mut self, is_first: bool) {
        if !is_first {
            self.cells.data += 1;
            // A block in the cell before does not end the line.
            self.gap = if self.cells.row_has_text {
                Gap::None
            } else {
                Gap::Line
            };
        }
        self.cells.is_data_start = true;
    }

    pub(super) fn end_data_row(&mut self) {
        self.cells = Cells::default();
        self.gap = Gap::Line;
    }

    pub(super) fn enter_list(&mut self) {
        self.lists += 1;
    }

    pub(super) fn leave_list(&mut self) {
        self.lists = self.lists.saturating_sub(1);
    }

    /// Sets the mark of a list's item, which is written before the item's text.
    pub(super) fn set_marker(&mut self, marker: Option<String>) {
        self.marker = marker;
    }

    pub(super) fn enter_quote(&mut self) {
        self.quotes += 1;
    }

    pub(super) fn leave_quote(&mut self) {
        self.quotes = self.quotes.saturating_sub(1);
    }

    /// Writes the text of a picture, which is no part of the word beside it.
    pub(super) fn write_alternative(&mut self, text: &str) {
        self.add_space();
        self.write(text.trim());
        self.add_space();
    }

    /// Writes the target of a link directly behind its text, whole even at the limit.
    pub(super) fn write_target_behind_text(&mut self, target: &str) {
        let gap = std::mem::take(&mut self.gap);
        self.write_target(target);
        // The lines that ended within the link.
        if matches!(gap, Gap::Line | Gap::Paragraph) {
            self.gap = gap;
        }
    }

    /// Writes the target of a link without text, whole even at the limit.
    pub(super) fn write_target(&mut self, target: &str) {
        self.add_space();
        self.start_text();
        self.text.push('(');
        self.text.push_str(target);
        self.text.push(')');
        self.is_after_link = true;
    }

    /// Writes text of a page. Spaces are folded, and filler without a picture is left out.
    pub(super) fn write(&mut self, text: &str) {
        for one in text.chars() {
            match one {
                _ if is_space(one) => self.add_space(),
                '\u{200c}' | '\u{200d}' => self.joiner = Some(one),
                _ if one.is_control() || is_ignorable(one) || !self.filter.keeps(one) => {}
                _ if self.is_full() => {
                    self.was_cut = true;
                    return;
                }
                _ => self.write_character(one),
            }
        }
    }

    fn write_character(&mut self, one: char) {
        if std::mem::take(&mut self.is_after_link) && !is_closing_punctuation(one) {
            self.add_space();
        }
        self.start_text();
        self.text.extend(self.joiner.take());
        self.text.push(one);
    }

    /// Writes preformatted text: spaces and line breaks stay.
    pub(super) fn write_preformatted(&mut self, text: &str) {
        for one in text.chars() {
            match one {
                '\n' => self.break_line(),
                '\t' if self.gap == Gap::None => self.text.push(one),
                _ if one.is_control() || is_ignorable(one) || !self.filter.keeps(one) => {}
                _ if self.is_full() => {
                    self.was_cut = true;
                    return;
                }
                _ => {
                    self.start_text();
                    self.text.push(if one == '\u{a0}' { ' ' } else { one });
                }
            }
        }
    }

    fn has_line_gap(&self) -> bool {
        matches!(self.gap, Gap::Line | Gap::Paragraph)
    }

    fn add_space(&mut self) {
        self.joiner = None;
        if self.gap == Gap::None {
            self.gap = Gap::Space;
        }
    }

    /// Writes what stands before the next character.
    fn start_text(&mut self) {
        let gap = std::mem::take(&mut self.gap);
        let is_new_line = matches!(gap, Gap::Line | Gap::Paragraph) || self.text.is_empty();
        if is_new_line {
            self.write_line_start(gap);
        }
        let has_cell = self.write_cells(is_new_line);
        let marker = self.marker.take();
        if let Some(marker) = &marker {
            self.text.push_str(marker);
        } else if gap == Gap::Space && !is_new_line && !has_cell {
            self.text.push(' ');
        }
        if is_new_line || has_cell || marker.is_some() || gap == Gap::Space {
            self.joiner = None;
        }
    }

    /// Marks the cells that began. Returns whether there are any.
    fn write_cells(&mut self, is_new_line: bool) -> bool {
        let is_layout = std::mem::take(&mut self.cells.is_layout) && !is_new_line;
        let count =
            usize::from(is_layout) + std::mem::take(&mut self.cells.data).min(MAX_EMPTY_CELLS);
        for number in 0..count {
            let is_at_start = is_new_line && number == 0;
            self.text.push_str(if is_at_start { "|" } else { " |" });
        }
        if count > 0 {
            self.text.push(' ');
        }
        self.cells.is_data_start = false;
        self.cells.row_has_text = true;
        count > 0
    }

    fn write_line_start(&mut self, gap: Gap) {
        if !self.text.is_empty() {
            self.text.push('\n');
            if gap == Gap::Paragraph {
                let both = self.quotes.min(self.last_quotes).min(MAX_LEVELS);
                self.text.extend(std::iter::repeat_n('>', both));
                self.text.push('\n');
            }
        }
        self.text
            .extend(std::iter::repeat_n('>', self.quotes.min(MAX_LEVELS)));
        if self.quotes > 0 {
            self.text.push(' ');
        }
        for _ in 1..self.lists.min(MAX_LEVELS) {
            self.text.push_str("  ");
        }
        self.last_quotes = self.quotes;
    }

    /// The text, without spaces at the ends of lines, and whether there was more.
    pub(super) fn finish(self) -> (String, bool) {
        let was_cut = self.was_cut || self.is_full();
        let lines: Vec<_> = self.text.lines().map(str::trim_end).collect();
        (lines.join("\n").trim_end().to_owned(), was_cut)
    }
}

/// Punctuation that stands directly behind the word before it.
fn is_closing_punctuation(one: char) -> bool {
    ".,;:!?)]}'\">»”’。、".contains(one)
}
