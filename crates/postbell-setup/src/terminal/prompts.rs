//! Questions in a terminal, or as lines of standard input.
//!
//! Each question blocks a thread of its own: a thread of the runtime would delay the end of the
//! process.

use std::borrow::Cow;
use std::io::{BufRead, stdin};
use std::thread;

use inquire::list_option::ListOption;
use inquire::ui::RenderConfig;
use inquire::{Confirm, InquireError, Select};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Behavior, ColorMode, Editor, Helper};
use secrecy::SecretString;
use tokio::sync::oneshot;
use unicode_width::UnicodeWidthStr;

use super::set_echo;
use super::style::Style;
use crate::ui::{NoAnswer, Question};

/// How often a thread that waits for pasted text checks whether it is still needed.
const LOOK_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// The columns that follow a question: the brackets, blanks and cursor around a default,
const BRACKETS: usize = 4;
/// the blanks in place of a secret,
const HIDDEN: usize = 9;
/// and ` (y/N) ` with an answer.
const YES_OR_NO: usize = 10;

/// How questions are asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Prompts {
    Terminal(Style),
    /// Lines of standard input.
    Lines,
    /// No questions.
    None,
}

impl Prompts {
    /// Asks for an option; `None` if the answer is none of them.
    pub(super) async fn choose(
        self,
        question: &Question,
        options: &[String],
    ) -> Result<Option<usize>, NoAnswer> {
        let (text, flag, options) = (question.text.clone(), question.flag, options.to_vec());
        match self {
            Self::None => Err(NoAnswer::NonInteractive(flag)),
            Self::Terminal(style) => {
                on_thread(move || {
                    let text = style.question(&text, 0);
                    let lines = options.iter().map(|option| style.option(option)).collect();
                    let formatter =
                        |chosen: ListOption<&String>| style.answer(&text, &options[chosen.index]);
                    let chosen = Select::new(&text, lines)
                        .with_formatter(&formatter)
                        .with_render_config(render_config(style))
                        .raw_prompt();
                    chosen
                        .map(|chosen| Some(chosen.index))
                        .map_err(|error| no_answer(&error, flag))
                })
                .await
            }
            Self::Lines => read_line(flag)
                .await
                .map(|line| find_option(&line, &options)),
        }
    }

    pub(super) async fn text(self, question: &Question) -> Result<String, NoAnswer> {
        let (text, flag) = (question.text.clone(), question.flag);
        let default = question.default.clone();
        match self {
            Self::None => default.ok_or(NoAnswer::NonInteractive(flag)),
            Self::Terminal(style) => {
                on_thread(move || {
                    // An empty one would be shown as `()`.
                    let default = default.as_deref().filter(|text| !text.is_empty());
                    let shown = default.map_or(0, |text| text.width() + BRACKETS);
                    let mut prompt = style.question(&text, shown);
                    if let Some(default) = default {
                        prompt.push_str(&format!(" ({default})"));
                    }
                    let answer = edit(&prompt, style, Line::Shown, flag)?;
                    Ok(match default {
                        Some(default) if answer.is_empty() => default.to_owned(),
                        _ => answer,
                    })
                })
                .await
            }
            Self::Lines => {
                let line = read_line(flag).await?;
                Ok(match default {
                    Some(default) if line.trim().is_empty() => default,
                    _ => line,
                })
            }
        }
    }

    pub(super) async fn secret(self, question: &Question) -> Result<SecretString, NoAnswer> {
        let (text, flag) = (question.text.clone(), question.flag);
        match self {
            Self::None => Err(NoAnswer::NonInteractive(flag)),
            Self::Terminal(style) => {
                on_thread(move || {
                    let prompt = style.question(&text, HIDDEN);
                    edit(&prompt, style, Line::Hidden, flag).map(SecretString::from)
                })
                .await
            }
            Self::Lines => read_line(flag).await.map(|line| line.trim().into()),
        }
    }

    /// Waits for a line that is pasted into the terminal.
    pub(super) async fn pasted(self) -> SecretString {
        let line = match self {
            Self::Terminal(_) => pasted_line().await,
            Self::Lines | Self::None => None,
        };
        match line {
            Some(line) => line,
            None => std::future::pending().await,
        }
    }

    pub(super) async fn confirm(self, question: &Question) -> Result<bool, NoAnswer> {
        let (text, flag) = (question.text.clone(), question.flag);
        let default = question.default.as_deref() == Some("yes");
        match self {
            // --yes confirms also what a user would have to confirm explicitly.
            Self::None => Ok(default || flag == "--yes"),
            Self::Terminal(style) => {
                on_thread(move || {
                    Confirm::new(&style.question(&text, YES_OR_NO))
                        .with_default(default)
                        .with_render_config(render_config(style))
                        .prompt()
                        .map_err(|error| no_answer(&error, flag))
                })
                .await
            }
            Self::Lines => {
                let line = read_line(flag).await?.trim().to_lowercase();
                Ok(if line.is_empty() {
                    default
                } else {
                    line.starts_with('y')
                })
            }
        }
    }
}

/// How a line that is edited is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Line {
    Shown,
    /// As blanks, so that the cursor is where it is.
    Hidden,
}

impl Highlighter for Line {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        match self {
            Self::Shown => Cow::Borrowed(line),
            Self::Hidden => Cow::Owned(" ".repeat(line.width())),
        }
    }

    /// Whether the line is shown again after each key; otherwise the key itself is.
    fn highlight_char(&self, _: &str, _: usize, _: CmdKind) -> bool {
        *self == Self::Hidden
    }
}

impl Completer for Line {
    type Candidate = String;
}

impl Hinter for Line {
    type Hint = String;
}

impl Validator for Line {}
impl Helper for Line {}

/// Reads a line of the terminal with the keys of a shell, such as Ctrl-U and Ctrl-W.
fn edit(question: &str, style: Style, line: Line, flag: &'static str) -> Result<String, NoAnswer> {
    let config = rustyline::Config::builder()
        .behavior(Behavior::PreferTerm)
        .auto_add_history(false)
        // A line is hidden by what colours it.
        .color_mode(ColorMode::Forced)
        .build();
    let unusable = |_: ReadlineError| NoAnswer::NonInteractive(flag);
    let mut editor = Editor::with_history(config, DefaultHistory::new()).map_err(unusable)?;
    editor.set_helper(Some(line));
    let plain = format!("? {question} ");
    let coloured = if style.has_colours() {
        format!("\x1b[92m?\x1b[39m {question} ")
    } else {
        plain.clone()
    };
    // What rustyline cannot edit, such as `TERM=dumb`, is shown by the terminal itself.
    let echo = (line == Line::Shown).then(|| set_echo(true)).flatten();
    let answer = editor.readline(&(plain, coloured));
    if echo.is_some() {
        set_echo(false);
    }
    answer.map_err(|error| match error {
        ReadlineError::Interrupted | ReadlineError::Eof => NoAnswer::Cancelled,
        error => unusable(error),
    })
}

/// Finds an option by its number or a unique prefix.
fn find_option(answer: &str, options: &[String]) -> Option<usize> {
    let answer = answer.trim();
    if answer.is_empty() {
        return None;
    }
    let number: Option<usize> = answer.parse().ok();
    let index = number.and_then(|number| number.checked_sub(1));
    if let Some(index) = index.filter(|index| *index < options.len()) {
        return Some(index);
    }
    let options = options.iter().enumerate();
    let mut found = options.filter(|(_, option)| option.starts_with(answer));
    let (index, option) = found.next()?;
    (option == answer || found.next().is_none()).then_some(index)
}

fn render_config(style: Style) -> RenderConfig<'static> {
    if style.has_colours() {
        RenderConfig::default_colored()
    } else {
        RenderConfig::empty()
    }
}

fn no_answer(error: &InquireError, flag: &'static str) -> NoAnswer {
    match error {
        InquireError::OperationCanceled | InquireError::OperationInterrupted => NoAnswer::Cancelled,
        _ => NoAnswer::NonInteractive(flag),
    }
}

/// Reads a line of standard input. After its end, questions have no answer.
async fn read_line(flag: &'static str) -> Result<String, NoAnswer> {
    on_thread(move || {
        let mut line = String::new();
        match stdin().lock().read_line(&mut line) {
            Ok(read) if read > 0 => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
            _ => Err(NoAnswer::NonInteractive(flag)),
        }
    })
    .await
}

/// Reads a line of the terminal, which does not echo. If the caller stops waiting, nothing more is read.
async fn pasted_line() -> Option<SecretString> {
    let (sender, line) = oneshot::channel();
    thread::spawn(move || {
        while !sender.is_closed() {
            let stdin = stdin();
            let mut waiting = [PollFd::new(&stdin, PollFlags::IN)];
            match poll(&mut waiting, Some(&LOOK_INTERVAL)) {
                Ok(0) | Err(Errno::INTR) => continue,
                // The next question reads what was typed since.
                Ok(_) if sender.is_closed() => return,
                Ok(_) => (),
                Err(_) => return,
            }
            let mut line = String::new();
            if stdin.lock().read_line(&mut line).is_ok_and(|read| read > 0) {
                // The caller may just have stopped waiting.
                let _ = sender.send(line.trim().into());
            }
            return;
        }
    });
    line.await.ok()
}

async fn on_thread<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, NoAnswer> + Send + 'static,
) -> Result<T, NoAnswer> {
    let (sender, answer) = oneshot::channel();
    thread::spawn(move || {
        // The receiver may be gone.
        let _ = sender.send(ask());
    });
    answer.await.unwrap_or(Err(NoAnswer::Cancelled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_or_ambiguous_answer_chooses_nothing() {
        let options = ["anns-project", "bobs-project", "bobs-other", "bobs"].map(str::to_owned);
        for (answer, expected) in [
            ("", None),
            ("  ", None),
            ("0", None),
            ("5", None),
            ("2", Some(1)),
            ("anns", Some(0)),
            ("bobs-", None),
            ("carols", None),
        ] {
            assert_eq!(find_option(answer, &options), expected, "{answer:?}");
        }
    }
}
