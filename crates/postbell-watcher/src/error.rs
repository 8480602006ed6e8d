//! Why a sync failed.

use std::error::Error;

use postbell_core::ProblemCode;
use postbell_google::{GmailError, TokenError};
use postbell_protocol::watch_state::StateError;

use crate::mailbox_identity::WrongAccount;
use crate::problems::Problem;
use crate::webhook::WebhookError;

/// Why a sync failed. No message was skipped: the next sync begins at the same cursor.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// Gmail cannot be read.
    #[error(transparent)]
    Gmail(#[from] GmailError),

    /// The webhook did not accept the messages.
    #[error(transparent)]
    Hook(#[from] WebhookError),

    /// The credentials belong to another mailbox. Nothing was read.
    #[error(transparent)]
    WrongAccount(#[from] WrongAccount),

    /// The state cannot be written. The webhook request may be repeated.
    #[error(transparent)]
    State(#[from] StateError),
}

impl SyncError {
    /// What stops the mail.
    pub(crate) fn problem(&self) -> Problem {
        match self {
            Self::Gmail(GmailError::Token(TokenError::GrantRevoked)) => Problem::new(
                ProblemCode::GrantRevoked,
                "reconnect Google: the grant has been revoked or has expired",
            ),
            Self::Gmail(error) => Problem::new(ProblemCode::GmailRefusing, with_causes(error)),
            Self::Hook(WebhookError::Gone) => Problem::new(
                ProblemCode::WebhookGone,
                "the bot takes no more mail: it answered 410",
            ),
            Self::Hook(error) => Problem::new(ProblemCode::WebhookFailing, with_causes(error)),
            Self::WrongAccount(error) => Problem::new(ProblemCode::WrongAccount, error.to_string()),
            Self::State(error) => Problem::new(ProblemCode::StateUnwritable, with_causes(error)),
        }
    }
}

/// An error with its causes in one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
