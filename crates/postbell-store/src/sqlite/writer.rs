//! The thread that writes: all writes that have arrived share one commit, and so one fsync.

use std::cell::{RefCell, RefMut};
use std::ops::Deref;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use postbell_core::{Changes, UserId};
use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::failure::Failure;
use super::mailboxes::Mailboxes;
use crate::OpenError;
use crate::writer_health::WriterHealth;

/// How many writes may be queued. Further ones fail at once, before memory grows.
const QUEUED: usize = 4096;

/// How many writes share a commit at most, which bounds the wait of the first one.
const GROUP: usize = 256;

/// The sender of writes to their thread.
///
/// Dropping it waits until all that was sent is committed.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
    health: Arc<WriterHealth<rusqlite::Error>>,
}

/// The transaction that a write runs in.
pub(super) struct Transaction<'a> {
    db: &'a Connection,
    changed: RefCell<Vec<UserId>>,
    mailboxes: &'a RefCell<Mailboxes>,
}

impl Transaction<'_> {
    /// Announces, after the commit, that something of `user` has changed.
    pub(super) fn changed(&self, user: &UserId) {
        self.changed.borrow_mut().push(user.clone());
    }

    /// The remembered mailboxes. Must not be held while another function runs.
    pub(super) fn mailboxes(&self) -> RefMut<'_, Mailboxes> {
        self.mailboxes.borrow_mut()
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.db
    }
}

/// The writes of one transaction.
type Group = Vec<Box<dyn Job>>;

/// One write: runs inside the transaction, and is answered after the commit.
pub(super) trait Job: Send {
    /// The runtime of the task that waits for it.
    fn runtime(&self) -> Option<&Handle>;
    /// Runs the statements, and returns whether to keep their effect. May run again after a
    /// rollback.
    fn run(&mut self, db: &Connection, mailboxes: &RefCell<Mailboxes>) -> bool;
    fn answer(self: Box<Self>, commit: Result<(), Arc<rusqlite::Error>>, changes: &Changes);
}

struct Write<F, T> {
    statements: F,
    outcome: Result<T, Failure>,
    changed: Vec<UserId>,
    runtime: Option<Handle>,
    reply: oneshot::Sender<Result<T, Failure>>,
}

impl<F, T> Job for Write<F, T>
where
    F: Fn(&Transaction<'_>) -> Result<T, Failure> + Send,
    T: Send,
{
    fn runtime(&self) -> Option<&Handle> {
        self.runtime.as_ref()
    }

    fn run(&mut self, db: &Connection, mailboxes: &RefCell<Mailboxes>) -> bool {
        let transaction = Transaction {
            db,
            changed: RefCell::default(),
            mailboxes,
        };
        self.outcome = (self.statements)(&transaction);
        self.changed = transaction.changed.into_inner();
        self.outcome.is_ok()
    }

    fn answer(self: Box<Self>, commit: Result<(), Arc<rusqlite::Error>>, changes: &Changes) {
        let outcome = match commit {
            Ok(()) => self.outcome,
            Err(error) => self.outcome.and(Err(Failure::Commit(error))),
        };
        if outcome.is_ok() {
            self.changed.iter().for_each(|user| changes.announce(user));
        }
        // The caller may have gone: a push whose sender hung up is accepted as well.
        let _ = self.reply.send(outcome);
    }
}

impl Writer {
    pub(super) fn start(db: Connection, changes: Changes) -> Result<Self, OpenError> {
        let (jobs, queued) = mpsc::channel(QUEUED);
        let health = Arc::new(WriterHealth::default());
        let thread = thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn({
                let health = Arc::clone(&health);
                move || write_until_closed(&db, queued, &changes, &health)
            })
            .map_err(|error| OpenError::Unavailable(error.into()))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            health,
        })
    }

    /// The result of the last commit.
    pub(super) fn health(&self) -> &WriterHealth<rusqlite::Error> {
        &self.health
    }

    /// Sends a write; the receiver gets its outcome once the commit is on disk, or nothing if the
    /// queue is full.
    pub(super) fn send<T: Send + 'static>(
        &self,
        statements: impl Fn(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, Failure>> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Write {
            statements,
            outcome: Err(Failure::Overloaded("the write was not run")),
            changed: Vec::new(),
            runtime: Handle::try_current().ok(),
            reply,
        });
        if let Some(jobs) = &self.jobs {
            // A job that cannot be sent is dropped with its reply, which ends the receiver.
            let _ = jobs.try_send(job);
        }
        answer
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("The database's writer had panicked");
        }
    }
}

fn write_until_closed(
    db: &Connection,
    mut queued: mpsc::Receiver<Box<dyn Job>>,
    changes: &Changes,
    health: &WriterHealth<rusqlite::Error>,
) {
    let mailboxes = RefCell::default();
    while let Some(first) = queued.blocking_recv() {
        let mut group = vec![first];
        let changes_before = db.total_changes();
        let commit = write_group(db, &mailboxes, &mut group, &mut queued).map_err(Arc::new);
        match &commit {
            Err(error) => {
                mailboxes.borrow_mut().forget_all();
                health.failed(error);
                error!(%error, writes = group.len(), "Could not commit");
                // An open transaction would swallow the next group.
                if !db.is_autocommit() {
                    let _ = db.execute_batch("ROLLBACK");
                }
            }
            // A commit that changed nothing wrote nothing.
            Ok(()) if db.total_changes() != changes_before => health.succeeded(),
            Ok(()) => (),
        }
        answer(group, &commit, changes);
    }
}

/// Answers the jobs of a commit: in one task for each runtime that waits, because a thread outside of a runtime
/// would wake a thread of it for each job.
fn answer(group: Group, commit: &Result<(), Arc<rusqlite::Error>>, changes: &Changes) {
    let mut of_runtimes: Vec<(Option<Handle>, Group)> = Vec::new();
    for job in group {
        let id = job.runtime().map(Handle::id);
        let same = |(runtime, _): &&mut (Option<Handle>, _)| runtime.as_ref().map(Handle::id) == id;
        match of_runtimes.iter_mut().find(same) {
            Some((_, jobs)) => jobs.push(job),
            None => of_runtimes.push((job.runtime().cloned(), vec![job])),
        }
    }
    for (runtime, jobs) in of_runtimes {
        let (commit, changes) = (commit.clone(), changes.clone());
        let answer = move || {
            for job in jobs {
                job.answer(commit.clone(), &changes);
            }
        };
        match runtime {
            Some(runtime) => drop(runtime.spawn(async move { answer() })),
            None => answer(),
        }
    }
}

/// Runs the group's first job and all that have arrived since, and commits them.
///
/// A job that fails after its first change is rare: only then the group runs again, with each job in a
/// savepoint, so that the changes of that job are rolled back and those of the others are kept.
fn write_group(
    db: &Connection,
    mailboxes: &RefCell<Mailboxes>,
    group: &mut Group,
    queued: &mut mpsc::Receiver<Box<dyn Job>>,
) -> rusqlite::Result<()> {
    run(db, "BEGIN IMMEDIATE")?;
    mailboxes.borrow_mut().begin(db)?;
    let mut next = 0;
    while next < group.len() {
        let changes = db.total_changes();
        if !group[next].run(db, mailboxes) {
            mailboxes.borrow_mut().forget_all();
            // SQLite itself rolls everything back after some errors of the disk
            // (https://www.sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction).
            if db.is_autocommit() {
                return write_one_by_one(db, mailboxes, group);
            }
            if db.total_changes() != changes {
                run(db, "ROLLBACK")?;
                return write_one_by_one(db, mailboxes, group);
            }
        }
        next += 1;
        if group.len() < GROUP
            && let Ok(job) = queued.try_recv()
        {
            group.push(job);
        }
    }
    run(db, "COMMIT")
}

fn write_one_by_one(
    db: &Connection,
    mailboxes: &RefCell<Mailboxes>,
    group: &mut [Box<dyn Job>],
) -> rusqlite::Result<()> {
    run(db, "BEGIN IMMEDIATE")?;
    mailboxes.borrow_mut().begin(db)?;
    for job in group {
        run(db, "SAVEPOINT job")?;
        if !job.run(db, mailboxes) {
            mailboxes.borrow_mut().forget_all();
            run(db, "ROLLBACK TO job")?;
        }
        run(db, "RELEASE job")?;
    }
    run(db, "COMMIT")
}

fn run(db: &Connection, statement: &str) -> rusqlite::Result<()> {
    db.prepare_cached(statement)?.execute([]).map(drop)
}
