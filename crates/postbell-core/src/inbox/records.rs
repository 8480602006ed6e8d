//! What an inbox keeps for people to look at: dead letters and the last deliveries.

use std::str::FromStr;

use serde::Serialize;

use crate::{HistoryId, InvalidId, MessageId, Timestamp, UserId};

/// What could not be delivered.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Its number, in the order of burial.
    pub id: i64,
    /// Whose it was.
    pub user: UserId,
    /// Pub/Sub's id of the message.
    pub message_id: MessageId,
    /// How far the mailbox had come; `None` where the message cannot be read.
    pub history_id: Option<HistoryId>,
    /// Why it was given up, in one word.
    pub reason: DeadLetterReason,
    /// Why, in a sentence.
    pub cause: String,
    /// When.
    pub buried_at: Timestamp,
}

/// Why something became a dead letter.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeadLetterReason {
    /// It is no notification that we can read. It cannot be replayed.
    Malformed,
    /// The machine said that it will never take it.
    Refused,
    /// All attempts failed. A machine that is back may take it.
    Exhausted,
}

impl DeadLetterReason {
    /// The reason as one word, as it is stored and shown.
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

/// One delivery that was tried.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryRecord {
    /// Pub/Sub's id of the message.
    pub message_id: MessageId,
    /// How far the mailbox had come.
    pub history_id: HistoryId,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong, if anything did.
    pub cause: Option<String>,
    /// How many deliveries in a row had failed before.
    pub failures: u32,
    /// When the notification was accepted.
    pub accepted_at: Timestamp,
    /// When this delivery began.
    pub claimed_at: Timestamp,
    /// When it ended.
    pub settled_at: Timestamp,
}

/// How many deliveries of a mailbox ended in one hour.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HourlyCount {
    /// When the hour began.
    pub begins_at: Timestamp,
    /// Those that the machine took.
    pub delivered: u32,
    /// Those that failed, for now or for good.
    pub failed: u32,
}

impl HourlyCount {
    /// Milliseconds in an hour.
    const MILLIS: i64 = 60 * 60 * 1000;

    /// No deliveries yet in hour number `hour` since the Unix epoch.
    #[must_use]
    pub const fn of_hour(hour: i64) -> Self {
        Self {
            begins_at: Timestamp::from_millis(hour.saturating_mul(Self::MILLIS)),
            delivered: 0,
            failed: 0,
        }
    }

    /// The number of the hour that a time is in, since the Unix epoch.
    #[must_use]
    pub const fn number(at: Timestamp) -> i64 {
        at.as_millis().div_euclid(Self::MILLIS)
    }
}

/// What waits for a mailbox.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingDelivery {
    /// Whose mailbox.
    pub user: UserId,
    /// Pub/Sub's id of the message.
    pub message_id: MessageId,
    /// How far the mailbox has come.
    pub history_id: HistoryId,
    /// When the notification was accepted.
    pub accepted_at: Timestamp,
    /// When it is due; the end of the lease while it is being delivered.
    pub due_at: Timestamp,
    /// How many deliveries of the mailbox in a row have failed, those of earlier notifications
    /// included.
    pub failures: u32,
    /// When the first of these failed.
    pub failing_since: Option<Timestamp>,
    /// Whether it is being delivered: a claim of it is not settled.
    pub under_way: bool,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The machine has it.
    Delivered,
    /// Its user no longer wants notifications.
    #[serde(rename = "dropped")]
    Unwanted,
    /// It is to be repeated.
    Failed,
    /// It became a dead letter.
    #[serde(rename = "buried")]
    DeadLettered,
}

impl Outcome {
    /// What this adds to its hour: delivered, and failed. What nobody wanted is neither.
    #[must_use]
    pub const fn counts_as(self) -> (u32, u32) {
        match self {
            Self::Delivered => (1, 0),
            Self::Unwanted => (0, 0),
            Self::Failed | Self::DeadLettered => (0, 1),
        }
    }

    /// The outcome as one word, as it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Unwanted => "dropped",
            Self::Failed => "failed",
            Self::DeadLettered => "buried",
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
            _ => Err(InvalidId {
                expected: "delivered, dropped, failed or buried",
            }),
        }
    }
}
