//! The thread that writes: whatever has arrived shares one commit, and so one fsync.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

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
    /// Runs the statements, and returns whether they are to be kept. May be run again after all of
    /// it was rolled back.
    fn run(&mut self, db: &Connection) -> bool;
    fn answer(self: Box<Self>, commit: Result<(), Arc<rusqlite::Error>>);
}

struct Write<F, T> {
    statements: F,
    outcome: Result<T, Failure>,
    reply: oneshot::Sender<Result<T, Failure>>,
}

impl<F, T> Job for Write<F, T>
where
    F: Fn(&Connection) -> Result<T, Failure> + Send,
    T: Send,
{
    fn run(&mut self, db: &Connection) -> bool {
        self.outcome = (self.statements)(db);
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
            .name("sqlite-writer".to_owned())
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
        statements: impl Fn(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let outcome = Err(Failure::Overloaded("the write was not run"));
        let job = Write {
            statements,
            outcome,
            reply,
        };
        let sent = self
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.try_send(Box::new(job)).is_ok());
        if !sent {
            return Err(Failure::Overloaded("too many writes are waiting"));
        }
        let ended = |_| Err(Failure::Overloaded("the writer has ended"));
        answer.await.unwrap_or_else(ended)
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
///
/// A job that fails half done is rare: only then is the group run again, with each job in a
/// savepoint of its own, so that nothing of that one is kept and the others are not harmed.
fn write_group(
    db: &Connection,
    group: &mut Vec<Box<dyn Job>>,
    waiting: &mut mpsc::Receiver<Box<dyn Job>>,
) -> rusqlite::Result<()> {
    run(db, "BEGIN IMMEDIATE")?;
    let mut next = 0;
    while next < group.len() {
        let changes = db.total_changes();
        if !group[next].run(db) && db.total_changes() != changes {
            run(db, "ROLLBACK")?;
            return write_one_by_one(db, group);
        }
        next += 1;
        if group.len() < GROUP
            && let Ok(job) = waiting.try_recv()
        {
            group.push(job);
        }
    }
    run(db, "COMMIT")
}

fn write_one_by_one(db: &Connection, group: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    run(db, "BEGIN IMMEDIATE")?;
    for job in group {
        run(db, "SAVEPOINT job")?;
        if !job.run(db) {
            run(db, "ROLLBACK TO job")?;
        }
        run(db, "RELEASE job")?;
    }
    run(db, "COMMIT")
}

fn run(db: &Connection, statement: &str) -> rusqlite::Result<()> {
    db.prepare_cached(statement)?.execute([]).map(drop)
}
