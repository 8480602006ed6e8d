//! One file: a thread that writes, and a connection that reads.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postbell_core::{DiskFull, StoreError, Timestamp};
use rusqlite::Connection;
use rustix::fs::statvfs;
use tokio::time::timeout;

use super::failure::Failure;
use super::writer::{Transaction, Writer};
use super::{alert_target, connection, credential, revocations, schema, write_probe};
use crate::options::{Access, StoreOptions};
use crate::writer_health::Check;
use crate::{Migrated, OpenError};

/// How long a write is waited for. A process that stands still while it writes, as in a paused container, holds the lock of the
/// file as long, and the writes of the others wait behind each other.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a readiness check waits.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// One SQLite file. All writes of this process go through one thread, which commits them in groups.
pub(crate) struct Database {
    /// `None` if the file is open for reading only.
    writer: Option<Writer>,
    /// Reads see the last commit and never wait for a write (write-ahead log).
    reader: Arc<Mutex<Connection>>,
}

impl Database {
    pub(crate) fn open(path: &Path, options: &StoreOptions) -> Result<Self, OpenError> {
        if options.access == Access::ReadOnly {
            let reader = connection::open_for_reading(path)?;
            schema::check(&reader)?;
            schema::refuse_unfinished_copy(&reader)?;
            return Ok(Self {
                writer: None,
                reader: Arc::new(Mutex::new(reader)),
            });
        }
        let is_new = options.create && connection::create(path)?;
        let mut db = connection::open_for_writing(path)?;
        if is_new || options.access == Access::Migrate {
            schema::migrate(&mut db)?;
        }
        schema::check(&db)?;
        schema::refuse_unfinished_copy(&db)?;
        // Refused here, not by the first write.
        if db.is_readonly("main")? {
            let cause = "the file can only be read";
            return Err(OpenError::Unavailable(cause.into()));
        }
        if let Some(keys) = &options.keys
            && options.access == Access::Migrate
        {
            credential::encrypt_again(&mut db, keys)?;
            alert_target::encrypt_again(&mut db, keys)?;
            revocations::encrypt_again(&mut db, keys)?;
        }
        Ok(Self {
            writer: Some(Writer::start(db, options.changes.clone())?),
            reader: Arc::new(Mutex::new(connection::open_beside_writer(path)?)),
        })
    }

    /// Runs `statements` in a transaction and returns once it is on disk and its changes are announced. A write that took too
    /// long may still take effect.
    pub(super) async fn write<T, E>(
        &self,
        statements: impl Fn(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Failure>,
    {
        let written = timeout(WRITE_TIMEOUT, self.write_at_last(statements)).await;
        let too_long = Failure::Overloaded("the write took too long");
        written.unwrap_or_else(|_| Err(too_long.into()))
    }

    /// The same, however long it takes: what is claimed without an answer is delivered by no relay until its lease ends.
    pub(super) async fn write_at_last<T, E>(
        &self,
        statements: impl Fn(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Failure>,
    {
        let writer = self.writer.as_ref().ok_or(Failure::ReadOnly)?;
        let outcome = writer.send(statements).await;
        let overloaded = |_| Err(Failure::Overloaded("too many writes are queued"));
        outcome.unwrap_or_else(overloaded).map_err(E::from)
    }

    /// Fails while the file cannot be read, or writes to it fail or wait. Asks the writer.
    ///
    /// Only after a failed write is another one tried, at most once a second.
    pub(super) async fn check_ready(&self, now: Timestamp) -> Result<(), StoreError> {
        let checked = timeout(CHECK_TIMEOUT, self.check_writer(now)).await;
        let waits =
            Failure::Overloaded("writes wait: another process may hold the lock of the file");
        checked.unwrap_or_else(|_| Err(waits.into()))
    }

    async fn check_writer(&self, now: Timestamp) -> Result<(), StoreError> {
        let writer = self.writer.as_ref().ok_or(Failure::ReadOnly)?;
        match writer.health().check(now) {
            Check::Healthy => {
                // A transaction without a change writes nothing.
                self.write::<(), StoreError>(|_| Ok(())).await?;
                self.read(|db| Ok(write_probe::read(db)?)).await
            }
            Check::Probe => self.write(|db| Ok(write_probe::write(db)?)).await,
            Check::Failing(error) => Err(Failure::Commit(error).into()),
        }
    }

    /// Fails if the file's disk has no space for some commits.
    pub(crate) fn check_space(&self) -> Result<(), StoreError> {
        const LEAST: u64 = 1024 * 1024;
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let disk = statvfs(reader.path().unwrap_or_default());
        let disk = disk.map_err(|error| StoreError::Unavailable(error.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < LEAST {
            let free = format!("{free} bytes are free").into();
            return Err(StoreError::Unavailable(DiskFull(free).into()));
        }
        Ok(())
    }

    /// Runs a query on what is committed.
    pub(super) async fn read<T, E>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Failure>,
    {
        let reader = Arc::clone(&self.reader);
        let answer = tokio::task::spawn_blocking(move || {
            // A query that panicked left nothing half done: it only read.
            let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            query(&reader)
        });
        let answer = answer.await.map_err(Failure::Panicked);
        answer.flatten().map_err(E::from)
    }
}

/// Brings an existing file to the latest version.
pub(crate) fn migrate(path: &Path) -> Result<Migrated, OpenError> {
    let mut db = connection::open_for_writing(path)?;
    schema::refuse_unfinished_copy(&db)?;
    schema::migrate(&mut db)
}
