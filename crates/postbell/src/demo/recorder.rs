//! Compares the mails that were sent with those that the bot received.

use std::collections::BTreeMap;
use std::time::Duration;

use postbell_sandbox::{Delivered as SentMail, Hook};
use serde::Serialize;
use serde_json::Value;

use super::hop_tracer::{HopTracer, Hops, millis};

/// Compares the mails that were sent with those that the bot received.
#[derive(Debug, Default)]
pub struct Recorder {
    sent: BTreeMap<String, Sent>,
    delivered: usize,
    duplicates: usize,
}

#[derive(Debug)]
struct Sent {
    history_id: u64,
    at: Duration,
    is_delivered: bool,
}

/// A mail that the bot received.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivered {
    /// Subject in the webhook's payload.
    pub subject: String,
    /// Gmail's message id.
    pub message_id: String,
    /// History id at which Gmail added it.
    pub history_id: String,
    /// Latency of each hop, in milliseconds.
    pub hops: Hops,
    /// End-to-end latency, in milliseconds.
    pub total_ms: f64,
}

/// Counts of sent and received mails.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Summary {
    /// Mails sent.
    pub sent: usize,
    /// Mails that the bot received.
    pub delivered: usize,
    /// Mails that it did not receive.
    pub lost: usize,
    /// Mails that it received again.
    pub duplicates: usize,
}

impl Recorder {
    /// Records a mail that Gmail received at `at`.
    pub fn record_sent(&mut self, mail: &SentMail, at: Duration) {
        let sent = Sent {
            history_id: mail.history_id,
            at,
            is_delivered: false,
        };
        self.sent.insert(mail.message_id.clone(), sent);
    }

    /// Records a webhook call that the bot received at `at`, and returns the new mails in it.
    pub fn record_webhook(
        &mut self,
        hook: &Hook,
        at: Duration,
        tracer: &HopTracer,
    ) -> Vec<Delivered> {
        let messages = hook.body["messages"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        messages
            .iter()
            .filter_map(|message| self.record_message(message, at, tracer))
            .collect()
    }

    fn record_message(
        &mut self,
        message: &Value,
        at: Duration,
        tracer: &HopTracer,
    ) -> Option<Delivered> {
        let message_id = message["id"].as_str()?.to_owned();
        let sent = self.sent.get_mut(&message_id)?;
        if sent.is_delivered {
            self.duplicates += 1;
            return None;
        }
        sent.is_delivered = true;
        self.delivered += 1;
        Some(Delivered {
            subject: message["subject"].as_str().unwrap_or_default().to_owned(),
            message_id,
            history_id: sent.history_id.to_string(),
            hops: tracer.hops(sent.history_id, sent.at, at),
            total_ms: millis(at.saturating_sub(sent.at)),
        })
    }

    /// Whether the bot has received every mail.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.delivered == self.sent.len()
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let (sent, delivered) = (self.sent.len(), self.delivered);
        Summary {
            sent,
            delivered,
            lost: sent - delivered,
            duplicates: self.duplicates,
        }
    }
}
