//! The error of a step: a blocker, Google's message about it, and the project concerned.

use std::fmt;
use std::time::Duration;

use postbell_google::{CloudError, TokenError};

pub use crate::blocker::Blocker;
use crate::remedy::remedy;

pub(crate) type Result<T, E = SetupError> = std::result::Result<T, E>;

/// Why a step failed. Contains no secret, and of external text only one sentence from Google.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SetupError {
    /// The reason.
    pub blocker: Blocker,
    /// Google's error message.
    pub google_message: Option<String>,
    /// How long Google asks to wait before a retry.
    pub(crate) retry_after: Option<Duration>,
    /// The project concerned, for links to the console.
    project: Option<String>,
}

impl SetupError {
    /// Creates an error without a message from Google.
    #[must_use]
    pub fn new(blocker: Blocker) -> Self {
        Self {
            blocker,
            google_message: None,
            retry_after: None,
            project: None,
        }
    }

    /// Sets the project that the console links open.
    #[must_use]
    pub fn in_project(self, project: Option<&str>) -> Self {
        Self {
            project: project.map(str::to_owned),
            ..self
        }
    }

    /// Why a retry may succeed, if it may.
    #[must_use]
    pub fn retry_reason(&self) -> Option<&'static str> {
        self.blocker.retry_reason()
    }

    /// The problem, as a sentence without a full stop.
    #[must_use]
    pub fn problem(&self) -> String {
        self.blocker.problem()
    }

    /// The user's next action, in one or two sentences.
    #[must_use]
    pub fn remedy(&self) -> String {
        remedy(&self.blocker, self.project.as_deref())
    }
}

impl From<CloudError> for SetupError {
    fn from(error: CloudError) -> Self {
        match error {
            CloudError::Token(error) => error.into(),
            CloudError::Unauthorized => Self::new(Blocker::TokenRejected),
            CloudError::Unavailable { retry_after, .. } => Self {
                retry_after,
                ..Self::new(Blocker::Unavailable)
            },
            CloudError::Refused(refusal) => Self {
                google_message: Some(refusal.said),
                ..Self::new(refusal.kind.into())
            },
        }
    }
}

impl From<TokenError> for SetupError {
    fn from(error: TokenError) -> Self {
        let retry_after = match &error {
            TokenError::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        };
        Self {
            retry_after,
            ..Self::new(error.into())
        }
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem())?;
        if let Some(message) = &self.google_message {
            write!(f, " (Google: {message})")?;
        }
        Ok(())
    }
}
