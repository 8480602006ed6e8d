//! What was sent, held against what arrived.

use std::collections::BTreeMap;
use std::time::Duration;

use postbell_sandbox::{Delivered, Hook};
use serde::Serialize;
use serde_json::Value;

use super::taps::{Hops, Taps, millis};

/// What was sent, held against what arrived.
#[derive(Debug, Default)]
pub struct Journal {
    sent: BTreeMap<String, Sent>,
    arrived: usize,
    duplicates: usize,
}

#[derive(Debug)]
struct Sent {
    history_id: u64,
    at: Duration,
    has_arrived: bool,
}

/// A mail that reached the bot.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrived {
    /// Its subject, as the bot has it.
    pub subject: String,
    /// Gmail's id of it.
    pub message_id: String,
    /// Its place in the mailbox's history.
    pub history_id: String,
    /// How long each part of its way took, in milliseconds.
    pub hops: Hops,
    /// How long the whole way took, in milliseconds.
    pub total_ms: f64,
}

/// What became of all mails.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Summary {
    /// How many were sent.
    pub sent: usize,
    /// How many of them reached the bot.
    pub delivered: usize,
    /// How many did not.
    pub lost: usize,
    /// How often one came that had come before.
    pub duplicates: usize,
}

impl Journal {
    /// Notes a mail that is in Gmail since `at`.
    pub fn note_sent(&mut self, delivered: &Delivered, at: Duration) {
        let sent = Sent {
            history_id: delivered.history_id,
            at,
            has_arrived: false,
        };
        self.sent.insert(delivered.message_id.clone(), sent);
    }

    /// Notes a hook that the bot got at `at`, and returns the mails in it that are new.
    pub fn note_arrived(&mut self, hook: &Hook, at: Duration, taps: &Taps) -> Vec<Arrived> {
        let messages = hook.body["messages"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        messages
            .iter()
            .filter_map(|message| self.note_message(message, at, taps))
            .collect()
    }

    fn note_message(&mut self, message: &Value, at: Duration, taps: &Taps) -> Option<Arrived> {
        let message_id = message["id"].as_str()?.to_owned();
        let sent = self.sent.get_mut(&message_id)?;
        if sent.has_arrived {
            self.duplicates += 1;
            return None;
        }
        sent.has_arrived = true;
        self.arrived += 1;
        Some(Arrived {
            subject: message["subject"].as_str().unwrap_or_default().to_owned(),
            message_id,
            history_id: sent.history_id.to_string(),
            hops: taps.hops(sent.history_id, sent.at, at),
            total_ms: millis(at.saturating_sub(sent.at)),
        })
    }

    /// Whether everything that was sent has arrived.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.arrived == self.sent.len()
    }

    /// What became of all mails so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let (sent, delivered) = (self.sent.len(), self.arrived);
        Summary {
            sent,
            delivered,
            lost: sent - delivered,
            duplicates: self.duplicates,
        }
    }
}
