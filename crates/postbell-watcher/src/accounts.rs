//! The accounts of a machine that has several, each with a watcher of its own, which start and end while the process
//! runs.

mod route;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use futures_util::FutureExt;
use futures_util::future::{join_all, select_all};
use postbell_core::{Backoff, BoxError, Clock, Tasks, Timestamp};
use postbell_protocol::watched_accounts::WatchedAccount;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::monitor::Monitors;
use crate::push_auth::PushAuth;
use crate::server::PushServers;
use crate::watcher::Watcher;

/// How many changes may wait.
const QUEUED: usize = 4;

/// The waits before a watcher that has ended or could not be opened is opened again, as between restarts of a process.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

/// How long a watcher must run until its next end counts as the first one.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);

/// How long a watcher that is to end may go on with a sync. The sync itself takes at most 5 seconds of it.
const GRACE: Duration = Duration::from_secs(8);

/// Opens watchers.
#[async_trait]
pub trait OpenAccount: Send + Sync + 'static {
    /// Opens the watcher of an account, and starts what it does in the background in `tasks`. It counts as ended once
    /// one of these tasks ends.
    ///
    /// # Errors
    ///
    /// The account cannot be watched now. It is tried again.
    async fn open(&self, account: &WatchedAccount, tasks: &Tasks) -> Result<Watcher, BoxError>;
}

/// Watches the accounts of a machine. The failure of one stops no other.
pub struct Accounts<O> {
    opener: O,
    servers: PushServers,
    monitors: Monitors,
    clock: Arc<dyn Clock>,
    /// Returns a random number from 0 to 1.
    jitter: fn() -> f64,
    slots: Vec<Slot>,
    changes: mpsc::Receiver<Change>,
}

/// The routes of [`Accounts`].
#[derive(Clone)]
pub struct AccountRoutes {
    servers: PushServers,
    monitors: Monitors,
    changes: mpsc::Sender<Change>,
}

/// A request to watch these accounts, and its answer.
struct Change {
    accounts: Vec<WatchedAccount>,
    done: oneshot::Sender<()>,
}

/// An account with its watcher.
struct Slot {
    account: WatchedAccount,
    running: Option<Running>,
    backoff: Backoff,
    retry_at: Instant,
    /// Since when there is no watcher.
    closed_since: Timestamp,
}

struct Running {
    watcher: Watcher,
    tasks: Tasks,
    since: Instant,
}

impl<O: OpenAccount> Accounts<O> {
    /// Opens the watchers of the accounts. Returns them with their routes: those of pushes, of monitoring, and the one
    /// that replaces the accounts. All callers but those of monitoring are authenticated by `push_auth`.
    pub async fn open(
        opener: O,
        accounts: Vec<WatchedAccount>,
        push_auth: PushAuth,
        clock: Arc<dyn Clock>,
        jitter: fn() -> f64,
    ) -> (Self, AccountRoutes) {
        let (sender, changes) = mpsc::channel(QUEUED);
        let servers = PushServers::of_accounts(push_auth, Arc::clone(&clock));
        let monitors = Monitors::new(Vec::new());
        let routes = AccountRoutes {
            servers: servers.clone(),
            monitors: monitors.clone(),
            changes: sender,
        };
        let mut opened = Self {
            opener,
            servers,
            monitors,
            clock,
            jitter,
            slots: Vec::new(),
            changes,
        };
        opened.replace(accounts).await;
        (opened, routes)
    }

    /// Watches until `stop` is cancelled, then ends all watchers.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let retry_at = self.slots.iter().filter_map(Slot::retry_at).min();
            let next = tokio::select! {
                () = stop.cancelled() => break,
                Some(change) = self.changes.recv() => Next::Change(change),
                ended = any_ended(&self.slots) => Next::Ended(ended),
                () = at(retry_at) => Next::Retry,
            };
            let done = match next {
                Next::Change(Change { accounts, done }) => {
                    let replacing = self.replace(accounts);
                    let replaced = stop.run_until_cancelled(replacing).await;
                    if replaced.is_some() {
                        // The caller may have gone.
                        let _ = done.send(());
                    }
                    replaced
                }
                Next::Ended(slot) => {
                    self.reopen_later(slot).await;
                    Some(())
                }
                Next::Retry => stop.run_until_cancelled(self.open_due()).await,
            };
            if done.is_none() {
                break;
            }
        }
        for slot in &mut self.slots {
            slot.account.is_paused = true;
        }
        self.close_unwanted().await;
    }

    /// Ends the watchers that are no longer wanted, and opens the new ones. The others run on.
    async fn replace(&mut self, accounts: Vec<WatchedAccount>) {
        let mut before = std::mem::take(&mut self.slots);
        for account in accounts {
            let same = |slot: &Slot| slot.account.email == account.email;
            let slot = match before.iter().position(same) {
                Some(known) => Slot {
                    account,
                    ..before.swap_remove(known)
                },
                None => Slot::new(account, self.clock.now()),
            };
            self.slots.push(Slot {
                // A change is a new chance.
                retry_at: Instant::now(),
                ..slot
            });
        }
        let kept = self.slots.len();
        self.slots.extend(before.into_iter().map(|slot| Slot {
            account: WatchedAccount {
                is_paused: true,
                ..slot.account
            },
            ..slot
        }));
        let removed = self.slots.split_off(kept);
        // Their pushes fail from now on, and those of paused ones wait.
        self.publish();
        self.slots.extend(removed);
        self.close_unwanted().await;
        self.slots.truncate(kept);
        self.open_due().await;
    }

    /// Ends the watchers of paused accounts.
    async fn close_unwanted(&mut self) {
        let (now, instant) = (self.clock.now(), Instant::now());
        let unwanted = self.slots.iter_mut().filter(|slot| slot.account.is_paused);
        let closing = unwanted.filter_map(|slot| {
            (slot.closed_since, slot.retry_at) = (now, instant);
            slot.running.take().map(close)
        });
        join_all(closing.collect::<Vec<_>>()).await;
    }

    /// Opens the watchers that are missing, if it is time to.
    async fn open_due(&mut self) {
        let now = Instant::now();
        let due = |slot: &&mut Slot| slot.retry_at().is_some_and(|at| at <= now);
        let opener = &self.opener;
        let jitter = self.jitter;
        let opening = self.slots.iter_mut().filter(due).map(|slot| async move {
            let tasks = Tasks::new();
            match opener.open(&slot.account, &tasks).await {
                Ok(watcher) => {
                    info!(mailbox = slot.account.name, "This mailbox is watched");
                    slot.running = Some(Running {
                        watcher,
                        tasks,
                        since: Instant::now(),
                    });
                }
                Err(error) => {
                    let wait = slot.backoff.next_jittered(jitter());
                    slot.retry_at = Instant::now() + wait;
                    error!(
                        mailbox = slot.account.name,
                        ?wait,
                        error = &*error as &dyn std::error::Error,
                        "This mailbox is not watched; trying again"
                    );
                }
            }
        });
        join_all(opening.collect::<Vec<_>>()).await;
        self.publish();
    }

    /// Closes a watcher that has ended by itself.
    async fn reopen_later(&mut self, slot: usize) {
        let now = self.clock.now();
        let Some(slot) = self.slots.get_mut(slot) else {
            return;
        };
        let Some(running) = slot.running.take() else {
            return;
        };
        if running.since.elapsed() >= HEALTHY_AFTER {
            slot.backoff.reset();
        }
        let wait = slot.backoff.next_jittered((self.jitter)());
        (slot.closed_since, slot.retry_at) = (now, Instant::now() + wait);
        let mailbox = slot.account.name.clone();
        warn!(
            mailbox,
            ?wait,
            "The watcher of this mailbox has ended; starting it again"
        );
        self.publish();
        close(running).await;
    }

    /// Shows what is watched to pushes and to monitoring.
    fn publish(&self) {
        let running = || {
            let slots = self.slots.iter();
            slots.filter_map(|slot| Some((&slot.account, slot.running.as_ref()?)))
        };
        let wanted = |slot: &&Slot| !slot.account.is_paused;
        let servers = running().filter(|(account, _)| !account.is_paused);
        let servers = servers.map(|(_, running)| running.watcher.server.clone());
        let now = Instant::now();
        // Those whose opening has failed are not waited for.
        let is_waited_for = |slot: &&Slot| {
            slot.account.is_paused || (slot.running.is_none() && slot.retry_at <= now)
        };
        let paused = self.slots.iter().filter(is_waited_for);
        let paused = paused.map(|slot| slot.account.email.clone());
        self.servers.replace(servers.collect(), paused.collect());
        let monitors = running().map(|(account, running)| {
            let monitor = running.watcher.monitor.clone();
            (account.name.clone(), monitor)
        });
        let closed = self.slots.iter().filter(wanted);
        let closed = closed.filter(|slot| slot.running.is_none());
        let closed = closed.map(|slot| (slot.account.name.clone(), slot.closed_since));
        self.monitors.replace(monitors.collect(), closed);
    }
}

/// What the accounts do next.
enum Next {
    Change(Change),
    /// The watcher of this slot has ended.
    Ended(usize),
    Retry,
}

impl Slot {
    fn new(account: WatchedAccount, now: Timestamp) -> Self {
        Self {
            account,
            running: None,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            retry_at: Instant::now(),
            closed_since: now,
        }
    }

    /// When it is to be opened, unless it is open or paused.
    fn retry_at(&self) -> Option<Instant> {
        let is_missing = self.running.is_none() && !self.account.is_paused;
        is_missing.then_some(self.retry_at)
    }
}

async fn close(running: Running) {
    let Running { watcher, tasks, .. } = running;
    if tasks.stop(GRACE).await.is_err() {
        warn!("A watcher did not end in time");
    }
    drop(watcher);
}

/// Completes with the number of a slot whose watcher has ended.
async fn any_ended(slots: &[Slot]) -> usize {
    let ended = slots.iter().enumerate().filter_map(|(number, slot)| {
        let tasks = &slot.running.as_ref()?.tasks;
        Some(tasks.stopping().map(move |()| number).boxed())
    });
    let ended: Vec<_> = ended.collect();
    if ended.is_empty() {
        return pending().await;
    }
    select_all(ended).await.0
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

impl AccountRoutes {
    /// The routes, that of pushes at `path`.
    pub fn router(&self, path: &str) -> Router {
        self.servers
            .router(path)
            .merge(self.monitors.router())
            .merge(route::routes(self))
    }

    /// What keeps the mail of an account from getting through.
    #[must_use]
    pub fn monitors(&self) -> Monitors {
        self.monitors.clone()
    }
}
