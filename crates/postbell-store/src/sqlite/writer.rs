//! The thread that writes: whatever has arrived shares one commit, and so one fsync.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use postbell_core::InboxError;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::failure::Failure;
use crate::OpenError;

/// How many writes may wait. Beyond it callers are told at once, before memory grows.
const WAITING: usize = 4096;

/// How many writes share a commit at most, so that the first of them is not kept waiting.
const GROUP: usize = 256;

/// The way to the thread that writes.
///
/// Dropping it waits until all that was sent is committed.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

/// One write: first run inside the transaction, then told what became of the commit.
trait Job: Send {
    /// Runs the statements, and returns whether they are to be kept.
    fn run(&mut self, db: &Connection) -> bool;
    fn answer(self: Box<Self>, commit: Result<(), Arc<rusqlite::Error>>);
}

struct Write<F, T> {
    statements: Option<F>,
    outcome: Result<T, Failure>,
    reply: oneshot::Sender<Result<T, Failure>>,
}

impl<F, T> Job for Write<F, T>
where
    F: FnOnce(&Connection) -> Result<T, Failure> + Send,
    T: Send,
{
    fn run(&mut self, db: &Connection) -> bool {
        if let Some(statements) = self.statements.take() {
            self.outcome = statements(db);
        }
        self.outcome.is_ok()
    }

    fn answer(self: Box<Self>, commit: Result<(), Arc<rusqlite::Error>>) {
        let outcome = match commit {
            Ok(()) => self.outcome,
            Err(error) => self.outcome.and(Err(Failure::Commit(error))),
        };
        // Nobody may be waiting any more: a push whose sender hung up is accepted all the same.
        let _ = self.reply.send(outcome);
    }
}

impl Writer {
    pub(super) fn start(db: Connection) -> Result<Self, OpenError> {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let thread = thread::Builder::new()
            .name("inbox-writer".to_owned())
            .spawn(move || write_until_closed(&db, waiting))
            .map_err(|error| OpenError::Unavailable(error.into()))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Runs `statements` in a transaction and returns once that is on disk.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        statements: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, InboxError> {
        let (reply, answer) = oneshot::channel();
        let outcome = Err(Failure::Overloaded("the write was not run"));
        let job = Write {
            statements: Some(statements),
            outcome,
            reply,
        };
        let sent = self
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.try_send(Box::new(job)).is_ok());
        if !sent {
            return Err(Failure::Overloaded("too many writes are waiting").into());
        }
        let ended = |_| Err(Failure::Overloaded("the writer has ended"));
        answer.await.unwrap_or_else(ended).map_err(InboxError::from)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("The inbox's writer had panicked");
        }
    }
}

fn write_until_closed(db: &Connection, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut group = vec![first];
        let commit = write_group(db, &mut group, &mut waiting).map_err(Arc::new);
        if let Err(error) = &commit {
            error!(%error, writes = group.len(), "Could not commit");
            // Nothing may be left open, or the next group would join it.
            if !db.is_autocommit() {
                let _ = db.execute_batch("ROLLBACK");
            }
        }
        for job in group {
            job.answer(commit.clone());
        }
    }
}

/// Runs the group's first job and all that has arrived since, and commits them.
fn write_group(
    db: &Connection,
    group: &mut Vec<Box<dyn Job>>,
    waiting: &mut mpsc::Receiver<Box<dyn Job>>,
) -> rusqlite::Result<()> {
    run(db, "BEGIN IMMEDIATE")?;
    let mut next = 0;
    while next < group.len() {
        run_one(db, group[next].as_mut())?;
        next += 1;
        if group.len() < GROUP
            && let Ok(job) = waiting.try_recv()
        {
            group.push(job);
        }
    }
    run(db, "COMMIT")
}

/// Runs one job so that, should it fail, nothing of it is kept and the others are not harmed.
fn run_one(db: &Connection, job: &mut dyn Job) -> rusqlite::Result<()> {
    run(db, "SAVEPOINT job")?;
    if !job.run(db) {
        run(db, "ROLLBACK TO job")?;
    }
    run(db, "RELEASE job")
}

fn run(db: &Connection, statement: &str) -> rusqlite::Result<()> {
    db.prepare_cached(statement)?.execute([]).map(drop)
}
