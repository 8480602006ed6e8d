//! Says of whom something has changed, to whoever listens in this process.

use tokio::sync::broadcast;

use crate::UserId;

/// How many changes a listener may be behind. One that falls further behind is told that it did,
/// and has missed nothing if it looks anew.
const BEHIND: usize = 1024;

/// Of whom something has changed: a hint to look again, which carries nothing of what changed.
///
/// A clone is the same. Telling never waits, and costs next to nothing while nobody listens.
#[derive(Clone, Debug)]
pub struct Changes(broadcast::Sender<UserId>);

impl Default for Changes {
    fn default() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }
}

impl Changes {
    /// Nobody listens yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that something of `user` has changed.
    pub fn tell(&self, user: &UserId) {
        if self.0.receiver_count() > 0 {
            // The last listener may have gone since.
            let _ = self.0.send(user.clone());
        }
    }

    /// Listens from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<UserId> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::RecvError;

    use super::*;

    #[tokio::test]
    async fn who_listens_hears_of_changes_and_of_having_missed_some() {
        let changes = Changes::new();
        let ann: UserId = "ann".parse().unwrap();
        changes.tell(&ann);
        let mut listener = changes.subscribe();
        changes.tell(&ann);
        assert_eq!(listener.recv().await, Ok(ann.clone()));
        for _ in 0..=BEHIND {
            changes.tell(&ann);
        }
        assert_eq!(listener.recv().await, Err(RecvError::Lagged(1)));
        assert_eq!(listener.recv().await, Ok(ann));
    }
}
