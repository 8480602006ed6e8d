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
    pub reason: DeathReason,
    /// Why, in a sentence.
    pub cause: String,
    /// When.
    pub buried_at: Timestamp,
}

/// Why something became a dead letter.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeathReason {
    /// It is no notification that we can read. It cannot be replayed.
    Malformed,
    /// The machine said that it will never take it.
    Refused,
    /// All attempts failed. A machine that is back may take it.
    Exhausted,
}

impl DeathReason {
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

impl FromStr for DeathReason {
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

/// How a delivery ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The machine has it.
    Delivered,
    /// Nobody wanted it any more.
    Dropped,
    /// It is to be repeated.
    Failed,
    /// It became a dead letter.
    Buried,
}

impl Outcome {
    /// The outcome as one word, as it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
            Self::Buried => "buried",
        }
    }
}

impl FromStr for Outcome {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            "delivered" => Ok(Self::Delivered),
            "dropped" => Ok(Self::Dropped),
            "failed" => Ok(Self::Failed),
            "buried" => Ok(Self::Buried),
            _ => Err(InvalidId {
                expected: "delivered, dropped, failed or buried",
            }),
        }
    }
}
