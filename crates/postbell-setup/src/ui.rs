//! The user interface that setup needs: events to show and questions to ask.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use url::Url;

use crate::error::{Blocker, SetupError};
use crate::report::{Report, StepId, StepState};

/// A terminal, a JSON stream, or a test.
#[async_trait]
pub trait Ui: Send + Sync {
    /// Shows an event. Output errors are ignored.
    fn show(&self, event: Event<'_>);

    /// Asks the user to choose an option, and returns its index.
    async fn choose(&self, question: &Question, options: &[String]) -> Result<usize, NoAnswer>;

    /// Asks for a line of text.
    async fn text(&self, question: &Question) -> Result<String, NoAnswer>;

    /// Asks for a line of text without echoing it.
    async fn secret(&self, question: &Question) -> Result<SecretString, NoAnswer>;

    /// Whether a user can enter something.
    fn can_answer(&self) -> bool {
        true
    }

    /// Waits for a line that the user pastes without being asked; forever if there is no user. It is not echoed.
    /// Dropping the future leaves the input to the next question.
    async fn pasted(&self) -> SecretString {
        std::future::pending().await
    }

    /// Asks a yes-or-no question.
    async fn confirm(&self, question: &Question) -> Result<bool, NoAnswer>;

    /// Opens a page in the user's browser, if there is one. The caller also shows the address.
    fn open(&self, page: &Url);
}

/// A question for the user.
#[derive(Clone, Debug)]
pub struct Question {
    /// The text to show.
    pub text: String,
    /// The flag or variable that answers the question without a user.
    pub flag: &'static str,
    /// The answer to use if the user enters nothing.
    pub default: Option<String>,
}

impl Question {
    /// Creates a question without a default.
    #[must_use]
    pub fn new(text: impl Into<String>, flag: &'static str) -> Self {
        Self {
            text: text.into(),
            flag,
            default: None,
        }
    }

    /// Sets the default answer.
    #[must_use]
    pub fn with_default(self, default: impl Into<String>) -> Self {
        Self {
            default: Some(default.into()),
            ..self
        }
    }
}

/// Why a question was not answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoAnswer {
    /// Setup runs without a user: the flag or variable that answers the question.
    NonInteractive(&'static str),
    /// The user cancelled.
    Cancelled,
}

impl From<NoAnswer> for SetupError {
    fn from(no_answer: NoAnswer) -> Self {
        Self::new(match no_answer {
            NoAnswer::NonInteractive(flag) => Blocker::MissingInput(flag),
            NoAnswer::Cancelled => Blocker::Cancelled,
        })
    }
}

/// Something to show.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Work on a step has started.
    Working {
        /// The step.
        step: StepId,
        /// The action, as a participle phrase.
        action: &'a str,
    },
    /// A step waits before the next attempt.
    Waiting {
        /// The step.
        step: StepId,
        /// Why waiting is expected to help.
        reason: &'a str,
        /// Time until the next attempt.
        remaining: Duration,
        /// Time until the step gives up.
        left: Duration,
    },
    /// The state of a step changed.
    Step {
        /// The step.
        step: StepId,
        /// Its new state.
        state: &'a StepState,
    },
    /// The changes that a run would make.
    Plan(&'a Report),
    /// The result of a run.
    Summary(&'a Report),
    /// Instructions for the user, in sentences.
    Note(&'a str),
    /// An address to open, on a line of its own so that it can be copied.
    Page(&'a Url),
}
