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

/// The columns of the mark before a question.
const MARK_WIDTH: usize = 2;

/// The layout of lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
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

    /// Whether colours may be used.
    pub(super) fn has_colours(self) -> bool {
        self.colours
    }

    /// A question, wrapped at words, with a line of its own for what follows if it does not fit behind it.
    pub(super) fn question(self, text: &str, following: usize) -> String {
        let room = self.width - MARK_WIDTH;
        let text = textwrap::fill(&printable(text), options(room));
        let last = text.lines().last().unwrap_or_default().width();
        let is_full = following > 0 && last + 1 + following > room;
        let text = text.replace('\n', "\n  ");
        if is_full { format!("{text}\n ") } else { text }
    }

    /// An answer behind its question: on lines of its own if it does not fit.
    pub(super) fn answer(self, question: &str, answer: &str) -> String {
        let last = question.lines().last().unwrap_or_default().width();
        if last + 1 + answer.width() <= self.width - MARK_WIDTH {
            return answer.to_owned();
        }
        format!("\n  {}", self.option(answer))
    }

    /// An option of a question, broken at punctuation if it does not fit.
    pub(super) fn option(self, text: &str) -> String {
        let room = self.width - MARK_WIDTH;
        let broken = break_long_words(text, room);
        textwrap::fill(&broken, options(room)).replace('\n', "\n  ")
    }

    /// Sentences, wrapped at words. A word that fits a line is not broken, nor is an address, so that it can be
    /// copied.
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
        let text = break_long_words(text.trim_start(), self.width);
        let mut wrapped = String::new();
        for (index, line) in textwrap::wrap(&text, options(self.width - indent))
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

fn options(width: usize) -> Options<'static> {
    Options::new(width)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
}

/// Breaks words that are wider than a line, such as paths, behind their punctuation, but no addresses.
fn break_long_words(text: &str, room: usize) -> String {
    let words = text.split_inclusive(' ').map(|word| {
        if word.trim_end().width() <= room || word.contains("://") {
            return word.to_owned();
        }
        let mut broken = String::new();
        let mut width = 0;
        for part in word.split_inclusive(['/', '.', '-', '_', ':', ',']) {
            if width > 0 && width + part.trim_end().width() > room {
                broken.push('\n');
                width = 0;
            }
            width += part.width();
            broken.push_str(part);
        }
        broken
    });
    words.collect()
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
    fn a_word_wider_than_the_terminal_is_broken_behind_punctuation_and_an_address_is_not() {
        let style = Style::new(false, None);
        let file = format!("/home/you/Downloads/client_secret_{}.json", "5".repeat(50));
        let line = style.line(Tone::Good, "OAuth client", &format!("5-a ({file})"));
        let expected = format!(
            " ✓ OAuth client      5-a (/home/you/Downloads/client_secret_\n{:21}{}.json)",
            "",
            "5".repeat(50)
        );
        assert_eq!(line, expected);
        assert!(line.lines().all(|line| line.width() <= 80), "{line}");
        let address = format!("https://example.com/{}", "a-".repeat(60));
        assert!(style.paragraphs(&address).contains(&address));
    }

    #[test]
    fn a_question_its_default_and_its_answer_fit_the_terminal() {
        let style = Style::new(false, None);
        let question = "URL of the bot's webhook (empty: not yet)";
        let url = "http://127.0.0.1:18789/hooks/gmail";
        assert_eq!(style.question(question, url.len()), question);
        let below = style.question(question, url.len() + 4);
        assert_eq!(below, format!("{question}\n "));
        assert_eq!(style.answer(question, url), url);
        let long = format!("{url}/second");
        assert_eq!(style.answer(question, &long), format!("\n  {long}"));

        let sentences = "The bot will get no mail any more. ".repeat(4);
        let wrapped = style.question(&sentences, 10);
        assert!(wrapped.lines().all(|line| line.width() <= 80), "{wrapped}");
        assert!(wrapped.contains("The bot\n  will"), "{wrapped}");

        let option = style.option(&format!("/home/{}", "folder/".repeat(20)));
        assert!(option.lines().all(|line| line.width() <= 78), "{option}");
        assert!(option.contains("folder/\n  folder/"), "{option}");
    }

    #[test]
    fn external_text_cannot_control_the_terminal() {
        let line = Style::new(false, None).line(Tone::Good, "Topic", "a\x1b[2Jb");
        assert!(!line.contains('\x1b'), "{line:?}");
    }
}
