//! Writes the text of a page: spaces folded, lines and paragraphs apart, quotes, lists and tables marked.

use super::Output;
use super::markdown::{self, Mark, Markdown};
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
    /// Set if the text is Markdown.
    markdown: Option<Markdown>,
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
    pub(super) fn new(limit: usize, output: Output) -> Self {
        Self {
            limit,
            markdown: (output == Output::Markdown).then(Markdown::default),
            ..Self::default()
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.text.len() > self.limit
    }

    /// Notes that something of the page is not written.
    pub(super) fn leave_out(&mut self) {
        self.was_cut = true;
    }

    pub(super) fn position(&self) -> usize {
        self.text.len()
    }

    pub(super) fn since(&self, position: usize) -> &str {
        self.text.get(position..).unwrap_or_default()
    }

    pub(super) fn start_line(&mut self) {
        if self.is_in_line() {
            self.add_space();
        } else if self.gap != Gap::Paragraph && !self.cells.is_data_start {
            self.gap = Gap::Line;
        }
    }

    pub(super) fn start_paragraph(&mut self) {
        if self.is_in_line() {
            self.add_space();
        } else if !self.cells.is_data_start {
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
        if self.is_in_line() {
            self.add_space();
            return;
        }
        self.cells.is_layout = !self.has_line_gap() && !self.text.is_empty();
    }

    /// Begins a row of a data table, which is one line.
    pub(super) fn start_data_row(&mut self) {
        self.cells = Cells::default();
        let Some(markdown) = &mut self.markdown else {
            return self.start_line();
        };
        markdown.leave_row();
        if markdown.is_first_row() {
            self.start_paragraph();
        } else {
            self.start_line();
        }
        if let Some(markdown) = &mut self.markdown {
            markdown.start_row();
        }
    }

    pub(super) fn start_data_cell(&mut self, is_first: bool) {
        if let Some(markdown) = &mut self.markdown {
            if markdown.start_cell() {
                self.gap = Gap::None;
            }
            return;
        }
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
        if let Some(markdown) = &mut self.markdown {
            if let Some(columns) = markdown.end_row(&mut self.text) {
                self.write_line_start(Gap::Line);
                markdown::push_delimiters(&mut self.text, columns);
                self.start_markdown_line();
            } else {
                markdown.leave_row();
            }
        }
        self.gap = Gap::Line;
    }

    /// Ends a data table. In Markdown, what follows directly would be a row.
    pub(super) fn end_data_table(&mut self) {
        if let Some(markdown) = &mut self.markdown {
            markdown.end_table();
            self.start_paragraph();
        }
    }

    /// Whether the text must stay in one line: in a cell or a heading of Markdown.
    fn is_in_line(&self) -> bool {
        self.markdown.as_ref().is_some_and(Markdown::is_in_line)
    }

    /// Whether a table with rows and columns can begin here.
    pub(super) fn takes_table(&self) -> bool {
        self.markdown.as_ref().is_none_or(Markdown::takes_table)
    }

    pub(super) fn start_heading(&mut self, level: usize) {
        if let Some(markdown) = &mut self.markdown {
            markdown.start_heading(level);
        }
    }

    pub(super) fn end_heading(&mut self) {
        if let Some(markdown) = &mut self.markdown {
            markdown.end_heading();
        }
    }

    /// Begins code, in Markdown. Returns whether it must be ended.
    pub(super) fn start_code(&mut self) -> bool {
        self.markdown.as_mut().is_some_and(Markdown::start_code)
    }

    pub(super) fn end_code(&mut self) {
        if let Some(markdown) = &mut self.markdown {
            markdown.end_code();
        }
    }

    /// Opens a mark, in Markdown. Returns whether it must be closed.
    pub(super) fn open_mark(&mut self, mark: Mark) -> bool {
        let text = &mut self.text;
        self.markdown
            .as_mut()
            .is_some_and(|markdown| !markdown.is_code() && markdown.open(text, mark))
    }

    /// Closes the innermost mark. Returns it if nothing was written in it.
    pub(super) fn close_mark(&mut self) -> Option<Mark> {
        self.markdown.as_mut()?.close(&mut self.text)
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
        if self
            .markdown
            .as_ref()
            .is_some_and(|markdown| !markdown.is_code())
        {
            self.text.push('<');
            self.text.push_str(target);
            self.text.push('>');
        } else {
            self.text.push('(');
            self.text.push_str(target);
            self.text.push(')');
        }
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
        self.push(one);
    }

    fn push(&mut self, one: char) {
        match &self.markdown {
            Some(markdown) => markdown.push(&mut self.text, one),
            None => self.text.push(one),
        }
    }

    fn push_space(&mut self) {
        match &self.markdown {
            Some(markdown) => markdown.push_space(&mut self.text),
            None => self.text.push(' '),
        }
    }

    fn start_markdown_line(&mut self) {
        if let Some(markdown) = &mut self.markdown {
            markdown.start_line(&mut self.text);
        }
    }

    /// Writes preformatted text: spaces and line breaks stay.
    pub(super) fn write_preformatted(&mut self, text: &str) {
        if self
            .markdown
            .as_ref()
            .is_some_and(|markdown| !markdown.is_code())
        {
            return self.write_lines(text);
        }
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

    /// Writes preformatted text that is no code in Markdown: line breaks stay.
    fn write_lines(&mut self, text: &str) {
        let mut lines = text.split('\n');
        self.write(lines.next().unwrap_or_default());
        for line in lines {
            self.break_line();
            self.write(line);
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
            if let Some(markdown) = &mut self.markdown {
                markdown.end_line(&mut self.text);
            }
            self.write_line_start(gap);
        }
        let has_cell = self.write_cells(is_new_line);
        if gap == Gap::Space && !is_new_line && !has_cell {
            self.push_space();
        }
        let marker = self.marker.take();
        self.text.push_str(marker.as_deref().unwrap_or_default());
        if is_new_line || has_cell || marker.is_some() || gap == Gap::Space {
            self.joiner = None;
        }
        if is_new_line || marker.is_some() {
            self.start_markdown_line();
        }
        if let Some(markdown) = &mut self.markdown {
            markdown.start_marks(&mut self.text);
        }
    }

    /// Marks the cells that began. Returns whether there are any.
    fn write_cells(&mut self, is_new_line: bool) -> bool {
        if let Some(markdown) = self
            .markdown
            .as_mut()
            .filter(|markdown| markdown.is_in_row())
        {
            return markdown.write_cells(&mut self.text);
        }
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
        // What is within an item of Markdown stands behind its mark, which may be a number.
        let indent = if self.markdown.is_some() {
            "    "
        } else {
            "  "
        };
        let is_code = self.markdown.as_ref().is_some_and(Markdown::is_code);
        let levels = self.lists.min(MAX_LEVELS);
        let levels = if is_code {
            levels + 1
        } else {
            levels.saturating_sub(1)
        };
        self.text.extend(std::iter::repeat_n(indent, levels));
        self.last_quotes = self.quotes;
    }

    /// The text, without spaces at the ends of lines, and whether there was more.
    pub(super) fn finish(mut self) -> (String, bool) {
        if let Some(markdown) = &mut self.markdown {
            markdown.end_line(&mut self.text);
        }
        let was_cut = self.was_cut || self.is_full();
        let lines: Vec<_> = self.text.lines().map(str::trim_end).collect();
        (lines.join("\n").trim_end().to_owned(), was_cut)
    }
}

/// Punctuation that stands directly behind the word before it.
fn is_closing_punctuation(one: char) -> bool {
    ".,;:!?)]}'\">»”’。、".contains(one)
}
