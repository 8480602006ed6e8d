//! The user interface of setup and doctor: a terminal, plain lines, or JSON.

mod json;
mod prompts;
mod style;
mod text;

use std::io::{self, IsTerminal, stderr, stdin};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use secrecy::SecretString;
use url::Url;
use webbrowser::{Browser, BrowserOptions};

use self::prompts::Prompts;
pub use self::style::{Style, Tone};
use crate::error::SetupError;
use crate::report::{StepId, StepState};
use crate::ui::{Event, NoAnswer, Question, Ui};

/// How often the spinner moves.
const TICK: Duration = Duration::from_millis(120);

/// Shows the cursor and ends bracketed paste.
const RESTORE_TERMINAL: &str = "\x1b[?25h\x1b[?2004l";

/// Where the user interface writes.
pub trait Output: Send + Sync {
    /// Writes a line of data.
    ///
    /// # Errors
    ///
    /// If the reader has closed the stream.
    fn data(&self, line: &str) -> io::Result<()>;

    /// Writes a line for the user.
    fn message(&self, line: &str);

    /// Writes control sequences to the terminal.
    fn control(&self, sequence: &str);
}

/// The command that the user ran.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Task {
    /// `setup --plan`, and `doctor`.
    Plan,
    /// `setup`.
    Apply,
    /// `setup --undo`.
    Undo,
}

/// How the user interface behaves.
#[derive(Clone, Debug)]
pub struct UiOptions {
    /// The command that the user ran.
    pub task: Task,
    /// Whether to ask questions.
    pub interactive: bool,
    /// Whether to print JSON.
    pub json: bool,
    /// Whether standard output and standard error are a capable terminal.
    pub is_terminal: bool,
    /// Whether to use colours in a terminal.
    pub colours: bool,
    /// The home folder, for paths that begin with `~`.
    pub home: Option<String>,
}

/// A terminal, or a reader of plain lines or JSON.
pub struct TerminalUi {
    output: Box<dyn Output>,
    format: Format,
    prompts: Prompts,
    style: Style,
    task: Task,
    home: Option<String>,
    /// The terminal's modes at the start.
    initial_modes: Option<Termios>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    spinner: Option<ProgressBar>,
    /// The last reason for waiting that was shown.
    waiting: String,
    /// Whether a line other than an empty one was written last.
    needs_gap: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Format {
    /// Lines, and a spinner below them.
    Terminal,
    /// Lines.
    Plain,
    Json,
}

impl TerminalUi {
    /// Creates a user interface. In a terminal it hides typed text between questions, because a
    /// secret may be pasted too early; [`TerminalUi::restore`] shows it again.
    #[must_use]
    pub fn new(output: Box<dyn Output>, options: UiOptions) -> Self {
        let colours = options.is_terminal && options.colours;
        let style = Style::new(colours, options.is_terminal.then(columns).flatten());
        let prompts = match (
            options.interactive,
            stdin().is_terminal() && stderr().is_terminal(),
        ) {
            (false, _) => Prompts::None,
            (true, true) => Prompts::Terminal(style),
            (true, false) => Prompts::Lines,
        };
        let is_prompting = matches!(prompts, Prompts::Terminal(_));
        Self {
            output,
            format: match (options.json, options.is_terminal) {
                (true, _) => Format::Json,
                (false, true) => Format::Terminal,
                (false, false) => Format::Plain,
            },
            prompts,
            style,
            task: options.task,
            home: options.home,
            initial_modes: is_prompting.then(|| set_echo(false)).flatten(),
            state: Mutex::default(),
        }
    }

    /// Shows the error that ended the run.
    pub fn fail(&self, error: &SetupError) {
        if self.format == Format::Json {
            self.print(&json::stopped(error));
        } else {
            self.line(&text::fatal(self.style, error));
        }
    }

    /// Restores the terminal.
    pub fn restore(&self) {
        self.clear_spinner();
        if let Some(modes) = &self.initial_modes {
            // The terminal may be gone.
            let _ = tcsetattr(stdin(), OptionalActions::Now, modes);
            if self.format == Format::Terminal {
                self.output.control(RESTORE_TERMINAL);
            }
        }
    }

    /// The style of lines.
    #[must_use]
    pub fn style(&self) -> Style {
        self.style
    }

    /// Shows the current action in a terminal.
    pub fn working(&self, action: &str) {
        if self.format == Format::Terminal {
            self.spin(action.to_owned());
        }
    }

    fn with_state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        change(&mut state)
    }

    fn clear_spinner(&self) {
        if let Some(spinner) = self.with_state(|state| state.spinner.take()) {
            spinner.finish_and_clear();
        }
    }

    fn spin(&self, message: String) {
        self.with_state(|state| {
            state
                .spinner
                .get_or_insert_with(spinner)
                .set_message(message);
        });
    }

    /// Writes a line for the user.
    fn line(&self, text: &str) {
        self.with_state(|state| {
            state.needs_gap = !(text.is_empty() || text.ends_with('\n'));
            match &state.spinner {
                Some(spinner) => spinner.suspend(|| self.output.message(text)),
                None => self.output.message(text),
            }
        });
    }

    /// Writes data.
    fn print(&self, text: &str) {
        self.clear_spinner();
        self.with_state(|state| state.needs_gap = true);
        // A reader that closes the stream does not stop setup.
        let _ = self.output.data(text);
    }

    fn print_after_gap(&self, text: &str) {
        self.clear_spinner();
        self.gap();
        self.print(text);
    }

    fn line_after_gap(&self, text: &str) {
        self.clear_spinner();
        self.gap();
        self.line(text);
    }

    /// Writes an empty line unless there is one.
    fn gap(&self) {
        if self.with_state(|state| state.needs_gap) {
            self.line("");
        }
    }

    fn show_text(&self, event: Event<'_>) {
        match event {
            Event::Working { step, action } => self.working(&format!("{step}: {action}")),
            Event::Waiting {
                step,
                reason,
                remaining,
                left,
            } => {
                self.show_reason(step, reason);
                let left = left.as_secs().max(1);
                self.working(&format!(
                    "{step}: retry in {} s, giving up in {}:{:02}",
                    remaining.as_secs_f64().ceil(),
                    left / 60,
                    left % 60
                ));
            }
            Event::Step { step, state } => {
                if self.is_shown(state)
                    && let Some(text) = text::step(self.style, step, state)
                {
                    self.clear_spinner();
                    self.line(&text);
                }
            }
            Event::Plan(report) => match text::plan(self.style, report) {
                Some(plan) => self.print_after_gap(&plan),
                None if self.task == Task::Plan => self.print_after_gap(text::empty_plan(report)),
                None => (),
            },
            Event::Summary(report) if self.task == Task::Undo => {
                self.print_after_gap(&text::undo_summary(self.style, report));
            }
            Event::Summary(report) => self.print_after_gap(&text::summary(self.style, report)),
            Event::Note(text) => self.line_after_gap(&self.style.paragraphs(text)),
            Event::Page(page) => self.line_after_gap(&format!("  {page}\n")),
        }
    }

    /// Undo does not show the steps in which it changed nothing.
    fn is_shown(&self, state: &StepState) -> bool {
        let is_unchanged = matches!(
            state,
            StepState::Done {
                changed: false,
                warning: None,
                ..
            }
        );
        !(is_unchanged && self.task == Task::Undo)
    }

    /// Shows the reason for waiting once: the spinner has no room for it.
    fn show_reason(&self, step: StepId, reason: &str) {
        let text = self
            .style
            .line(Tone::Open, step.title(), &format!("{reason}; retrying"));
        let is_new = self.with_state(|state| {
            let is_new = state.waiting != text;
            state.waiting.clone_from(&text);
            is_new
        });
        if is_new {
            self.line(&text);
        }
    }

    /// Shows a question and its options as lines, unless a prompt shows them.
    fn show_question(&self, question: &Question, options: &[String]) {
        self.clear_spinner();
        self.with_state(|state| state.needs_gap = true);
        if self.prompts != Prompts::Lines {
            return;
        }
        self.line(&self.style.paragraphs(&question.text));
        for (index, option) in options.iter().enumerate() {
            self.line(&format!("  {}. {option}", index + 1));
        }
    }
}

impl Drop for TerminalUi {
    fn drop(&mut self) {
        self.restore();
    }
}

#[async_trait]
impl Ui for TerminalUi {
    fn show(&self, event: Event<'_>) {
        if self.format != Format::Json {
            return self.show_text(event);
        }
        if let Some(line) = json::event(event) {
            self.print(&line);
        } else if let Event::Note(text) = event {
            self.line(&self.style.paragraphs(text));
        }
    }

    async fn choose(&self, question: &Question, options: &[String]) -> Result<usize, NoAnswer> {
        loop {
            self.show_question(question, options);
            if let Some(chosen) = self.prompts.choose(question, options).await? {
                return Ok(chosen);
            }
            self.line("Please enter the number of an option.");
        }
    }

    async fn text(&self, question: &Question) -> Result<String, NoAnswer> {
        self.show_question(question, &[]);
        let answer = self.prompts.text(question).await?;
        Ok(shell_unquoted(&answer, self.home.as_deref()))
    }

    async fn secret(&self, question: &Question) -> Result<SecretString, NoAnswer> {
        self.show_question(question, &[]);
        self.prompts.secret(question).await
    }

    fn can_answer(&self) -> bool {
        self.prompts != Prompts::None
    }

    async fn pasted(&self) -> SecretString {
        self.prompts.pasted().await
    }

    async fn confirm(&self, question: &Question) -> Result<bool, NoAnswer> {
        self.show_question(question, &[]);
        self.prompts.confirm(question).await
    }

    fn open(&self, page: &Url) {
        let page = page.clone();
        // A text browser would block until the user quits it. Without a browser, the address is shown.
        thread::spawn(move || {
            let mut options = BrowserOptions::new();
            options.with_suppress_output(true);
            let _ =
                webbrowser::open_browser_with_options(Browser::Default, page.as_str(), &options);
        });
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template(" {spinner} {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(TICK);
    bar
}

fn columns() -> Option<usize> {
    let columns = tcgetwinsize(stderr()).ok()?.ws_col;
    (columns > 0).then(|| columns.into())
}

/// Sets whether the terminal shows what is typed, and returns the modes from before.
fn set_echo(is_on: bool) -> Option<Termios> {
    let initial = tcgetattr(stdin()).ok()?;
    let mut modes = initial.clone();
    modes.local_modes.set(LocalModes::ECHO, is_on);
    tcsetattr(stdin(), OptionalActions::Now, &modes).ok()?;
    Some(initial)
}

/// Reads an answer as a shell would: a file dropped on a terminal is quoted, and users type `~`.
fn shell_unquoted(answer: &str, home: Option<&str>) -> String {
    let answer = answer.trim();
    let quoted = ['\'', '"'].into_iter().find_map(|quote| {
        let answer = answer.strip_prefix(quote)?;
        answer.strip_suffix(quote)
    });
    if let Some(quoted) = quoted {
        return quoted.to_owned();
    }
    match (answer.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => format!("{home}/{rest}"),
        _ => answer.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_unquoted_like_in_a_shell() {
        let read = |answer| shell_unquoted(answer, Some("/home/ann"));
        assert_eq!(read("~/Downloads/c.json "), "/home/ann/Downloads/c.json");
        assert_eq!(read("'/tmp/my client.json' "), "/tmp/my client.json");
        assert_eq!(read("\"c.json\""), "c.json");
        assert_eq!(read("ann@example.com"), "ann@example.com");
        assert_eq!(read("'"), "'");
        assert_eq!(shell_unquoted("~/c", None), "~/c");
    }
}
