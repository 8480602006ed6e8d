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
    /// End-to-end latency of each mail that the bot received, in milliseconds.
    latencies: Vec<f64>,
    duplicates: usize,
    /// Files that could not be sent.
    pub refused: usize,
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

/// Counts of sent and received mails, and their latencies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Mails sent.
    pub sent: usize,
    /// Files that could not be sent.
    pub refused: usize,
    /// Mails that the bot received.
    pub delivered: usize,
    /// Mails that it did not receive.
    pub lost: usize,
    /// Mails that it received again.
    pub duplicates: usize,
    /// End-to-end latencies, in milliseconds. `None` if no mail arrived.
    pub total_ms: Option<Latencies>,
}

/// A distribution of latencies, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latencies {
    /// Half of them are at most this long.
    pub median: f64,
    /// 99 of 100 are at most this long.
    pub p99: f64,
    /// The longest.
    pub maximum: f64,
}

impl Latencies {
    fn of(latencies: &[f64]) -> Option<Self> {
        let mut sorted = latencies.to_vec();
        sorted.sort_by(f64::total_cmp);
        // The nearest rank: the smallest one that is not shorter than so many of 100.
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100);
            sorted.get(rank.saturating_sub(1)).copied()
        };
        Some(Self {
            median: at(50)?,
            p99: at(99)?,
            maximum: at(100)?,
        })
    }
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
        let total_ms = millis(at.saturating_sub(sent.at));
        self.latencies.push(total_ms);
        Some(Delivered {
            subject: message["subject"].as_str().unwrap_or_default().to_owned(),
            message_id,
            history_id: sent.history_id.to_string(),
            hops: tracer.hops(sent.history_id, sent.at, at),
            total_ms,
        })
    }

    /// Whether the bot has received every mail.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.latencies.len() == self.sent.len()
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let (sent, delivered) = (self.sent.len(), self.latencies.len());
        Summary {
            sent,
            refused: self.refused,
            delivered,
            lost: sent - delivered,
            duplicates: self.duplicates,
            total_ms: Latencies::of(&self.latencies),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_the_nearest_ranks() {
        let of = |count: u32| {
            let latencies: Vec<_> = (1..=count).rev().map(f64::from).collect();
            let Latencies {
                median,
                p99,
                maximum,
            } = Latencies::of(&latencies).unwrap();
            [median, p99, maximum]
        };
        assert_eq!(of(1), [1.0, 1.0, 1.0]);
        assert_eq!(of(5), [3.0, 5.0, 5.0]);
        assert_eq!(of(1000), [500.0, 990.0, 1000.0]);
        assert_eq!(Latencies::of(&[]), None);
    }
}
