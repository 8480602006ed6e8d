//! Events: what is reported.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use postbell_core::{AlertId, InvalidId, ProblemCode, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest detail that an event carries, in characters.
const DETAIL_CHARS: usize = 500;

/// One change that is reported.
///
/// Contains no text and no subject of a mail. The account may be the whole address: a target belongs
/// to the mailbox's owner or to the operator.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertEvent {
    /// The same for the same change, in whichever process it is seen.
    pub id: AlertId,
    /// The kind.
    pub kind: AlertKind,
    /// When the change happened.
    pub at: Timestamp,
    /// The mailbox's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The platform's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What keeps mail from the bot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ProblemCode>,
    /// The change in a sentence; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// How many changes of this kind this event stands for, for example dead letters.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u64,
}

/// The kinds of events.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AlertKind {
    /// Google no longer accepts the account's grant.
    GrantRevoked,
    /// Gmail's watch ends in less than a day.
    WatchExpiring,
    /// Gmail's watch has ended, or cannot be renewed.
    WatchExpired,
    /// The webhook refuses mail or cannot be reached.
    WebhookFailing,
    /// No mail gets through for another reason, which the problem names.
    MailStopped,
    /// The watcher set mails aside that the webhook or Gmail refuses.
    MailDeadLettered,
    /// The relay gave notifications up.
    DeliveryDeadLettered,
    /// Deliveries to the machine fail.
    MachineUnreachable,
    /// Nothing was heard of the mailbox.
    MailboxSilent,
    /// The problem that was reported before is over.
    Recovered,
    /// A test that was asked for.
    Test,
}

impl AlertEvent {
    /// Creates an event of a mailbox. `account` and `user` say whose, and are part of its id.
    #[must_use]
    pub fn new(
        kind: AlertKind,
        at: Timestamp,
        account: Option<String>,
        user: Option<String>,
    ) -> Self {
        let id = derive_id(kind, at, account.as_deref(), user.as_deref());
        Self {
            id,
            kind,
            at,
            account,
            user,
            problem: None,
            detail: String::new(),
            count: 1,
        }
    }

    /// Adds the problem.
    #[must_use]
    pub fn with_problem(mut self, problem: Option<ProblemCode>) -> Self {
        self.problem = problem;
        self
    }

    /// Adds a sentence, cut at 500 characters. It must contain nothing secret and no text of a mail.
    #[must_use]
    pub fn with_detail(mut self, detail: &str) -> Self {
        self.detail = detail.chars().take(DETAIL_CHARS).collect();
        self
    }

    /// Says how many changes this event stands for.
    #[must_use]
    pub fn with_count(mut self, count: u64) -> Self {
        self.count = count;
        self
    }
}

/// Derives the id, so that the same change has the same one in every process.
fn derive_id(kind: AlertKind, at: Timestamp, account: Option<&str>, user: Option<&str>) -> AlertId {
    let text = format!(
        "{kind}
{at}
{}
{}",
        account.unwrap_or_default(),
        user.unwrap_or_default()
    );
    let hash = digest(&SHA256, text.as_bytes());
    let id = format!("evt_{}", hex::encode(&hash.as_ref()[..16]));
    #[expect(clippy::expect_used, reason = "the form of an id")]
    id.parse().expect("32 hex digits")
}

impl AlertKind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::GrantRevoked,
        Self::WatchExpiring,
        Self::WatchExpired,
        Self::WebhookFailing,
        Self::MailStopped,
        Self::MailDeadLettered,
        Self::DeliveryDeadLettered,
        Self::MachineUnreachable,
        Self::MailboxSilent,
        Self::Recovered,
        Self::Test,
    ];

    /// The word that is sent and stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GrantRevoked => "grant.revoked",
            Self::WatchExpiring => "watch.expiring",
            Self::WatchExpired => "watch.expired",
            Self::WebhookFailing => "webhook.failing",
            Self::MailStopped => "mail.stopped",
            Self::MailDeadLettered => "mail.dead_lettered",
            Self::DeliveryDeadLettered => "delivery.dead_lettered",
            Self::MachineUnreachable => "machine.unreachable",
            Self::MailboxSilent => "mailbox.silent",
            Self::Recovered => "recovered",
            Self::Test => "test",
        }
    }

    /// The kind that reports a problem.
    #[must_use]
    pub const fn of(problem: ProblemCode) -> Self {
        match problem {
            ProblemCode::GrantRevoked => Self::GrantRevoked,
            ProblemCode::WatchExpired | ProblemCode::WatchMissing => Self::WatchExpired,
            ProblemCode::WebhookGone | ProblemCode::WebhookFailing => Self::WebhookFailing,
            ProblemCode::GmailRefusing
            | ProblemCode::CursorAhead
            | ProblemCode::SubscriptionMissing
            | ProblemCode::PullFailing
            | ProblemCode::WrongAccount
            | ProblemCode::StateUnwritable
            | ProblemCode::CredentialsUnreadable
            | ProblemCode::AccountsUnsupported
            | ProblemCode::Unknown => Self::MailStopped,
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for AlertKind {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or(InvalidId {
            expected: "a kind of alert",
        })
    }
}

impl Serialize for AlertKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for AlertKind {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let text = String::deserialize(value)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

const fn one() -> u64 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
const fn is_one(count: &u64) -> bool {
    *count == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: AlertKind, at: i64, account: &str) -> AlertEvent {
        let at = Timestamp::from_millis(at);
        AlertEvent::new(kind, at, Some(account.to_owned()), None)
    }

    #[test]
    fn the_same_change_has_the_same_id_and_another_has_another() {
        let first = event(AlertKind::GrantRevoked, 7, "ann@example.com");
        assert_eq!(first.id, first.clone().with_detail("again").id);
        for other in [
            event(AlertKind::Recovered, 7, "ann@example.com"),
            event(AlertKind::GrantRevoked, 8, "ann@example.com"),
            event(AlertKind::GrantRevoked, 7, "bob@example.com"),
        ] {
            assert_ne!(first.id, other.id);
        }
    }

    #[test]
    fn an_event_is_read_as_it_was_written() {
        for kind in AlertKind::ALL {
            let written = event(kind, 7, "ann@example.com")
                .with_problem(Some(ProblemCode::WebhookGone))
                .with_count(100);
            let text = serde_json::to_string(&written).unwrap();
            assert_eq!(serde_json::from_str::<AlertEvent>(&text).unwrap(), written);
        }
        let short = serde_json::to_value(event(AlertKind::Test, 7, "a@b")).unwrap();
        let keys: Vec<_> = short.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["account", "at", "id", "kind"]);
    }

    #[test]
    fn every_problem_has_a_kind() {
        for problem in ProblemCode::ALL {
            let kind = AlertKind::of(problem);
            assert!(!matches!(kind, AlertKind::Recovered | AlertKind::Test));
        }
    }
}
