//! Why an alert did not reach its target.

use std::time::Duration;

/// Why an alert did not reach its target.
///
/// Its text may be shown to the target's owner: it contains neither the target nor what the service
/// answered, only the status.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The service did not accept it now. A later attempt may succeed.
    #[error("{detail}")]
    Failed {
        /// The problem in words.
        detail: String,
        /// How long the service asks to wait.
        retry_after: Option<Duration>,
    },

    /// The target is gone for good.
    #[error("the service answered 410: this target no longer exists")]
    Gone,

    /// The target's address is not public, and this client only sends to public ones.
    #[error("the target's host is not a public address")]
    NotPublic,

    /// The target is an address alone, and this client has no mail server. Another one may have.
    #[error("no mail server is configured for addresses alone (alerts.mail_server)")]
    NoMailServer,
}

impl SendError {
    pub(crate) fn failed(detail: impl Into<String>) -> Self {
        Self::Failed {
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// How long the service asks to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Failed { retry_after, .. } => *retry_after,
            Self::Gone | Self::NotPublic | Self::NoMailServer => None,
        }
    }
}
