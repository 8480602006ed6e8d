//! Whether writes come back, for readiness checks.
//!
//! A server that misses its synchronous standby accepts statements and lets every commit wait. It also keeps the session of a
//! commit that waits after its connection was closed, so writes must not be begun and given up again and again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postbell_core::Timestamp;
use tokio::time::{Instant, timeout};

use super::connector::Connector;
use super::failure::Failure;
use super::single_flight::SingleFlight;
use crate::writer_health::{Check, WriterHealth};

/// How long a check waits for the database, and after how long a write counts as one that waits.
const LIMIT: Duration = Duration::from_secs(3);

/// After how long without a write a check writes.
const IDLE: Duration = Duration::from_secs(5);

/// How long a disk counts as full after a write that failed because of it. The write of a check needs no space in a table, nor
/// do all others.
const FULL: Duration = Duration::from_secs(5);

/// After how long the write of a check is given up, and its session is left to the server. Each that follows is given twice as
/// long, up to 32 times, so that an outage of hours does not use up the sessions of the server.
const PROBE_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_DOUBLINGS: u32 = 5;

/// Waits for the standby like every write, and for no lock: writes to the log, and to no table
/// (<https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-REPLICATION>).
const PROBE: &str = "SELECT pg_logical_emit_message(true, 'postbell', 'ready')";

const WAIT: &str = "writes wait: the database does not confirm them, as without its standby";
const WAITING: Failure = Failure::TimedOut(WAIT);

/// The state of the writes of a process.
#[derive(Default)]
pub(super) struct Readiness {
    health: WriterHealth<Failure>,
    writes: Mutex<Writes>,
    probe: SingleFlight,
}

#[derive(Default)]
struct Writes {
    next: u64,
    /// When those that are in progress began, in this order.
    begun: BTreeMap<u64, Instant>,
    /// When the write of a check began.
    probed: Option<Instant>,
    succeeded_at: Option<Instant>,
    /// The last write that failed because the disk is full.
    full: Option<(Instant, Arc<Failure>)>,
    /// How many writes of checks were given up since one succeeded.
    given_up: u32,
}

/// A write in progress.
pub(super) struct InProgress<'a> {
    readiness: &'a Readiness,
    number: u64,
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.readiness.writes().begun.remove(&self.number);
    }
}

impl Readiness {
    /// Records that a write has begun. It ends with the value.
    pub(super) fn begin(&self) -> InProgress<'_> {
        let mut writes = self.writes();
        let number = writes.next;
        writes.next += 1;
        writes.begun.insert(number, Instant::now());
        InProgress {
            readiness: self,
            number,
        }
    }

    /// Records that a commit wrote something.
    pub(super) fn succeeded(&self) {
        self.health.succeeded();
        let mut writes = self.writes();
        writes.succeeded_at = Some(Instant::now());
        writes.given_up = 0;
    }

    /// Records that a write failed.
    pub(super) fn failed(&self, failure: &Arc<Failure>) {
        self.health.failed(failure);
        if failure.is_disk_full() {
            self.writes().full = Some((Instant::now(), Arc::clone(failure)));
        }
    }

    /// Fails while the write of a check waits: another one would wait as well, and take a session of the server.
    pub(super) fn admit(&self) -> Result<(), Failure> {
        match self.writes().probed {
            Some(since) if since.elapsed() > LIMIT => Err(WAITING),
            _ => Ok(()),
        }
    }

    /// Fails while writes fail or do not come back. Writes only after a failed one, at most once a second, or if nothing was
    /// written for five seconds.
    pub(super) async fn check(
        self: &Arc<Self>,
        connector: &Arc<Connector>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let (oldest, succeeded_at) = {
            let writes = self.writes();
            (writes.begun.values().next().copied(), writes.succeeded_at)
        };
        let is_older = |time: Instant, age: Duration| time.elapsed() > age;
        if oldest.is_some_and(|begun| is_older(begun, LIMIT)) {
            return Err(WAITING);
        }
        self.check_disk()?;
        match self.health.check(now) {
            Check::Healthy if succeeded_at.is_some_and(|at| !is_older(at, IDLE)) => Ok(()),
            Check::Healthy | Check::Probe => {
                let (readiness, connector) = (Arc::clone(self), Arc::clone(connector));
                let probe = || async move { readiness.probe(&connector).await };
                self.probe.run(probe, LIMIT, WAIT).await
            }
            Check::Failing(failure) => Err(Failure::Group(failure)),
        }
    }

    /// Fails while the disk counts as full.
    fn check_disk(&self) -> Result<(), Failure> {
        match &self.writes().full {
            Some((at, failure)) if at.elapsed() <= FULL => Err(Failure::Group(Arc::clone(failure))),
            _ => Ok(()),
        }
    }

    /// Writes, and records the result.
    async fn probe(&self, connector: &Arc<Connector>) -> Result<(), Failure> {
        let doublings = self.writes().given_up.min(MAX_DOUBLINGS);
        let limit = PROBE_TIMEOUT * 2_u32.pow(doublings);
        let written = timeout(limit, self.write(connector)).await;
        {
            let mut writes = self.writes();
            writes.probed = None;
            writes.given_up += u32::from(written.is_err());
        }
        match written.unwrap_or(Err(WAITING)) {
            Ok(()) => {
                self.succeeded();
                Ok(())
            }
            Err(failure) => {
                let failure = Arc::new(failure);
                self.failed(&failure);
                Err(Failure::Group(failure))
            }
        }
    }

    /// Writes on a connection of its own.
    async fn write(&self, connector: &Arc<Connector>) -> Result<(), Failure> {
        let mut connection = connector.connect().await?;
        let session = connection.session();
        let _write = self.begin();
        self.writes().probed = Some(Instant::now());
        let written = connection.run_write(async {
            session.query(PROBE, &[]).await?;
            Ok(())
        });
        written.await
    }

    fn writes(&self) -> MutexGuard<'_, Writes> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;
    use tokio_postgres::error::SqlState;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_disk_counts_as_full_until_five_seconds_after_the_last_write_that_failed() {
        let readiness = Readiness::default();
        let full = Arc::new(Failure::of_code(SqlState::DISK_FULL));
        for _ in 0..2 {
            readiness.failed(&full);
            // Some writes need no space.
            readiness.succeeded();
            advance(FULL).await;
            readiness.check_disk().unwrap_err();
        }
        advance(Duration::from_millis(1)).await;
        readiness.check_disk().unwrap();
    }
}
