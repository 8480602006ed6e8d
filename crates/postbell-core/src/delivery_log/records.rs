//! The records of the delivery log. Their JSON forms are the output of `postbell deliveries` and
//! `postbell dead-letters`, and keep their names.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{
    FailureKind, HistoryId, InvalidId, MessageId, ProblemCode, Timestamp, TraceId, UserId,
};

/// A message that could not be delivered.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Its number; later ones have greater numbers.
    pub id: i64,
    /// The user it was for.
    pub user: UserId,
    /// Pub/Sub's id of the message.
    pub message_id: MessageId,
    /// The history id of the notification; `None` if the message cannot be parsed.
    pub history_id: Option<HistoryId>,
    /// The kind of reason.
    pub reason: DeadLetterReason,
    /// The failure in a sentence.
    pub cause: String,
    /// The kind of failure; `None` if no delivery was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_kind: Option<FailureKind>,
    /// When it became a dead letter.
    #[serde(rename = "buriedAt")]
    pub dead_lettered_at: Timestamp,
}

/// Why a message became a dead letter.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeadLetterReason {
    /// It cannot be parsed as a notification. It cannot be replayed.
    Malformed,
    /// The machine refused it for good.
    Refused,
    /// All attempts failed. A machine that is back may accept it.
    Exhausted,
}

impl DeadLetterReason {
    /// The word that is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Refused => "refused",
            Self::Exhausted => "exhausted",
        }
    }
}

impl FromStr for DeadLetterReason {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            "malformed" => Ok(Self::Malformed),
            "refused" => Ok(Self::Refused),
            "exhausted" => Ok(Self::Exhausted),
            _ => Err(InvalidId {
                expected: "malformed, refused or exhausted",
            }),
        }
    }
}

/// One delivery attempt.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryRecord {
    /// Pub/Sub's id of the message.
    pub message_id: MessageId,
    /// The history id of the notification.
    pub history_id: HistoryId,
    /// How the attempt ended.
    pub outcome: Outcome,
    /// The failure in a sentence, if it failed.
    pub cause: Option<String>,
    /// The kind of failure, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_kind: Option<FailureKind>,
    /// How many attempts of the retry schedule had failed before.
    #[serde(rename = "failures")]
    pub attempt: u32,
    /// When the notification was accepted.
    pub accepted_at: Timestamp,
    /// When the attempt began.
    pub claimed_at: Timestamp,
    /// When the attempt ended.
    pub settled_at: Timestamp,
    /// The trace of the mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
}

/// The number of deliveries of a mailbox that ended in one hour.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HourlyCount {
    /// When the hour began.
    pub begins_at: Timestamp,
    /// Deliveries that the machine accepted.
    pub delivered: u32,
    /// Deliveries that failed, to be retried or for good.
    pub failed: u32,
}

impl HourlyCount {
    /// Milliseconds in an hour.
    const MILLIS: i64 = 60 * 60 * 1000;

    /// Returns zero counts for hour number `hour` since the Unix epoch.
    #[must_use]
    pub const fn of_hour(hour: i64) -> Self {
        Self {
            begins_at: Timestamp::from_millis(hour.saturating_mul(Self::MILLIS)),
            delivered: 0,
            failed: 0,
        }
    }

    /// Returns the number of the hour that contains `at`, since the Unix epoch.
    #[must_use]
    pub const fn hour_number(at: Timestamp) -> i64 {
        at.as_millis().div_euclid(Self::MILLIS)
    }
}

/// The pending notification of a mailbox.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingDelivery {
    /// The user whose mailbox it is.
    pub user: UserId,
    /// Pub/Sub's id of the message.
    pub message_id: MessageId,
    /// The history id of the notification.
    pub history_id: HistoryId,
    /// When the notification was accepted.
    pub accepted_at: Timestamp,
    /// When it is due; the end of the lease while its delivery is in progress.
    pub due_at: Timestamp,
    /// How many deliveries of the mailbox have failed in a row, including those of earlier
    /// notifications.
    #[serde(rename = "failures")]
    pub consecutive_failures: u32,
    /// When the first of these failed.
    pub failing_since: Option<Timestamp>,
    /// Whether its delivery is in progress.
    #[serde(rename = "underWay")]
    pub in_progress: bool,
    /// The problem for which it is parked, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked_for: Option<ProblemCode>,
}

/// How a delivery attempt ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The machine accepted it.
    Delivered,
    /// The user no longer wanted notifications.
    #[serde(rename = "dropped")]
    Unwanted,
    /// It failed and is retried.
    Failed,
    /// It became a dead letter.
    #[serde(rename = "buried")]
    DeadLettered,
    /// It failed because of a problem that the machine has reported, and waits until that is over.
    Parked,
}

impl Outcome {
    /// Returns what this adds to the delivered and to the failed of its hour.
    #[must_use]
    pub const fn counts_as(self) -> (u32, u32) {
        match self {
            Self::Delivered => (1, 0),
            Self::Unwanted => (0, 0),
            Self::Failed | Self::DeadLettered | Self::Parked => (0, 1),
        }
    }

    /// The word that is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Unwanted => "dropped",
            Self::Failed => "failed",
            Self::DeadLettered => "buried",
            Self::Parked => "parked",
        }
    }
}

impl FromStr for Outcome {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            "delivered" => Ok(Self::Delivered),
            "dropped" => Ok(Self::Unwanted),
            "failed" => Ok(Self::Failed),
            "buried" => Ok(Self::DeadLettered),
            "parked" => Ok(Self::Parked),
            _ => Err(InvalidId {
                expected: "delivered, dropped, failed, buried or parked",
            }),
        }
    }
}
