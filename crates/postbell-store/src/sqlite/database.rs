//! One file: a thread that writes, and a connection that reads.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use super::failure::Failure;
use super::schema;
use super::writer::Writer;
use crate::OpenError;

/// One SQLite file. All writes of this process go through one thread, which commits them in groups.
pub(super) struct Database {
    writer: Writer,
    /// Reads see the last commit and never wait for a write (write-ahead log).
    reader: Arc<Mutex<Connection>>,
}

impl Database {
    /// Lets `db` write from now on; it is open on the file at `path`.
    pub(super) fn start(db: Connection, path: &Path) -> Result<Self, OpenError> {
        Ok(Self {
            writer: Writer::start(db)?,
            reader: Arc::new(Mutex::new(schema::open_for_reading(path)?)),
        })
    }

    /// Runs `statements` in a transaction and returns once that is on disk.
    pub(super) async fn write<T, E>(
        &self,
        statements: impl Fn(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Failure>,
    {
        self.writer.write(statements).await.map_err(E::from)
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
