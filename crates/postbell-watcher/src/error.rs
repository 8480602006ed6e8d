//! Why a sync failed.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::ProblemCode;
use postbell_google::{GmailError, TokenError};
use postbell_protocol::watch_state::{Stage, StateError};

use crate::arrival::Arrival;
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

    /// One message failed. It is tried again in its place.
    #[error("message {id} failed, and is tried again")]
    Message {
        /// The message's id.
        id: String,
        /// The failure.
        #[source]
        source: Box<SyncError>,
    },

    /// Messages fail, and no other was seen to pass. They are tried again; those behind them were
    /// handled.
    #[error("no message passes at the {}: {reason}", name(*stage))]
    EveryMessage {
        /// The stage at which they fail.
        stage: Stage,
        /// Why the last one failed.
        reason: String,
        /// How many wait.
        messages: usize,
    },

    /// Gmail repeats a page token, or returns too many pages.
    #[error("gmail returns pages without an end")]
    EndlessPages,
}

/// Why a notification was not synced. It can be repeated.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotSynced {
    /// The sync failed. It is retried by itself, too.
    #[error(transparent)]
    Failed(Arc<SyncError>),

    /// The sync has not finished yet. It goes on.
    #[error("the sync has not finished yet")]
    StillRunning,

    /// The watcher is stopping.
    #[error("the watcher is stopping")]
    Stopped,
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Webhook => "webhook",
        Stage::Gmail => "read from gmail",
    }
}

impl SyncError {
    /// The failure of one message.
    pub(crate) fn message(arrival: &Arrival, source: Self) -> Self {
        Self::Message {
            id: arrival.message.id.clone(),
            source: Box::new(source),
        }
    }

    /// How long the webhook or Gmail asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Hook(error) => error.retry_after(),
            Self::Gmail(GmailError::Quota { retry_after }) => *retry_after,
            Self::Message { source, .. } => source.retry_after(),
            _ => None,
        }
    }

    /// What stops the mail; `None` if only one message waits for its next attempt.
    pub(crate) fn problem(&self) -> Option<Problem> {
        Some(match self {
            Self::Message { .. } => return None,
            Self::EveryMessage {
                stage,
                reason,
                messages,
            } => {
                let code = match stage {
                    Stage::Webhook => ProblemCode::WebhookFailing,
                    Stage::Gmail => ProblemCode::GmailRefusing,
                };
                Problem::new(code, format!("{reason}; {messages} messages wait"))
            }
            Self::EndlessPages => Problem::new(ProblemCode::GmailRefusing, self.to_string()),
            Self::Gmail(GmailError::Token(TokenError::GrantRevoked)) => grant_revoked(),
            Self::Gmail(error) => Problem::new(ProblemCode::GmailRefusing, with_causes(error)),
            Self::Hook(WebhookError::Gone) => Problem::new(
                ProblemCode::WebhookGone,
                "the bot takes no more mail: it answered 410",
            ),
            Self::Hook(error) => Problem::new(ProblemCode::WebhookFailing, with_causes(error)),
            Self::WrongAccount(error) => Problem::new(ProblemCode::WrongAccount, error.to_string()),
            Self::State(error) => Problem::new(ProblemCode::StateUnwritable, with_causes(error)),
        })
    }
}

/// The problem of a grant that only the user's consent replaces.
pub(crate) fn grant_revoked() -> Problem {
    Problem::new(
        ProblemCode::GrantRevoked,
        "reconnect Google: the grant has been revoked or has expired",
    )
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
