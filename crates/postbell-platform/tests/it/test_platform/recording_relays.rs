//! A test double of the relays.

use async_trait::async_trait;
use parking_lot::Mutex;
use postbell_core::{ProblemCode, UserId};
use postbell_platform::{CheckIn, Relays};

/// A relay that records its notifications. A change waits while a test holds its gate.
#[derive(Default)]
pub(crate) struct RecordingRelays(pub(crate) Mutex<Vec<String>>, pub(crate) Gate);

type Gate = tokio::sync::Mutex<()>;

#[async_trait]
impl Relays for RecordingRelays {
    async fn user_changed(&self, user: &UserId) {
        let _opened = self.1.lock().await;
        self.0.lock().push(format!("{user} has changed"));
    }

    async fn machine_checked_in(&self, _: &CheckIn, mailboxes: &[(UserId, Option<ProblemCode>)]) {
        for (user, _) in mailboxes {
            self.0.lock().push(format!("the machine of {user} is up"));
        }
    }
}
