//! Why a sync failed.

use postbell_google::{GmailError, TokenError};

use crate::state_file::StateError;
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

    /// The state cannot be written. The webhook request may be repeated.
    #[error(transparent)]
    State(#[from] StateError),
}

impl SyncError {
    /// What a person must do, if repeating cannot help.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Gmail(GmailError::Token(TokenError::GrantRevoked)) => {
                Some("reconnect Google: the grant has been revoked or has expired")
            }
            Self::Hook(WebhookError::Gone) => Some("the bot takes no more mail: it answered 410"),
            _ => None,
        }
    }
}
