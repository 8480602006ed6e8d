//! Group commit: all writes to mailboxes that have arrived share one transaction.
//!
//! A lane has a connection of its own and the mailboxes of some users, so that the writes of one
//! mailbox stay in order. Pushes have lanes of their own: one statement accepts a group that has nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postbell_core::{Accepted, Changes, Notification, Timestamp, UserId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::error;

use super::clock::ClockMark;
use super::connection::Connection;
use super::connector::Connector;
use super::failure::Failure;
use super::mailboxes::{LoadedMailbox, Mailboxes, Wanted};
use super::readiness::Readiness;
use super::rising::{Push, Rising};
use super::session::{Call, Session};
use super::unanswered::Unanswered;
use super::write::{Reply, Write};

/// How many groups of pushes are accepted at once.
const ACCEPTING: usize = 2;

/// How many groups of other writes are written at once.
const SETTLING: usize = 2;

/// How many writes may be queued in a lane. Further ones fail at once, before memory grows.
const QUEUED: usize = 1024;

/// How many writes share a commit at most.
const GROUP: usize = 256;

/// How often a group is repeated that PostgreSQL has ended because of another transaction. The groups of relays do not wait
/// for each other in a circle; sessions of people may.
const REPEATS: usize = 2;

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
    accepting: [Sender; ACCEPTING],
    settling: [Sender; SETTLING],
    /// The tasks of the lanes. They end with the store; its callers wait for what they have begun.
    tasks: Mutex<JoinSet<()>>,
}

type Sender = Mutex<Option<mpsc::Sender<Queued>>>;

struct Shared {
    connector: Arc<Connector>,
    changes: Changes,
    clock: ClockMark,
    readiness: Arc<Readiness>,
}

struct Queued {
    user: UserId,
    /// Whether it needs the exhausted dead letters.
    checks_in: bool,
    deadline: Instant,
    write: Write,
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
            accepting: Default::default(),
            settling: Default::default(),
            tasks: Mutex::default(),
        }
    }

    /// Accepts a push, and returns once it is durable.
    pub(super) async fn accept(
        &self,
        notification: Notification,
        now: Timestamp,
    ) -> Result<Accepted, Failure> {
        let user = notification.user.clone();
        let sender = self.sender(&self.accepting, &user);
        let push = Push { notification, now };
        self.send(sender, user, false, |reply| Write::accept(push, reply))
            .await
    }

    /// Runs a decision about the mailbox of `user`, and returns once its result is durable.
    pub(super) async fn settle<T: Send + 'static>(
        &self,
        user: &UserId,
        decide: impl Fn(&mut LoadedMailbox) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.decide(user, false, decide).await
    }

    /// Runs a decision that also needs the user's exhausted dead letters.
    pub(super) async fn check_in<T: Send + 'static>(
        &self,
        user: &UserId,
        decide: impl Fn(&mut LoadedMailbox) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.decide(user, true, decide).await
    }

    /// The state of the writes.
    pub(super) fn readiness(&self) -> &Arc<Readiness> {
        &self.shared.readiness
    }

    /// The time at which something was scheduled last.
    pub(super) fn clock(&self) -> &ClockMark {
        &self.shared.clock
    }

    async fn decide<T: Send + 'static>(
        &self,
        user: &UserId,
        checks_in: bool,
        decide: impl Fn(&mut LoadedMailbox) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let sender = self.sender(&self.settling, user);
        let write = |reply| Write::of(decide, reply);
        self.send(sender, user.clone(), checks_in, write).await
    }

    async fn send<T>(
        &self,
        sender: mpsc::Sender<Queued>,
        user: UserId,
        checks_in: bool,
        write: impl FnOnce(Reply<T>) -> Write,
    ) -> Result<T, Failure> {
        self.shared.connector.must_write()?;
        self.shared.readiness.admit()?;
        let (reply, answer) = oneshot::channel();
        let queued = Queued {
            user,
            checks_in,
            deadline: Instant::now() + QUEUE_WAIT,
            write: write(reply),
        };
        let overloaded = || Failure::Overloaded("too many writes are queued");
        sender.try_send(queued).map_err(|_| overloaded())?;
        answer.await.unwrap_or_else(|_| Err(overloaded()))
    }

    fn sender(&self, lanes: &[Sender], user: &UserId) -> mpsc::Sender<Queued> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(user);
        let lane = usize::try_from(hash % lanes.len() as u64).unwrap_or(0);
        let mut sender = lanes[lane].lock().unwrap_or_else(PoisonError::into_inner);
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
        while let Some(first) = self.queued.recv().await {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(next) = self.queued.try_recv()
            {
                group.push(next);
            }
            self.commit(in_time(group)).await;
        }
    }

    /// Commits a group and answers it.
    async fn commit(&mut self, group: Vec<Queued>) {
        let group = self.accept(group).await;
        self.commit_decided(group).await;
    }

    /// Accepts the pushes of a group that need no decision, answers them, and returns the other writes.
    async fn accept(&mut self, group: Vec<Queued>) -> Vec<Queued> {
        let places = group.iter().enumerate();
        let rising = Rising::of(places.filter_map(|(at, one)| Some((at, one.write.push()?))));
        if rising.is_empty() {
            return group;
        }
        let mut accepted = self.attempt_to_accept(&rising).await;
        for _ in 0..REPEATS {
            if !accepted.as_ref().is_err_and(Failure::is_conflict) {
                break;
            }
            accepted = self.attempt_to_accept(&rising).await;
        }
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(failure) if failure.is_about_values() => return group,
            Err(failure) => {
                self.fail(group, failure);
                return Vec::new();
            }
        };
        let mut others = Vec::new();
        for (place, mut one) in group.into_iter().enumerate() {
            if let Some(accepted) = accepted.get(&place) {
                self.shared.changes.announce(&one.user);
                one.write.accepted(*accepted);
                one.write.answer(Ok(()));
            } else {
                others.push(one);
            }
        }
        others
    }

    /// Commits the writes of a group that need a decision, and answers them.
    async fn commit_decided(&mut self, mut group: Vec<Queued>) {
        let mut committed = self.attempt(&mut group).await;
        for _ in 0..REPEATS {
            if !committed.as_ref().is_err_and(Failure::is_conflict) {
                break;
            }
            committed = self.attempt(&mut group).await;
        }
        match committed {
            Ok(()) => answer_all(group, Ok(())),
            Err(failure) if failure.is_about_values() && group.len() > 1 => {
                for one in group {
                    Box::pin(self.commit_decided(vec![one])).await;
                }
            }
            Err(failure) => self.fail(group, failure),
        }
    }

    fn fail(&mut self, mut group: Vec<Queued>, failure: Failure) {
        let failure = Arc::new(failure);
        // A damaged row of one mailbox does not make the others wait, and a conflict says nothing of the server.
        if !failure.is_about_values() && !failure.is_conflict() {
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
        answer_all(group, Err(failure));
    }

    async fn attempt_to_accept(
        &mut self,
        rising: &Rising<'_>,
    ) -> Result<BTreeMap<usize, Accepted>, Failure> {
        let connection = self.connected().await?;
        let session = connection.session();
        let accepted = self.write(connection, rising.accept(&session)).await?;
        if !accepted.is_empty() {
            self.shared.readiness.succeeded();
        }
        Ok(accepted)
    }

    /// Runs a group in a transaction.
    async fn attempt(&mut self, group: &mut [Queued]) -> Result<(), Failure> {
        if group.is_empty() {
            return Ok(());
        }
        let connection = self.connected().await?;
        let session = connection.session();
        let shared = Arc::clone(&self.shared);
        let committed = run(&session, &shared.clock, group);
        let committed = self.write(connection, committed).await?;
        if committed.has_written {
            shared.readiness.succeeded();
        }
        if let Some(latest) = committed.marked {
            shared.clock.stored(latest);
        }
        let changed = committed.changed.iter();
        changed.for_each(|user| shared.changes.announce(user));
        Ok(())
    }

    /// Returns the connection of the lane, or a new one.
    async fn connected(&mut self) -> Result<Connection, Failure> {
        self.unanswered.check()?;
        let kept = self.connection.take().map(|mut one| (one.is_closed(), one));
        match kept {
            Some((false, connection)) => Ok(connection),
            _ => self.shared.connector.connect().await,
        }
    }

    /// Runs statements that write. A connection that is left in an unknown state is dropped.
    async fn write<T>(
        &mut self,
        mut connection: Connection,
        statements: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let _write = self.shared.readiness.begin();
        let written = timeout(GROUP_TIMEOUT, connection.run_write(statements)).await;
        let Ok(written) = written else {
            self.unanswered.keep(connection);
            return Err(Failure::TimedOut("a write took too long"));
        };
        let written = written?;
        self.connection = Some(connection);
        Ok(written)
    }
}

/// What a transaction did.
struct Committed {
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
    let checked_in = group.iter().filter(|one| one.checks_in);
    let mut wanted = Wanted {
        users: group.iter().map(|one| one.user.clone()).collect(),
        checked_in: checked_in.map(|one| one.user.as_str().to_owned()).collect(),
        reserved: BTreeSet::new(),
    };
    let mut begin = "BEGIN";
    let mailboxes = loop {
        let mut mailboxes = Mailboxes::load(session, Some(begin), &wanted).await?;
        for one in &mut *group {
            one.write.decide(mailboxes.of(&one.user));
        }
        if mailboxes.without_row().next().is_none() {
            break mailboxes;
        }
        // Rows are added before others are locked. This is rare: most are added by the statement of `rising.rs`.
        wanted.reserved.extend(mailboxes.without_row().cloned());
        begin = "ROLLBACK AND CHAIN";
    };
    let scheduled_at = mailboxes.scheduled_at();
    let mark = scheduled_at.and_then(|at| clock.statement(at));
    let marked = mark.as_ref().and(scheduled_at);
    let last = mark.into_iter().chain([Call::new("COMMIT", vec![])]);
    mailboxes.store(session, last.collect()).await?;
    Ok(Committed {
        changed: mailboxes.announced().cloned().collect(),
        has_written: mailboxes.are_changed(),
        marked,
    })
}

/// Answers the writes whose turn came too late, and returns the others.
fn in_time(group: Vec<Queued>) -> Vec<Queued> {
    let now = Instant::now();
    let (in_time, late): (Vec<_>, Vec<_>) = group.into_iter().partition(|one| one.deadline > now);
    if !late.is_empty() {
        let failure = Failure::TimedOut("the write waited too long for its turn");
        answer_all(late, Err(Arc::new(failure)));
    }
    in_time
}

fn answer_all(group: Vec<Queued>, commit: Result<(), Arc<Failure>>) {
    for one in group {
        one.write.answer(commit.clone());
    }
}
