//! Messages that were just read, for a webhook call that is repeated.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::Clock;

use crate::arrival::Arrival;
use crate::filter::Candidate;

/// How long a message is kept. Gmail's quota counts each read for a minute, and labels may change.
const KEPT: Duration = Duration::from_secs(60);

/// How many messages are kept: those of a call, and of the next one, which are read during the call.
const MOST: usize = 200;

/// The longest text that is kept, in bytes.
const LONGEST: usize = 64 * 1024;

/// The messages of a failed webhook call, as they were at each change, so that its repeat does not read them again.
pub(crate) struct RecentlyRead {
    clock: Arc<dyn Clock>,
    kept: Mutex<HashMap<String, (Duration, Candidate)>>,
}

impl RecentlyRead {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            kept: Mutex::default(),
        }
    }

    /// The message as it was read for this change. After a later change, of its labels, it is read again.
    pub(crate) fn get(&self, arrival: &Arrival) -> Option<Candidate> {
        let now = self.clock.elapsed();
        let kept = self.kept.lock();
        let (read_at, candidate) = kept.get(&arrival.key())?;
        (now < *read_at + KEPT).then(|| candidate.clone())
    }

    /// Forgets messages that were read too long ago.
    pub(crate) fn forget_old(&self) {
        let now = self.clock.elapsed();
        let mut kept = self.kept.lock();
        kept.retain(|_, (read_at, _)| now < *read_at + KEPT);
    }

    /// Keeps a message, unless it is long, or was cut: a repeat may read more of it.
    pub(crate) fn put(&self, arrival: &Arrival, candidate: &Candidate) {
        let message = &candidate.message;
        let length = message.body.as_ref().map_or(0, String::len);
        if length > LONGEST || message.body_truncated.is_some() {
            return;
        }
        let now = self.clock.elapsed();
        let mut kept = self.kept.lock();
        if kept.len() < MOST {
            kept.insert(arrival.key(), (now, candidate.clone()));
        }
    }

    /// Forgets messages that are delivered.
    pub(crate) fn forget(&self, delivered: &[Arrival]) {
        let mut kept = self.kept.lock();
        for arrival in delivered {
            kept.remove(&arrival.key());
        }
        if kept.is_empty() {
            kept.shrink_to_fit();
        }
    }
}
