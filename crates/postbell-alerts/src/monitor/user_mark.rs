//! The state of a user between two observations.

use std::time::Duration;

use postbell_core::{AlertMark, InstanceStatus, Timestamp};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{AlertState, Burst};

/// The state of a user.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct UserMark {
    /// The last report.
    pub(super) state: AlertState,
    /// The last check-in of the machine.
    pub(super) checked_in_at: Option<Timestamp>,
    /// Whether the machine checks in again and again, so that its silence means something.
    is_regular: bool,
    /// How many mails the watcher had set aside, and those that were not reported yet.
    dead_letters: u64,
    pub(super) new_dead_letters: Burst,
}

impl UserMark {
    pub(super) fn read(mark: &AlertMark) -> Self {
        if mark.state.is_empty() {
            return Self::default();
        }
        serde_json::from_str(&mark.state).unwrap_or_else(|error| {
            warn!(%error, "Ignored the state of a user, because it cannot be read");
            Self::default()
        })
    }

    pub(super) fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Records a check-in.
    pub(super) fn check_in(&mut self, at: Timestamp, regular: Duration) {
        let before = self.checked_in_at.replace(at);
        self.is_regular = before.is_some_and(|before| at - before <= regular);
    }

    /// Records how many mails the watcher has set aside.
    pub(super) fn count_dead_letters(&mut self, number: u64, now: Timestamp) {
        let new = number.saturating_sub(self.dead_letters);
        self.new_dead_letters.add(new, now);
        self.dead_letters = number;
    }

    /// When the machine was last heard of, if its silence would be news: one that is off is silent.
    pub(super) fn last_heard_at(&self, status: InstanceStatus) -> Option<Timestamp> {
        let is_news = self.is_regular && status == InstanceStatus::Running;
        self.checked_in_at.filter(|_| is_news)
    }
}
