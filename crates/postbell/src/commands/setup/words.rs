//! What a person sees of setup: lines that fit 80 columns and need no colours.

use postbell_setup::{Report, State, StepId, Trouble};

use crate::console::printable;

/// The widest line, the narrowest that is worth breaking for, and where what is said of a step begins.
const WIDEST: usize = 80;
const NARROWEST: usize = 40;
const COLUMN: usize = 21;

/// What a line is about, which colours and marks show.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Open,
    Warning,
}

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    colours: bool,
    width: usize,
}

impl Style {
    /// For a terminal of so many columns; where there is none, for 80.
    pub(crate) fn new(colours: bool, columns: Option<usize>) -> Self {
        let width = columns.unwrap_or(WIDEST).clamp(NARROWEST, WIDEST);
        Self { colours, width }
    }

    /// The mark before a line.
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

    /// A line with a mark, a name and what is said of it, broken where it is too long.
    pub(crate) fn line(self, tone: Tone, name: &str, detail: &str) -> String {
        let mark = self.mark(tone);
        let detail = self.wrap(&printable(detail), COLUMN);
        format!(" {mark} {name:<width$}{detail}", width = COLUMN - 3)
            .trim_end()
            .to_owned()
    }

    /// What has become of a step; nothing, where there is nothing to say yet.
    pub(crate) fn step(self, step: StepId, state: &State) -> Option<String> {
        Some(match state {
            State::Done {
                detail, warning, ..
            } => {
                let line = self.line(Tone::Good, step.title(), detail);
                match warning {
                    None => line,
                    Some(warning) => format!("{line}\n{}", self.line(Tone::Warning, "", warning)),
                }
            }
            State::ToDo(_) | State::After(_) => return None,
            State::Failed(trouble) => self.trouble(step.title(), trouble),
            // One mark for one cause: what only waits for it has not failed.
            State::Skipped(need) => self.line(
                Tone::Open,
                step.title(),
                &format!("not tried, for it needs: {need}"),
            ),
        })
    }

    /// What stands in the way: what it is, what Google said, and the next move.
    pub(crate) fn trouble(self, name: &str, trouble: &Trouble) -> String {
        let mut lines = self.line(Tone::Bad, name, &trouble.what());
        let more = trouble
            .said
            .iter()
            .map(|said| format!("Google said: {said}"));
        for line in more.chain([format!("Next: {}", trouble.next())]) {
            lines.push('\n');
            lines.push_str(&self.below(&line));
        }
        lines
    }

    /// What else is said, below a line.
    pub(crate) fn below(self, text: &str) -> String {
        let indent = " ".repeat(COLUMN);
        format!("{indent}{}", self.wrap(&printable(text), COLUMN))
    }

    /// What is left to do; nothing, where nothing is.
    pub(crate) fn plan(self, report: &Report) -> Option<String> {
        let open = report.steps.iter().filter_map(|(step, state)| {
            let what = match state {
                State::ToDo(what) => what.clone(),
                State::After(need) => format!("once there is: {need}"),
                _ => return None,
            };
            Some(self.line(Tone::Open, step.title(), &what))
        });
        let open: Vec<_> = open.collect();
        (!open.is_empty()).then(|| format!("Left to do:\n{}", open.join("\n")))
    }

    /// What works, and what does not.
    pub(crate) fn summary(self, report: &Report) -> String {
        if report.has_failed() {
            let text = format!(
                "{} Mend what is marked ✗, and run it again.",
                so_far(report)
            );
            return self.wrap(&text, 0);
        }
        let mut text = "Everything is done.".to_owned();
        if !report.then.is_empty() {
            text.push_str(" What brings mail to the bot:\n");
            for line in &report.then {
                text.push_str("\n  ");
                text.push_str(&line.replace('\n', "\n  "));
            }
        }
        text
    }

    /// What has been taken back, and what has not.
    pub(crate) fn undone(self, report: &Report) -> String {
        let is_left =
            |state: &State| matches!(state, State::Done { warning, .. } if warning.is_some());
        let text = if report.has_failed() {
            "Not everything could be taken back. Mend what is marked ✗, and run it again."
        } else if report.steps.iter().any(|(_, state)| is_left(state)) {
            "What was made from here is taken back, but for what is marked !."
        } else {
            "What was made from here is taken back."
        };
        self.paragraphs(text)
    }

    /// Text in sentences, broken at words. An address is never broken: it is to be copied.
    pub(crate) fn paragraphs(self, text: &str) -> String {
        let lines = text.lines().map(|line| {
            let hanging = if line.starts_with(|first: char| first.is_ascii_digit()) {
                3
            } else {
                0
            };
            self.wrap(&printable(line), hanging)
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Breaks a text at words, so that no line is wider than it may be; all lines but the first are
    /// indented, and the first is taken to be.
    fn wrap(self, text: &str, indent: usize) -> String {
        let room = self.width - indent;
        let mut wrapped = String::new();
        let mut used = 0;
        for word in text.split(' ') {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > room {
                wrapped.push('\n');
                wrapped.push_str(&" ".repeat(indent));
                used = 0;
            } else if used > 0 {
                wrapped.push(' ');
                used += 1;
            }
            wrapped.push_str(word);
            used += length;
        }
        wrapped
    }
}

fn so_far(report: &Report) -> String {
    let done = report.steps.iter().filter(|(_, state)| state.is_done());
    format!("{} of {} steps are done.", done.count(), report.steps.len())
}

#[cfg(test)]
mod tests {
    use postbell_setup::Wall;

    use super::*;

    const PLAIN: Style = Style {
        colours: false,
        width: WIDEST,
    };

    #[test]
    fn no_line_is_wider_than_80_columns_but_for_an_address() {
        let trouble = Trouble::new(Wall::OutsidersForbidden).in_project(Some("p"));
        let text = PLAIN.trouble("Publisher role", &trouble);
        for line in text.lines().filter(|line| !line.contains("https://")) {
            assert!(line.chars().count() <= WIDEST, "{line}");
        }
        assert!(
            text.starts_with(" ✗ Publisher role    the organisation"),
            "{text}"
        );
        assert!(
            text.contains("\n                     Next: Ask an administrator"),
            "{text}"
        );
    }

    #[test]
    fn in_a_narrow_terminal_lines_are_narrower() {
        let style = Style::new(false, Some(60));
        let mut report = Report::default();
        let trouble = Trouble::new(Wall::NoPermission);
        report.steps = vec![
            (StepId::Topic, State::Failed(trouble.clone())),
            (StepId::Publisher, State::Skipped(StepId::Topic)),
        ];
        let texts = [
            style.trouble("Topic", &trouble),
            style.summary(&report),
            style.undone(&report),
        ];
        for line in texts.iter().flat_map(|text| text.lines()) {
            let is_address = line.contains("https://");
            assert!(is_address || line.chars().count() <= 60, "{line}");
        }
    }

    #[test]
    fn what_waits_for_something_else_is_not_marked_as_failed() {
        let line = PLAIN.step(StepId::Watch, &State::Skipped(StepId::Topic));
        let expected = " · Gmail watch       not tried, for it needs: Topic";
        assert_eq!(line.as_deref(), Some(expected));
    }

    #[test]
    fn colours_are_left_out_where_they_are_not_wanted() {
        assert!(!PLAIN.line(Tone::Good, "Topic", "t").contains('\x1b'));
        let coloured = Style::new(true, None);
        assert!(
            coloured
                .line(Tone::Good, "Topic", "t")
                .contains("\x1b[32m✓\x1b[0m")
        );
    }

    #[test]
    fn what_google_said_cannot_steer_the_terminal() {
        let line = PLAIN.line(Tone::Good, "Topic", "a\x1b[2Jb");
        assert!(!line.contains('\x1b'), "{line:?}");
    }
}
