//! The person at a terminal, or whoever reads what is printed where there is none.

use std::io::{IsTerminal, stderr, stdin};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use postbell_setup::{Event, NoAnswer, Person, Question, State, StepId, Trouble};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use secrecy::SecretString;
use url::Url;
use webbrowser::{Browser, BrowserOptions};

use super::json;
use super::prompts::Prompts;
use super::words::{Style, Tone};
use crate::cli::SetupArgs;
use crate::config::Surroundings;
use crate::console::Console;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(120);

/// The person at a terminal, or whoever reads what is printed.
pub(crate) struct Onlooker {
    console: Console,
    output: Output,
    prompts: Prompts,
    style: Style,
    task: Task,
    /// Turns while something is under way, where somebody watches.
    spinner: Mutex<Option<ProgressBar>>,
    /// How the terminal was.
    terminal: Option<Termios>,
    /// What is waited for, as it was said last.
    waiting: Mutex<String>,
    /// Whether what was written last is an empty line.
    has_gap: Mutex<bool>,
    /// Where `~` leads.
    home: Option<String>,
}

/// What a person asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Task {
    /// To say what would be done.
    Plan,
    /// To do it.
    Apply,
    /// To take it back.
    Undo,
}

impl From<&SetupArgs> for Task {
    fn from(args: &SetupArgs) -> Self {
        match (args.plan, args.undo) {
            (true, _) => Self::Plan,
            (_, true) => Self::Undo,
            _ => Self::Apply,
        }
    }
}

/// What is known of the person beforehand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Whether they are asked anything.
    pub(crate) is_asked: bool,
    /// Whether it is a program that reads JSON.
    pub(crate) is_program: bool,
    pub(crate) task: Task,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Output {
    /// Lines, and a spinner below them.
    Terminal,
    /// Lines.
    Plain,
    /// JSON.
    Json,
}

impl Onlooker {
    pub(crate) fn new(console: Console, manner: Manner, surroundings: &Surroundings) -> Self {
        let no_color = surroundings.variable("NO_COLOR");
        let is_dumb = surroundings.variable("TERM") == Some("dumb");
        let watches = console.is_terminal() && !is_dumb;
        let colours = watches && no_color.is_none_or(str::is_empty);
        let is_asked = manner.is_asked;
        let prompts = match (!is_asked, stdin().is_terminal() && stderr().is_terminal()) {
            (true, _) => Prompts::None,
            (false, true) => Prompts::Terminal { colours },
            (false, false) => Prompts::Lines,
        };
        Self {
            console,
            output: match (manner.is_program, watches) {
                (true, _) => Output::Json,
                (false, true) => Output::Terminal,
                (false, false) => Output::Plain,
            },
            prompts,
            style: Style::new(colours, watches.then(columns).flatten()),
            task: manner.task,
            spinner: Mutex::new(None),
            terminal: matches!(prompts, Prompts::Terminal { .. })
                .then(silence)
                .flatten(),
            waiting: Mutex::default(),
            // Nothing is above the first line.
            has_gap: Mutex::new(true),
            home: surroundings.variable("HOME").map(str::to_owned),
        }
    }

    /// Says what has kept setup from going on.
    pub(crate) fn give_up(&self, trouble: &Trouble) {
        if self.output == Output::Json {
            self.print(&json::stopped(trouble));
        } else {
            let said = trouble.said.iter();
            let said = said.map(|said| format!(" Google said: {said}"));
            let text = format!(
                "\n{}.{} {}",
                capital(&trouble.what()),
                said.collect::<String>(),
                trouble.next()
            );
            self.line(&self.style.paragraphs(&text));
        }
    }

    /// Leaves the terminal as it was.
    pub(crate) fn restore(&self) {
        self.rest();
        if let Some(terminal) = &self.terminal {
            // Where it is gone there is nothing to set back.
            let _ = tcsetattr(stdin(), OptionalActions::Now, terminal);
            if self.output == Output::Terminal {
                // The cursor is shown, and what is pasted comes as it is.
                self.console.raw_error("\x1b[?25h\x1b[?2004l");
            }
        }
    }

    /// How lines are written for them.
    pub(crate) fn style(&self) -> Style {
        self.style
    }

    /// Says what is done, to whoever watches.
    pub(crate) fn working(&self, doing: &str) {
        if self.output == Output::Terminal {
            self.spin(doing.to_owned());
        }
    }

    /// Takes the spinner away: something else is written, or asked.
    fn rest(&self) {
        if let Some(spinner) = self.spinner.lock().take() {
            spinner.finish_and_clear();
        }
    }

    fn spin(&self, message: String) {
        let mut spinner = self.spinner.lock();
        let bar = spinner.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template(" {spinner} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(TICK);
            bar
        });
        bar.set_message(message);
    }

    /// Writes for people.
    fn line(&self, text: &str) {
        *self.has_gap.lock() = text.is_empty() || text.ends_with('\n');
        let spinner = self.spinner.lock();
        match &*spinner {
            Some(spinner) => spinner.suspend(|| self.console.error(text)),
            None => self.console.error(text),
        }
    }

    /// Writes data.
    fn print(&self, text: &str) {
        self.rest();
        *self.has_gap.lock() = false;
        // Whoever reads it had enough; what is set up is set up all the same.
        let _ = self.console.data(text);
    }

    /// Writes what is for people and programs, apart from what was before.
    fn print_apart(&self, text: &str) {
        self.rest();
        self.gap();
        self.print(text);
    }

    /// Leaves one line empty.
    fn gap(&self) {
        if !*self.has_gap.lock() {
            self.line("");
        }
    }

    fn show_to_people(&self, event: Event<'_>) {
        match event {
            Event::Working { step, doing } if self.output == Output::Terminal => {
                self.spin(format!("{step}: {doing}"));
            }
            Event::Waiting {
                step,
                reason,
                remaining,
                left,
            } => {
                self.say_why(step, reason);
                if self.output == Output::Terminal {
                    let seconds = remaining.as_secs_f64().ceil();
                    let left = left.as_secs().max(1);
                    let left = format!("{}:{:02}", left / 60, left % 60);
                    self.spin(format!("{step}: again in {seconds} s, for {left} at most"));
                }
            }
            Event::Working { .. } => (),
            Event::Step { step, state } => {
                if self.is_worth_a_line(state)
                    && let Some(text) = self.style.step(step, state)
                {
                    self.rest();
                    self.line(&text);
                }
            }
            Event::Plan(report) => match self.style.plan(report) {
                Some(plan) => self.print_apart(&plan),
                None if self.task == Task::Plan => self.print_apart(if report.has_failed() {
                    "What is left cannot be told yet. Mend what is marked ✗ first."
                } else {
                    "Nothing is left to do."
                }),
                None => (),
            },
            Event::Summary(report) if self.task == Task::Undo => {
                self.print_apart(&self.style.undone(report));
            }
            Event::Summary(report) => self.print_apart(&self.style.summary(report)),
            Event::Note(text) => {
                self.rest();
                self.gap();
                self.line(&self.style.paragraphs(text));
            }
            Event::Page(page) => {
                self.rest();
                self.gap();
                self.line(&format!("  {page}\n"));
            }
        }
    }

    /// Whoever takes something back need not read of each step that there was nothing.
    fn is_worth_a_line(&self, state: &State) -> bool {
        let is_nothing = matches!(
            state,
            State::Done {
                changed: false,
                warning: None,
                ..
            }
        );
        !(is_nothing && self.task == Task::Undo)
    }

    /// Says once why it is waited: the countdown has no room for it.
    fn say_why(&self, step: StepId, reason: &str) {
        let text = format!("{reason}; it is tried again");
        let text = self.style.line(Tone::Open, step.title(), &text);
        let mut waiting = self.waiting.lock();
        if *waiting != text {
            text.clone_into(&mut waiting);
            self.line(&text);
        }
    }

    /// Where no prompt shows the question, it is a line.
    fn announce(&self, question: &Question, options: &[String]) {
        self.rest();
        *self.has_gap.lock() = false;
        if self.prompts != Prompts::Lines {
            return;
        }
        self.line(&self.style.paragraphs(&question.text));
        for (index, option) in options.iter().enumerate() {
            self.line(&format!("  {}. {option}", index + 1));
        }
    }
}

/// How wide the terminal is.
fn columns() -> Option<usize> {
    let columns = tcgetwinsize(stderr()).ok()?.ws_col;
    (columns > 0).then(|| columns.into())
}

/// Keeps the terminal from showing what is typed while no question is there: a secret may be pasted
/// a moment too early. Gives how the terminal was.
fn silence() -> Option<Termios> {
    let before = tcgetattr(stdin()).ok()?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(stdin(), OptionalActions::Now, &silent).ok()?;
    Some(before)
}

impl Drop for Onlooker {
    fn drop(&mut self) {
        self.restore();
    }
}

/// What a shell would have made of it: a file that is dropped on a terminal comes in quotes, and people
/// type `~`.
fn as_a_shell_reads(answer: &str, home: Option<&str>) -> String {
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

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(characters).collect()
}

#[async_trait]
impl Person for Onlooker {
    fn show(&self, event: Event<'_>) {
        if self.output != Output::Json {
            return self.show_to_people(event);
        }
        if let Some(line) = json::event(event) {
            self.print(&line);
        } else if let Event::Note(text) = event {
            self.line(&self.style.paragraphs(text));
        }
    }

    async fn choose(&self, question: &Question, options: &[String]) -> Result<usize, NoAnswer> {
        loop {
            self.announce(question, options);
            if let Some(chosen) = self.prompts.choose(question, options).await? {
                return Ok(chosen);
            }
            self.line("That is none of them; please give its number.");
        }
    }

    async fn text(&self, question: &Question) -> Result<String, NoAnswer> {
        self.announce(question, &[]);
        let answer = self.prompts.text(question).await?;
        Ok(as_a_shell_reads(&answer, self.home.as_deref()))
    }

    async fn secret(&self, question: &Question) -> Result<SecretString, NoAnswer> {
        self.announce(question, &[]);
        self.prompts.secret(question).await
    }

    async fn confirm(&self, question: &Question) -> Result<bool, NoAnswer> {
        self.announce(question, &[]);
        self.prompts.confirm(question).await
    }

    fn open(&self, page: &Url) {
        let page = page.clone();
        // A browser in the terminal would take it over until it is left; none at all is no failure, for
        // the address is shown.
        thread::spawn(move || {
            let mut options = BrowserOptions::new();
            options.with_suppress_output(true);
            let _ =
                webbrowser::open_browser_with_options(Browser::Default, page.as_str(), &options);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_a_shell_would() {
        let read = |answer| as_a_shell_reads(answer, Some("/home/ann"));
        assert_eq!(read("~/Downloads/c.json "), "/home/ann/Downloads/c.json");
        assert_eq!(read("'/tmp/my client.json' "), "/tmp/my client.json");
        assert_eq!(read("\"c.json\""), "c.json");
        assert_eq!(read("ann@example.com"), "ann@example.com");
        assert_eq!(read("'"), "'");
        assert_eq!(as_a_shell_reads("~/c", None), "~/c");
    }
}
