//! Pulls notifications from a subscription.

mod held;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use postbell_core::{Backoff, Clock, ProblemCode, wait_for};
use postbell_google::{
    MailboxChanged, PubSubAdmin, PullError, PullSubscription, Pulled, PushBody, TokenError,
    TokenSource,
};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use url::Url;

use self::held::{Arrived, HeldNotifications};
use crate::error::{grant_revoked, with_causes};
use crate::problems::{Problem, ProblemSource};
use crate::server::PushServers;
use crate::sync::SyncEngine;
use crate::verify::verify_subscription;

/// First and longest delay after a failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The time between two checks of a subscription that works: Pub/Sub says nothing about a subscription
/// whose topic was deleted, and then there is nothing to pull.
const CHECK_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The same while there is a problem; also how long pulling must go without an error to be over one.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(2 * 60);

/// Pulls notifications from a subscription and hands them to the watchers of their mailboxes.
pub struct Puller {
    /// Pub/Sub API.
    pub endpoint: Url,
    /// Access tokens that may pull.
    pub tokens: Arc<TokenSource>,
    /// The subscription, as `projects/P/subscriptions/S`.
    pub subscription: String,
    /// The same API, which is asked about the subscription.
    pub pubsub: PubSubAdmin,
    /// The watchers whose mailboxes publish to the subscription.
    pub servers: PushServers,
    /// Their sync engines, which store the problem.
    pub syncs: Vec<Arc<SyncEngine>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Returns a random number from 0 to 1.
    pub jitter: fn() -> f64,
}

/// What pulling and checking tell each other.
#[derive(Default)]
struct Progress {
    /// The last error, and when it came.
    failed: Mutex<Option<(Instant, Problem)>>,
    /// Requests a check now.
    check: Notify,
}

impl Puller {
    /// Opens the subscription.
    ///
    /// # Errors
    ///
    /// [`PullError`] if Google refuses it.
    pub async fn open(&self) -> Result<PullSubscription, PullError> {
        PullSubscription::open(&self.endpoint, Arc::clone(&self.tokens), &self.subscription).await
    }

    /// Pulls notifications until `stop`, and syncs their mailboxes side by side. One sync also covers the
    /// notifications of its mailbox that arrive meanwhile. A subscription that is not opened yet is opened,
    /// however often that fails.
    pub async fn run(self, subscription: Option<PullSubscription>, stop: CancellationToken) {
        let progress = Progress::default();
        let held = HeldNotifications::default();
        let (begun, mailboxes) = mpsc::unbounded_channel();
        let pull = async {
            self.pull(subscription, &progress, &held, &begun, &stop)
                .await;
            // Ends the syncs.
            drop(begun);
        };
        tokio::join!(
            pull,
            self.sync_all(&held, mailboxes, &stop),
            self.check(&progress, &stop),
        );
    }

    async fn pull(
        &self,
        subscription: Option<PullSubscription>,
        progress: &Progress,
        held: &HeldNotifications<Pulled>,
        begun: &mpsc::UnboundedSender<String>,
        stop: &CancellationToken,
    ) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut opened = subscription;
        let mut subscription = loop {
            if let Some(opened) = opened {
                break opened;
            }
            if stop.is_cancelled() {
                return;
            }
            opened = match self.open().await {
                Ok(opened) => Some(opened),
                Err(error) => {
                    self.failed(&error, progress);
                    self.pause(&mut backoff, stop).await;
                    None
                }
            };
        };
        loop {
            let Some(next) = stop.run_until_cancelled(subscription.next()).await else {
                return;
            };
            if next.is_ok() && progress.failed.lock().take().is_some() {
                progress.check.notify_one();
            }
            match next {
                Ok(pulled) => {
                    backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
                    Self::hold(pulled, held, begun);
                }
                Err(error) => {
                    self.failed(&error, progress);
                    self.pause(&mut backoff, stop).await;
                    if let Ok(opened) = self.open().await {
                        subscription = opened;
                    }
                }
            }
        }
    }

    /// Keeps a notification until its mailbox is synced. Of several that wait for a mailbox, the one with the greatest
    /// history id stands for the others.
    fn hold(
        pulled: Pulled,
        held: &HeldNotifications<Pulled>,
        begun: &mpsc::UnboundedSender<String>,
    ) {
        let MailboxChanged {
            email_address: mailbox,
            history_id,
        } = match PushBody::read(&pulled.data).notification {
            Ok(changed) => changed,
            Err(expected) => {
                warn!(expected, "Dropped a malformed notification");
                pulled.done();
                return;
            }
        };
        match held.arrived(&mailbox, history_id, pulled) {
            Arrived::First => {
                // It is received until this function's caller ends.
                let _ = begun.send(mailbox);
            }
            Arrived::Covered(other) => other.done(),
            Arrived::Second => (),
        }
    }

    /// Syncs each mailbox of which a notification is held, until no more can arrive.
    async fn sync_all(
        &self,
        held: &HeldNotifications<Pulled>,
        mut mailboxes: mpsc::UnboundedReceiver<String>,
        stop: &CancellationToken,
    ) {
        let mut syncs = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(mailbox) = mailboxes.recv() => syncs.push(self.sync(mailbox, held, stop)),
                Some(()) = syncs.next() => (),
                else => return,
            }
        }
    }

    /// Syncs a mailbox until none of its notifications is held. Waits after each failure: Pub/Sub would
    /// repeat a notification at once. At a stop Pub/Sub gets back what is still held.
    async fn sync(
        &self,
        mailbox: String,
        held: &HeldNotifications<Pulled>,
        stop: &CancellationToken,
    ) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        while let Some((id, pulled)) = held.current(&mailbox) {
            if self.servers.pulled(&pulled.data).await {
                pulled.done();
                backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
            } else {
                warn!(wait = ?backoff.peek(), "Keeping a notification for a retry");
                self.pause(&mut backoff, stop).await;
                if stop.is_cancelled() {
                    pulled.again();
                } else if let Some(older) = held.again(&mailbox, id, pulled) {
                    older.done();
                }
            }
        }
    }

    fn failed(&self, error: &PullError, progress: &Progress) {
        let name = &self.subscription;
        error!(
            error = error as &dyn std::error::Error,
            "Cannot pull from {name} (--subscription)"
        );
        let is_of_one = self.syncs.len() == 1;
        *progress.failed.lock() = Some((Instant::now(), problem(error, is_of_one)));
        progress.check.notify_one();
    }

    /// Checks the subscription now and then, and after each error, and reports what it finds.
    async fn check(&self, progress: &Progress, stop: &CancellationToken) {
        loop {
            let mut pause = CHECK_INTERVAL;
            for sync in &self.syncs {
                let problem = self.problem(sync, progress).await;
                if problem.is_some() {
                    pause = RECOVERY_INTERVAL;
                }
                sync.report(ProblemSource::Pull, problem).await;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = wait_for(&*self.clock, pause) => (),
                () = progress.check.notified() => (),
            }
        }
    }

    async fn problem(&self, sync: &SyncEngine, progress: &Progress) -> Option<Problem> {
        let state = sync.state().await;
        let asked = verify_subscription(&self.pubsub, &state, sync.now());
        if let Ok(Some(found)) = asked.await {
            return Some(Problem::new(found.code, found.detail));
        }
        // A subscription that works reports no error for a while.
        let mut failed = progress.failed.lock();
        let is_over = |at: &Instant| at.elapsed() >= RECOVERY_INTERVAL;
        if failed.as_ref().is_some_and(|(at, _)| is_over(at)) {
            *failed = None;
        }
        failed.as_ref().map(|(_, problem)| problem.clone())
    }

    async fn pause(&self, backoff: &mut Backoff, stop: &CancellationToken) {
        let wait = backoff.next_jittered((self.jitter)());
        stop.run_until_cancelled(sleep(wait)).await;
    }
}

/// The problem of a failed pull. A subscription of several mailboxes is pulled with the credentials of one, whose grant is no
/// concern of the others' owners.
fn problem(error: &PullError, is_of_one: bool) -> Problem {
    if let (Some(TokenError::GrantRevoked), true) = (error.token_error(), is_of_one) {
        return grant_revoked();
    }
    let code = match error {
        PullError::Missing(_) => ProblemCode::SubscriptionMissing,
        PullError::Denied(_) | PullError::Unavailable(_) => ProblemCode::PullFailing,
    };
    Problem::new(code, with_causes(error))
}
