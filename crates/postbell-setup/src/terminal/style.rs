//! The layout of lines for a terminal: at most 80 columns, readable without colours.

use postbell_core::printable;
use textwrap::{Options, WordSeparator, WordSplitter};
use unicode_width::UnicodeWidthStr;

const MAX_WIDTH: usize = 80;
/// Narrower terminals wrap lines themselves.
const MIN_WIDTH: usize = 40;
/// The column at which the detail of a line begins.
const DETAIL_COLUMN: usize = 21;

/// The kind of a line, shown by a mark and a colour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tone {
    /// Success.
    Good,
    /// Failure.
    Bad,
    /// Pending or unknown.
    Open,
    /// Success with a limitation.
    Warning,
}

/// The layout of lines.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    colours: bool,
    width: usize,
}

impl Style {
    /// A style for a terminal of this width; 80 columns without a terminal.
    #[must_use]
    pub fn new(colours: bool, columns: Option<usize>) -> Self {
        let width = columns.unwrap_or(MAX_WIDTH).clamp(MIN_WIDTH, MAX_WIDTH);
        Self { colours, width }
    }

    /// A line with a mark, a name and a detail, wrapped.
    #[must_use]
    pub fn line(self, tone: Tone, name: &str, detail: &str) -> String {
        let mark = self.mark(tone);
        let detail = self.wrap(&printable(detail), DETAIL_COLUMN);
        let line = format!(" {mark} {name:<width$}{detail}", width = DETAIL_COLUMN - 3);
        let lines: Vec<_> = line.lines().map(str::trim_end).collect();
        lines.join("\n")
    }

    /// More text below a line.
    #[must_use]
    pub fn below(self, text: &str) -> String {
        let indent = " ".repeat(DETAIL_COLUMN);
        format!("{indent}{}", self.wrap(&printable(text), DETAIL_COLUMN))
    }

    /// Sentences, wrapped at words. A word is never broken, so that an address can be copied.
    pub(super) fn paragraphs(self, text: &str) -> String {
        let lines = text.lines().map(|line| {
            let is_numbered = line.starts_with(|first: char| first.is_ascii_digit());
            self.wrap(&printable(line), if is_numbered { 3 } else { 0 })
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn mark(self, tone: Tone) -> String {
        let (mark, colour) = match tone {
            Tone::Good => ("✓", 32),
            Tone::Bad => ("✗", 31),
            Tone::Open => ("·", 36),
            Tone::Warning => ("!", 33),
        };
        if self.colours {
            format!("\x1b[{colour}m{mark}\x1b[0m")
        } else {
            mark.to_owned()
        }
    }

    /// Wraps text whose first line starts at column `indent`, and indents the other lines.
    fn wrap(self, text: &str, indent: usize) -> String {
        let options = Options::new(self.width - indent)
            .break_words(false)
            .word_separator(WordSeparator::AsciiSpace)
            .word_splitter(WordSplitter::NoHyphenation);
        let mut wrapped = String::new();
        for (index, line) in textwrap::wrap(text.trim_start(), options)
            .iter()
            .enumerate()
        {
            let length = line.width();
            let is_begun = index == 0 && (length <= self.width - indent || indent == 0);
            if !is_begun {
                // A word that is longer than the room begins further to the left.
                wrapped.push('\n');
                let indent = indent.min(self.width.saturating_sub(length));
                wrapped.push_str(&" ".repeat(indent));
            }
            wrapped.push_str(line);
        }
        wrapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_can_be_disabled() {
        let plain = Style::new(false, None);
        assert!(!plain.line(Tone::Good, "Topic", "t").contains('\x1b'));
        let coloured = Style::new(true, None);
        assert!(
            coloured
                .line(Tone::Good, "Topic", "t")
                .contains("\x1b[32m✓\x1b[0m")
        );
    }

    #[test]
    fn a_long_word_begins_further_to_the_left_and_is_not_broken() {
        let style = Style::new(false, None);
        let name = format!("projects/p/subscriptions/{}", "s".repeat(40));
        let line = style.line(Tone::Good, "Subscription", &format!("{name} is well"));
        assert_eq!(
            line,
            format!(" ✓ Subscription\n{:15}{name}\n{:21}is well", "", "")
        );
        let short = style.line(Tone::Good, "Topic", "projects/p/topics/t");
        assert_eq!(short, " ✓ Topic             projects/p/topics/t");
    }

    #[test]
    fn external_text_cannot_control_the_terminal() {
        let line = Style::new(false, None).line(Tone::Good, "Topic", "a\x1b[2Jb");
        assert!(!line.contains('\x1b'), "{line:?}");
    }
}
