//! The person for whom something is set up: what they are asked, and what they see.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use url::Url;

use crate::step::{Report, State, StepId};

/// The person, or whatever stands in for them: a terminal, a program that reads JSON, a test.
#[async_trait]
pub trait Person: Send + Sync {
    /// Shows something. Never fails: who sees nothing is told nothing.
    fn show(&self, event: Event<'_>);

    /// Asks for one of these options, by its place among them.
    async fn choose(&self, question: &Question, options: &[String]) -> Result<usize, NoAnswer>;

    /// Asks for a line of text.
    async fn text(&self, question: &Question) -> Result<String, NoAnswer>;

    /// Asks for a line that is not shown while it is typed.
    async fn secret(&self, question: &Question) -> Result<SecretString, NoAnswer>;

    /// Asks for yes or no.
    async fn confirm(&self, question: &Question) -> Result<bool, NoAnswer>;

    /// Opens a page in the person's browser, if there is one. The page is shown as an address, too.
    fn open(&self, page: &Url);
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The question.
    pub text: String,
    /// What answers it where nobody is there to ask.
    pub flag: &'static str,
    /// What is taken where nothing is typed.
    pub default: Option<String>,
}

impl Question {
    /// A question, and what answers it where nobody is there to ask.
    #[must_use]
    pub fn new(text: impl Into<String>, flag: &'static str) -> Self {
        Self {
            text: text.into(),
            flag,
            default: None,
        }
    }

    /// The same, where nothing has to be typed.
    #[must_use]
    pub fn or(self, default: impl Into<String>) -> Self {
        Self {
            default: Some(default.into()),
            ..self
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoAnswer {
    /// Nobody is there to ask.
    Unattended,
    /// The person has stopped.
    Stopped,
}

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A step is under way: what is done.
    Working {
        /// Which.
        step: StepId,
        /// What is done, in words.
        doing: &'a str,
    },
    /// A step waits for something that only time mends.
    Waiting {
        /// Which.
        step: StepId,
        /// For what.
        reason: &'a str,
        /// How long until it is tried again.
        remaining: Duration,
        /// How long it is waited at most, from now on.
        left: Duration,
    },
    /// What has become of a step.
    Step {
        /// Which.
        step: StepId,
        /// What has become of it.
        state: &'a State,
    },
    /// What would be done.
    Plan(&'a Report),
    /// What has been done.
    Summary(&'a Report),
    /// What a person needs to know, in sentences.
    Note(&'a str),
    /// An address to open, alone on its line so that it can be copied.
    Page(&'a Url),
}
