//! What Markdown adds to a text: marks, escapes, tables and code (CommonMark 0.31; GitHub Flavored Markdown 0.29 for
//! tables).

/// The largest number of columns of a table.
const MAX_COLUMNS: usize = 200;

/// Characters that have a meaning wherever they stand.
const ALWAYS_ESCAPED: &str = "\\`*[]<~";

/// The longest name of a character reference with its ampersand.
const MAX_REFERENCE: usize = 34;

/// A mark around text within a line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mark {
    Strong,
    Emphasis,
    Link(String),
}

impl Mark {
    fn start(&self) -> &'static str {
        match self {
            Self::Strong => "**",
            Self::Emphasis => "*",
            Self::Link(_) => "[",
        }
    }

    fn push_end(&self, text: &mut String) {
        match self {
            Self::Strong => text.push_str("**"),
            Self::Emphasis => text.push('*'),
            Self::Link(target) => {
                text.push_str("](");
                push_target(text, target);
                text.push(')');
            }
        }
    }

    fn is_link(&self) -> bool {
        matches!(self, Self::Link(_))
    }
}

/// Writes the target of a link, which has neither spaces nor angle brackets.
pub(super) fn push_target(text: &mut String, target: &str) {
    // A bar would end the cell of a table.
    let target = target.replace('\\', "%5C").replace('|', "%7C");
    if target.contains(['(', ')']) {
        text.push('<');
        text.push_str(&target);
        text.push('>');
    } else {
        text.push_str(&target);
    }
}

#[derive(Debug)]
struct OpenMark {
    mark: Mark,
    is_written: bool,
    /// Another link began within this one.
    is_ended: bool,
}

/// A row of a table: its cells that began, and those whose bar is written.
#[derive(Debug, Default)]
struct Row {
    cells: usize,
    written: usize,
}

/// The state of a text that is Markdown.
#[derive(Debug, Default)]
pub(super) struct Markdown {
    marks: Vec<OpenMark>,
    /// Where the current line's own text begins.
    line_start: usize,
    row: Option<Row>,
    /// The first row of the table, and the line below it, are written.
    has_header: bool,
    heading: Option<usize>,
    is_heading_written: bool,
    /// The open elements whose text is code.
    code: usize,
}

impl Markdown {
    /// Opens a mark, unless there is one like it.
    pub(super) fn open(&mut self, text: &mut String, mark: Mark) -> bool {
        if mark.is_link() {
            let outer = self
                .marks
                .iter_mut()
                .rfind(|outer| outer.mark.is_link() && !outer.is_ended);
            if outer.is_some() {
                // Links within links are no Markdown.
                self.interrupt(text);
            }
            for outer in self.marks.iter_mut().filter(|outer| outer.mark.is_link()) {
                outer.is_ended = true;
            }
        } else if self.marks.iter().any(|outer| outer.mark == mark) {
            return false;
        }
        self.marks.push(OpenMark {
            mark,
            is_written: false,
            is_ended: false,
        });
        true
    }

    /// Closes the innermost mark. Returns it if there was no text in it.
    pub(super) fn close(&mut self, text: &mut String) -> Option<Mark> {
        let closed = self.marks.pop()?;
        if closed.is_written {
            closed.mark.push_end(text);
            return None;
        }
        Some(closed.mark)
    }

    /// Ends what is marked before a line or a cell ends. It goes on with the next text.
    pub(super) fn interrupt(&mut self, text: &mut String) {
        for open in self.marks.iter_mut().rev() {
            if std::mem::take(&mut open.is_written) {
                open.mark.push_end(text);
            }
        }
    }

    /// Writes the beginnings of the marks before a character.
    pub(super) fn start_marks(&mut self, text: &mut String) {
        if self.code > 0 {
            return;
        }
        // A mark within another is written behind it.
        let first = self
            .marks
            .iter()
            .position(|open| !open.is_written && !open.is_ended);
        let Some(first) = first else { return };
        for open in self.marks[first..]
            .iter_mut()
            .filter(|open| !open.is_written && !open.is_ended)
        {
            if open.mark.is_link() && text.ends_with('!') {
                // With an exclamation mark it would be a picture.
                text.insert(text.len() - 1, '\\');
            }
            text.push_str(open.mark.start());
            open.is_written = true;
        }
    }

    /// Whether the text must stay in one line.
    pub(super) fn is_in_line(&self) -> bool {
        self.row.is_some() || self.heading.is_some() && self.is_heading_written
    }

    pub(super) fn is_in_row(&self) -> bool {
        self.row.is_some()
    }

    pub(super) fn is_code(&self) -> bool {
        self.code > 0
    }

    /// Whether a table can begin here.
    pub(super) fn takes_table(&self) -> bool {
        self.row.is_none() && self.heading.is_none() && self.code == 0
    }

    pub(super) fn start_heading(&mut self, level: usize) {
        if self.takes_table() {
            self.heading = Some(level);
            self.is_heading_written = false;
        }
    }

    pub(super) fn end_heading(&mut self) {
        self.heading = None;
    }

    pub(super) fn start_code(&mut self) -> bool {
        let takes_code = self.row.is_none() && self.heading.is_none();
        self.code += usize::from(takes_code);
        takes_code
    }

    pub(super) fn end_code(&mut self) {
        self.code = self.code.saturating_sub(1);
    }

    /// Begins the text of a line, behind what marks the line.
    pub(super) fn start_line(&mut self, text: &mut String) {
        if let Some(level) = self.heading.filter(|_| !self.is_heading_written) {
            text.extend(std::iter::repeat_n('#', level));
            text.push(' ');
            self.is_heading_written = true;
        }
        self.line_start = text.len();
    }

    /// Ends the text of a line.
    pub(super) fn end_line(&mut self, text: &mut String) {
        self.interrupt(text);
        if self.code == 0 {
            protect_line(text, self.line_start);
        }
    }

    pub(super) fn push_space(&self, text: &mut String) {
        if self.code == 0 {
            protect_start(text, self.line_start);
        }
        text.push(' ');
    }

    pub(super) fn push(&self, text: &mut String, one: char) {
        if self.code > 0 {
            text.push(one);
        } else if one == '|' && self.row.is_some() {
            text.push_str("\\|");
        } else {
            push_escaped(text, self.line_start, one);
        }
    }

    /// Whether the table has no row yet.
    pub(super) fn is_first_row(&self) -> bool {
        !self.has_header
    }

    pub(super) fn start_row(&mut self) {
        self.row = Some(Row::default());
    }

    /// Begins a cell. Returns whether the row has text before it.
    pub(super) fn start_cell(&mut self) -> bool {
        let Some(row) = &mut self.row else {
            return false;
        };
        row.cells = (row.cells + 1).min(MAX_COLUMNS);
        row.written > 0
    }

    /// Writes the bars of the cells that began. Returns whether there are any.
    pub(super) fn write_cells(&mut self, text: &mut String) -> bool {
        let new = self.row.as_ref().map_or(0, |row| row.cells - row.written);
        if new == 0 {
            return false;
        }
        self.interrupt(text);
        if let Some(row) = &mut self.row {
            for cell in row.written..row.cells {
                text.push_str(if cell == 0 { "| " } else { " | " });
            }
            row.written = row.cells;
        }
        true
    }

    /// Ends a row. Returns the number of its columns if it is the first one with text.
    pub(super) fn end_row(&mut self, text: &mut String) -> Option<usize> {
        let row = self.row.as_ref().filter(|row| row.written > 0)?;
        let cells = row.cells;
        self.write_cells(text);
        self.interrupt(text);
        text.push_str(" |");
        self.line_start = text.len();
        self.row = None;
        let is_first = !std::mem::replace(&mut self.has_header, true);
        is_first.then_some(cells)
    }

    /// Forgets a row without text.
    pub(super) fn leave_row(&mut self) {
        self.row = None;
    }

    pub(super) fn end_table(&mut self) {
        self.has_header = false;
    }
}

/// The line below the header of a table.
pub(super) fn push_delimiters(text: &mut String, columns: usize) {
    text.push('|');
    for _ in 0..columns {
        text.push_str(" --- |");
    }
}

/// Plain text as Markdown. Its quotes are marked alike.
pub(crate) fn of_plain(plain: &str) -> String {
    let mut text = String::with_capacity(plain.len() + plain.len() / 8);
    for line in plain.lines() {
        let content = line.trim_start_matches(['>', ' ', '\t']);
        let quotes = line[..line.len() - content.len()].trim_end();
        text.push_str(quotes);
        if !quotes.is_empty() && !content.is_empty() {
            text.push(' ');
        }
        let line_start = text.len();
        for one in content.trim_end().chars() {
            if one == ' ' {
                protect_start(&mut text, line_start);
                text.push(' ');
            } else {
                push_escaped(&mut text, line_start, one);
            }
        }
        protect_line(&mut text, line_start);
        text.push('\n');
    }
    text
}

/// Writes a character so that it is not taken for Markdown.
fn push_escaped(text: &mut String, line_start: usize, one: char) {
    let is_first = text.len() <= line_start;
    let before = text[line_start.min(text.len())..].chars().next_back();
    let is_escaped = match one {
        // The name of a link's server, or its path.
        '*' | '~' | '_' if is_in_url(text, line_start) => false,
        '_' => !before.is_some_and(char::is_alphanumeric),
        '>' => is_first,
        ';' => {
            protect_reference(text);
            false
        }
        _ => ALWAYS_ESCAPED.contains(one),
    };
    if is_escaped {
        text.push('\\');
    }
    text.push(one);
}

/// The longest part of a link that is searched for its scheme.
const SEARCHED: usize = 200;

fn is_in_url(text: &str, line_start: usize) -> bool {
    let start = text.ceil_char_boundary(text.len().saturating_sub(SEARCHED).max(line_start));
    let word = text[start..].rsplit(' ').next().unwrap_or_default();
    word.contains("://") && !word.contains(['[', ']'])
}

/// Protects what may be a character reference such as `&amp` before its semicolon.
fn protect_reference(text: &mut String) {
    let start = text.ceil_char_boundary(text.len().saturating_sub(MAX_REFERENCE));
    if let Some(at) = text[start..].rfind('&').map(|at| start + at) {
        let name = &text[at + 1..];
        if !name.is_empty()
            && name
                .chars()
                .all(|one| one.is_ascii_alphanumeric() || one == '#')
        {
            text.insert(at, '\\');
        }
    }
}

/// Protects the start of a line before a space: `#`, `-`, `+`, `1.`
fn protect_start(text: &mut String, line_start: usize) {
    let start = text.get(line_start..).unwrap_or_default();
    if start.is_empty() || start.len() > 10 {
        return;
    }
    if start.len() <= 6 && start.bytes().all(|byte| byte == b'#') || matches!(start, "-" | "+") {
        text.insert(line_start, '\\');
    } else if let Some(number) = start.strip_suffix(['.', ')'])
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        text.insert(text.len() - 1, '\\');
    }
}

/// Protects a line that is a ruler, or that makes a heading or a table of the line above it.
fn protect_line(text: &mut String, line_start: usize) {
    protect_start(text, line_start);
    let line = text.get(line_start..).unwrap_or_default();
    let is_ruler = line.bytes().all(|byte| b"-=_|: ".contains(&byte));
    if is_ruler && line.contains(['-', '=', '_']) {
        text.insert(line_start, '\\');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_no_markdown() {
        for (plain, expected) in [
            ("# no heading", "\\# no heading\n"),
            ("#4711 and C#", "#4711 and C#\n"),
            ("1. one\n10) ten\n3.5 is", "1\\. one\n10\\) ten\n3.5 is\n"),
            ("- a\n+ b\n* c\n-5", "\\- a\n\\+ b\n\\* c\n-5\n"),
            ("title\n===\n---", "title\n\\===\n\\---\n"),
            ("a|b\n-|-", "a|b\n\\-|-\n"),
            (
                "*a* _b_ snake_case `c` ~~d~~",
                "\\*a\\* \\_b_ snake_case \\`c\\` \\~\\~d\\~\\~\n",
            ),
            (
                "[a](https://x.org) ![b]",
                "\\[a\\](https://x.org) !\\[b\\]\n",
            ),
            ("https://x.org/~a_b/*c*", "https://x.org/~a_b/*c*\n"),
            (
                "<script> & &amp; AT&T; x",
                "\\<script> & \\&amp; AT\\&T; x\n",
            ),
            ("> quoted\n>> - deeper", "> quoted\n>> \\- deeper\n"),
            ("    code?\n\tx", "code?\nx\n"),
            ("back\\slash", "back\\\\slash\n"),
            ("```\nx", "\\`\\`\\`\nx\n"),
        ] {
            assert_eq!(of_plain(plain), expected, "{plain}");
        }
    }
}
