//! Group commit: all writes to mailboxes that have arrived share one transaction.
//!
//! A lane has a connection of its own and the mailboxes of some users, so that the writes of one
//! mailbox stay in order.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postbell_core::{Changes, Timestamp, UserId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::error;

use super::clock::ClockMark;
use super::connection::Connection;
use super::connector::Connector;
use super::failure::Failure;
use super::mailbox_row::LoadedMailbox;
use super::mailboxes::{Locking, Mailboxes};
use super::readiness::Readiness;
use super::session::{Call, Session};
use super::unanswered::Unanswered;

/// How many groups are written at once.
const LANES: usize = 4;

/// How many writes may be queued in a lane. Further ones fail at once, before memory grows.
const QUEUED: usize = 1024;

/// How many writes share a commit at most.
const GROUP: usize = 256;

/// How long a write waits for its turn.
const QUEUE_WAIT: Duration = Duration::from_secs(5);

/// How long a group may take, with the wait for a standby.
const GROUP_TIMEOUT: Duration = Duration::from_secs(10);

/// How many connections of a lane may wait for the answer to a write that took too long. Another server may answer
/// when the first one does not.
const UNANSWERED: usize = 2;

/// The lanes of a database.
pub(super) struct Lanes {
    shared: Arc<Shared>,
    /// Each is started when it is first used, and again if the runtime that ran it has ended.
    senders: [Mutex<Option<mpsc::Sender<Queued>>>; LANES],
    /// The tasks of the lanes. They end with the store; its callers wait for what they have begun.
    tasks: Mutex<JoinSet<()>>,
}

struct Shared {
    connector: Arc<Connector>,
    changes: Changes,
    clock: ClockMark,
    readiness: Arc<Readiness>,
}

struct Queued {
    user: UserId,
    locking: Locking,
    /// Whether it needs the exhausted dead letters.
    checks_in: bool,
    deadline: Instant,
    write: Box<dyn Write>,
}

/// One write: decides on what was read, and is answered after the commit.
trait Write: Send {
    /// May run again, on what another transaction has stored since.
    fn decide(&mut self, mailbox: &mut LoadedMailbox);
    fn answer(self: Box<Self>, commit: Result<(), Arc<Failure>>);
}

struct Decision<F, T> {
    decide: F,
    outcome: Option<T>,
    reply: oneshot::Sender<Result<T, Failure>>,
}

impl<F, T> Write for Decision<F, T>
where
    F: Fn(&mut LoadedMailbox) -> T + Send,
    T: Send,
{
    fn decide(&mut self, mailbox: &mut LoadedMailbox) {
        self.outcome = Some((self.decide)(mailbox));
    }

    fn answer(self: Box<Self>, commit: Result<(), Arc<Failure>>) {
        let answer = match (commit, self.outcome) {
            (Err(failure), _) => Err(Failure::Group(failure)),
            (Ok(()), Some(outcome)) => Ok(outcome),
            (Ok(()), None) => Err(Failure::Overloaded("the write was not run")),
        };
        // The caller may have gone: a push whose sender hung up is accepted as well.
        let _ = self.reply.send(answer);
    }
}

impl Lanes {
    pub(super) fn new(connector: Arc<Connector>, changes: Changes) -> Self {
        Self {
            shared: Arc::new(Shared {
                connector,
                changes,
                clock: ClockMark::default(),
                readiness: Arc::default(),
            }),
            senders: Default::default(),
            tasks: Mutex::default(),
        }
    }

    /// Runs a decision about the mailbox of `user` that changes only its row, and returns once its result is durable.
    pub(super) async fn accept<T: Send + 'static>(
        &self,
        user: &UserId,
        decide: impl Fn(&mut LoadedMailbox) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.send(user, Locking::Unlocked, false, decide).await
    }

    /// Runs a decision that changes more.
    pub(super) async fn settle<T: Send + 'static>(
        &self,
        user: &UserId,
        decide: impl Fn(&mut LoadedMailbox) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.send(user, Locking::Locked, false, decide).await
    }

    /// Runs a decision that also needs the user's exhausted dead letters.
    pub(super) async fn check_in<T: Send + 'static>(
        &self,
        user: &UserId,
        decide: impl Fn(&mut LoadedMailbox) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.send(user, Locking::Locked, true, decide).await
    }

    /// The state of the writes.
    pub(super) fn readiness(&self) -> &Arc<Readiness> {
        &self.shared.readiness
    }

    /// The time at which something was scheduled last.
    pub(super) fn clock(&self) -> &ClockMark {
        &self.shared.clock
    }

    async fn send<T: Send + 'static>(
        &self,
        user: &UserId,
        locking: Locking,
        checks_in: bool,
        decide: impl Fn(&mut LoadedMailbox) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.shared.connector.must_write()?;
        self.shared.readiness.admit()?;
        let (reply, answer) = oneshot::channel();
        let queued = Queued {
            user: user.clone(),
            locking,
            checks_in,
            deadline: Instant::now() + QUEUE_WAIT,
            write: Box::new(Decision {
                decide,
                outcome: None,
                reply,
            }),
        };
        let overloaded = || Failure::Overloaded("too many writes are queued");
        let sender = self.sender(user);
        sender.try_send(queued).map_err(|_| overloaded())?;
        answer.await.unwrap_or_else(|_| Err(overloaded()))
    }

    fn sender(&self, user: &UserId) -> mpsc::Sender<Queued> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(user);
        let lane = usize::try_from(hash % LANES as u64).unwrap_or(0);
        let mut sender = self.senders[lane]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = sender.as_ref().filter(|sender| !sender.is_closed()) {
            return running.clone();
        }
        let (started, queued) = mpsc::channel(QUEUED);
        let lane = Lane {
            shared: Arc::clone(&self.shared),
            queued,
            connection: None,
            unanswered: Unanswered::at_most(UNANSWERED),
        };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(lane.run());
        *sender = Some(started.clone());
        started
    }
}

struct Lane {
    shared: Arc<Shared>,
    queued: mpsc::Receiver<Queued>,
    connection: Option<Connection>,
    unanswered: Unanswered,
}

impl Lane {
    async fn run(mut self) {
        let mut group = Vec::new();
        loop {
            if group.is_empty() {
                match self.queued.recv().await {
                    Some(first) => group.push(first),
                    None => return,
                }
            }
            while group.len() < GROUP
                && let Ok(next) = self.queued.try_recv()
            {
                group.push(next);
            }
            group = self.commit(in_time(group)).await;
        }
    }

    /// Commits a group and answers it. Returns the writes that have to run again.
    async fn commit(&mut self, mut group: Vec<Queued>) -> Vec<Queued> {
        let mut committed = self.attempt(&mut group).await;
        if committed.as_ref().is_err_and(Failure::is_conflict) {
            committed = self.attempt(&mut group).await;
        }
        match committed {
            Ok(stale) => {
                let is_stale = |one: &Queued| stale.contains(&one.user);
                let (mut again, done): (Vec<_>, _) = group.into_iter().partition(is_stale);
                answer(done, Ok(()));
                // The second time no other transaction can change the row in between.
                for one in &mut again {
                    one.locking = Locking::Locked;
                }
                again
            }
            Err(failure) if failure.is_about_values() && group.len() > 1 => {
                let mut again = Vec::new();
                for one in group {
                    again.extend(Box::pin(self.commit(vec![one])).await);
                }
                again
            }
            Err(failure) => {
                let failure = Arc::new(failure);
                // A damaged row of one mailbox does not make the others wait.
                if !failure.is_about_values() {
                    self.shared.readiness.failed(&failure);
                }
                if failure.is_disconnected() {
                    // Those behind would wait for the same.
                    while let Ok(next) = self.queued.try_recv() {
                        group.push(next);
                    }
                }
                let writes = group.len();
                error!(error = %failure, writes, "Could not commit");
                answer(group, Err(failure));
                Vec::new()
            }
        }
    }

    /// Runs a group in a transaction, and returns the users whose writes have to run again.
    async fn attempt(&mut self, group: &mut [Queued]) -> Result<BTreeSet<UserId>, Failure> {
        if group.is_empty() {
            return Ok(BTreeSet::new());
        }
        self.unanswered.check()?;
        // A connection that is left in an unknown state is dropped.
        let kept = self.connection.take().map(|mut one| (one.is_closed(), one));
        let mut connection = match kept {
            Some((false, connection)) => connection,
            _ => self.shared.connector.connect().await?,
        };
        let session = connection.session();
        let _write = self.shared.readiness.begin();
        let written = connection.run_write(run(&session, &self.shared.clock, group));
        let Ok(written) = timeout(GROUP_TIMEOUT, written).await else {
            self.unanswered.keep(connection);
            return Err(Failure::TimedOut("a write took too long"));
        };
        let committed = written?;
        self.connection = Some(connection);
        if committed.has_written {
            self.shared.readiness.succeeded();
        }
        if let Some(latest) = committed.marked {
            self.shared.clock.stored(latest);
        }
        let changes = &self.shared.changes;
        committed
            .changed
            .iter()
            .for_each(|user| changes.announce(user));
        Ok(committed.stale)
    }
}

/// What a transaction did.
struct Committed {
    /// Users of whom nothing was stored.
    stale: BTreeSet<UserId>,
    changed: Vec<UserId>,
    has_written: bool,
    /// The time that was stored as the latest one.
    marked: Option<Timestamp>,
}

async fn run(
    session: &Session,
    clock: &ClockMark,
    group: &mut [Queued],
) -> Result<Committed, Failure> {
    let users = group.iter().map(|one| one.user.clone()).collect();
    let checked_in = group.iter().filter(|one| one.checks_in);
    let checked_in: Vec<_> = checked_in.map(|one| one.user.as_str().to_owned()).collect();
    let is_locked = group.iter().any(|one| one.locking == Locking::Locked);
    let locking = if is_locked {
        Locking::Locked
    } else {
        Locking::Unlocked
    };
    let mut mailboxes = Mailboxes::load(session, true, users, locking, checked_in).await?;
    for one in &mut *group {
        one.write.decide(mailboxes.of(&one.user));
    }
    let scheduled_at = mailboxes.scheduled_at();
    let mark = scheduled_at.and_then(|at| clock.statement(at));
    let marked = mark.as_ref().and(scheduled_at);
    let last = mark.into_iter().chain([Call::new("COMMIT", vec![])]);
    let has_written = mailboxes.are_changed();
    let stale = mailboxes.store(session, last.collect()).await?;
    let changed = mailboxes.announced().filter(|user| !stale.contains(user));
    Ok(Committed {
        changed: changed.cloned().collect(),
        stale,
        has_written,
        marked,
    })
}

/// Answers the writes whose turn came too late, and returns the others.
fn in_time(group: Vec<Queued>) -> Vec<Queued> {
    let now = Instant::now();
    let (in_time, late): (Vec<_>, Vec<_>) = group.into_iter().partition(|one| one.deadline > now);
    if !late.is_empty() {
        let failure = Failure::TimedOut("the write waited too long for its turn");
        answer(late, Err(Arc::new(failure)));
    }
    in_time
}

fn answer(group: Vec<Queued>, commit: Result<(), Arc<Failure>>) {
    for one in group {
        one.write.answer(commit.clone());
    }
}
