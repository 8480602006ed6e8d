//! What keeps a mailbox's mail from reaching its bot.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Timestamp;

/// What keeps a mailbox's mail from reaching its bot, and since when.
///
/// The watcher finds it; it travels with the machine's check-in to the platform and the relay
/// (protocol, section 2).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct MailProblem {
    /// The cause.
    pub code: ProblemCode,
    /// When it began.
    pub since: Timestamp,
}

/// The cause of a [`MailProblem`].
///
/// Its text form is the `snake_case` name. A text that this version does not know is [`Unknown`],
/// because a newer watcher may report more causes.
///
/// [`Unknown`]: Self::Unknown
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ProblemCode {
    /// Google no longer accepts the account's grant.
    GrantRevoked,
    /// Gmail's watch on the mailbox has ended and could not be renewed.
    WatchExpired,
    /// Gmail's watch cannot be renewed, because no topic is known.
    WatchMissing,
    /// The webhook answered 410: it is gone for good.
    WebhookGone,
    /// The webhook cannot be reached, or refuses mail.
    WebhookFailing,
    /// Gmail refuses requests.
    GmailRefusing,
    /// The stored position is ahead of the mailbox.
    CursorAhead,
    /// The Pub/Sub subscription does not exist.
    SubscriptionMissing,
    /// The Pub/Sub subscription cannot be pulled from.
    PullFailing,
    /// The credentials belong to another mailbox.
    WrongAccount,
    /// The watcher cannot write its state file.
    StateUnwritable,
    /// The machine has no usable credentials of the account: the platform cannot decrypt them, or they are damaged. Found by
    /// the controller.
    CredentialsUnreadable,
    /// The machine does not watch further accounts of its user. Found by the platform.
    AccountsUnsupported,
    /// A cause that this version does not know.
    Unknown,
}

impl MailProblem {
    /// Returns the code if it stops deliveries ([`ProblemCode::stops_deliveries`]).
    #[must_use]
    pub fn blocking_code(self) -> Option<ProblemCode> {
        Some(self.code).filter(|code| code.stops_deliveries())
    }

    /// Reads a problem, or `None` from any other value: a field that another implementation writes
    /// differently must not make the whole message unreadable.
    ///
    /// # Errors
    ///
    /// Fails if the text around the value is malformed.
    pub fn deserialize_or_none<'de, D: Deserializer<'de>>(
        value: D,
    ) -> Result<Option<Self>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Value {
            Problem(MailProblem),
            Other(IgnoredAny),
        }
        Ok(match Value::deserialize(value)? {
            Value::Problem(problem) => Some(problem),
            Value::Other(_) => None,
        })
    }
}

impl ProblemCode {
    /// All causes, in the order in which they are listed.
    pub const ALL: [Self; 14] = [
        Self::GrantRevoked,
        Self::WatchExpired,
        Self::WatchMissing,
        Self::WebhookGone,
        Self::WebhookFailing,
        Self::GmailRefusing,
        Self::CursorAhead,
        Self::SubscriptionMissing,
        Self::PullFailing,
        Self::WrongAccount,
        Self::StateUnwritable,
        Self::CredentialsUnreadable,
        Self::AccountsUnsupported,
        Self::Unknown,
    ];

    /// The word that is stored, sent and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GrantRevoked => "grant_revoked",
            Self::WatchExpired => "watch_expired",
            Self::WatchMissing => "watch_missing",
            Self::WebhookGone => "webhook_gone",
            Self::WebhookFailing => "webhook_failing",
            Self::GmailRefusing => "gmail_refusing",
            Self::CursorAhead => "cursor_ahead",
            Self::SubscriptionMissing => "subscription_missing",
            Self::PullFailing => "pull_failing",
            Self::WrongAccount => "wrong_account",
            Self::StateUnwritable => "state_unwritable",
            Self::CredentialsUnreadable => "credentials_unreadable",
            Self::AccountsUnsupported => "accounts_unsupported",
            Self::Unknown => "unknown",
        }
    }

    /// The cause in a few words, as part of a sentence.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            Self::GrantRevoked => "Google no longer accepts the account's grant",
            Self::WatchExpired => "Gmail's watch on the mailbox has ended",
            Self::WatchMissing => "Gmail's watch on the mailbox cannot be renewed",
            Self::WebhookGone => "the webhook answered 410 Gone",
            Self::WebhookFailing => "the webhook does not accept mail",
            Self::GmailRefusing => "Gmail refuses requests",
            Self::CursorAhead => "the stored position is ahead of the mailbox",
            Self::SubscriptionMissing => "the Pub/Sub subscription does not exist",
            Self::PullFailing => "the Pub/Sub subscription cannot be pulled from",
            Self::WrongAccount => "the credentials belong to another mailbox",
            Self::StateUnwritable => "the watcher cannot write its state file",
            Self::CredentialsUnreadable => "the machine has no usable credentials of the account",
            Self::AccountsUnsupported => "the machine does not watch this further account yet",
            Self::Unknown => "the watcher reported a problem that this version does not know",
        }
    }

    /// Whether it explains that the machine accepts no notification. Until it is over, another
    /// attempt is futile; any other failure has a cause of its own, which may be over in a minute.
    #[must_use]
    pub const fn stops_deliveries(self) -> bool {
        match self {
            Self::GrantRevoked
            | Self::WebhookGone
            | Self::WebhookFailing
            | Self::GmailRefusing
            | Self::WrongAccount
            | Self::StateUnwritable
            | Self::CredentialsUnreadable
            | Self::AccountsUnsupported => true,
            Self::WatchExpired
            | Self::WatchMissing
            | Self::CursorAhead
            | Self::SubscriptionMissing
            | Self::PullFailing
            | Self::Unknown => false,
        }
    }

    /// What a person does next, in one sentence.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::GrantRevoked => {
                "Connect the Google account again, and check that the OAuth consent screen is published."
            }
            Self::WatchExpired => {
                "Connect the Google account again if it was changed; else check that the Pub/Sub topic still exists and that Gmail may publish to it."
            }
            Self::WatchMissing => "Run `postbell watch start` once with --topic.",
            Self::WebhookGone => {
                "Set the webhook's URL to one that exists, and restart the watcher."
            }
            Self::WebhookFailing => {
                "Check that the bot is running, and that the webhook's URL, its token and its signing secret are right."
            }
            Self::GmailRefusing => {
                "Check that the Gmail API is enabled in the Google Cloud project and that its quota is not used up."
            }
            Self::CursorAhead => {
                "The watcher reads the recent mail again by itself; if this lasts, look into its log."
            }
            Self::SubscriptionMissing => {
                "Create the Pub/Sub subscription again, for example with `postbell setup`."
            }
            Self::PullFailing => {
                "Check that the account may pull from the Pub/Sub subscription (role roles/pubsub.subscriber)."
            }
            Self::WrongAccount => {
                "Install the credentials of the configured account, or configure the account of these credentials."
            }
            Self::StateUnwritable => {
                "Free disk space, and check that the watcher may write to its state folder."
            }
            Self::CredentialsUnreadable => {
                "Connect the Google account again; if the platform's log says that it cannot read the credentials, the operator restores its keys first."
            }
            Self::AccountsUnsupported => {
                "Run a controller on the machine that fetches its configuration from the platform and watches several accounts: that of Postbell 0.1, with POSTBELL_CONTROLLER__PLATFORM_URL."
            }
            Self::Unknown => {
                "Read the log of the watcher; a newer version of Postbell may name the problem."
            }
        }
    }
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ProblemCode {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from(text))
    }
}

impl From<&str> for ProblemCode {
    fn from(text: &str) -> Self {
        let known = Self::ALL.into_iter().find(|code| code.as_str() == text);
        known.unwrap_or(Self::Unknown)
    }
}

impl Serialize for ProblemCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ProblemCode {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let text = String::deserialize(value)?;
        Ok(Self::from(&*text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_back_from_its_word() {
        for code in ProblemCode::ALL {
            assert_eq!(ProblemCode::from(code.as_str()), code);
            assert_eq!(code.to_string(), code.as_str());
        }
        for other in ["", "grant revoked", "moon_phase"] {
            assert_eq!(other.parse(), Ok(ProblemCode::Unknown));
        }
    }

    #[test]
    fn a_problem_of_the_watch_or_of_pulling_stops_no_delivery() {
        let stops = ProblemCode::ALL
            .into_iter()
            .filter(|code| code.stops_deliveries());
        let expected = [
            ProblemCode::GrantRevoked,
            ProblemCode::WebhookGone,
            ProblemCode::WebhookFailing,
            ProblemCode::GmailRefusing,
            ProblemCode::WrongAccount,
            ProblemCode::StateUnwritable,
            ProblemCode::CredentialsUnreadable,
            ProblemCode::AccountsUnsupported,
        ];
        assert_eq!(stops.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn advice_is_one_sentence_and_a_summary_is_part_of_one() {
        for code in ProblemCode::ALL {
            assert!(code.advice().ends_with('.'), "{code}");
            assert!(!code.summary().ends_with('.'), "{code}");
        }
    }
}
