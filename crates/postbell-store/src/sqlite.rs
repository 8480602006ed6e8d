//! The inbox in one SQLite file: the default, for one machine.

mod columns;
mod dead_letter;
mod delivery;
mod failure;
mod mailbox;
mod schema;
mod seen;
mod users;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use postbell_core::inbox::{DeliveryRecord, Depth, Replayed, UnreadableMessage};
use postbell_core::{
    Accepted, Claim, DeadLetter, Inbox, InboxError, Notification, Settlement, Timestamp, UserId,
};
use rusqlite::Connection;

use self::failure::Failure;
use self::users::Mark;
use self::writer::Writer;
use crate::OpenError;

/// The inbox in one SQLite file. All writes go through one thread, which commits them in groups.
pub(crate) struct SqliteInbox {
    writer: Writer,
    /// Reads see the last commit and never wait for a write (write-ahead log).
    reader: Arc<Mutex<Connection>>,
    _mark: Mark,
}

impl SqliteInbox {
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let db = schema::open_for_writing(path)?;
        let mark = users::mark(path, || Ok(mailbox::release_all(&db)?))?;
        let writer = Writer::start(db)?;
        let reader = Arc::new(Mutex::new(schema::open_for_reading(path)?));
        Ok(Self {
            writer,
            reader,
            _mark: mark,
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, InboxError> {
        let reader = Arc::clone(&self.reader);
        let answer = tokio::task::spawn_blocking(move || {
            // A query that panicked left nothing half done: it only read.
            let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            query(&reader)
        });
        match answer.await {
            Ok(answer) => answer.map_err(InboxError::from),
            Err(panicked) => Err(InboxError::Unavailable(panicked.into())),
        }
    }
}

#[async_trait]
impl Inbox for SqliteInbox {
    async fn accept(
        &self,
        notification: Notification,
        now: Timestamp,
    ) -> Result<Accepted, InboxError> {
        self.writer
            .write(move |db| mailbox::accept(db, &notification, now))
            .await
    }

    async fn bury_unreadable(
        &self,
        letter: UnreadableMessage,
        now: Timestamp,
    ) -> Result<Accepted, InboxError> {
        self.writer
            .write(move |db| dead_letter::bury_unreadable(db, &letter, now))
            .await
    }

    async fn claim(
        &self,
        now: Timestamp,
        lease: Duration,
        most: usize,
    ) -> Result<Vec<Claim>, InboxError> {
        self.writer
            .write(move |db| mailbox::claim(db, now, lease, most))
            .await
    }

    async fn settle(
        &self,
        claim: &Claim,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<(), InboxError> {
        let claim = claim.clone();
        self.writer
            .write(move |db| mailbox::settle(db, &claim, &settlement, now))
            .await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, InboxError> {
        self.read(mailbox::next_due).await
    }

    async fn wake(&self, user: &UserId, now: Timestamp) -> Result<bool, InboxError> {
        let user = user.clone();
        self.writer
            .write(move |db| mailbox::check_in(db, &user, now))
            .await
    }

    async fn dead_letters(
        &self,
        user: Option<&UserId>,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<DeadLetter>, InboxError> {
        let user = user.cloned();
        self.read(move |db| dead_letter::list(db, user.as_ref(), before, most))
            .await
    }

    async fn replay(&self, dead_letter: i64, now: Timestamp) -> Result<Replayed, InboxError> {
        self.writer
            .write(move |db| dead_letter::replay(db, dead_letter, now))
            .await
    }

    async fn drop_dead_letter(&self, dead_letter: i64) -> Result<bool, InboxError> {
        self.writer
            .write(move |db| dead_letter::drop_one(db, dead_letter))
            .await
    }

    async fn deliveries(&self, user: &UserId) -> Result<Vec<DeliveryRecord>, InboxError> {
        let user = user.clone();
        self.read(move |db| delivery::list(db, &user)).await
    }

    async fn depth(&self) -> Result<Depth, InboxError> {
        self.read(mailbox::depth).await
    }

    async fn forget_old_ids(&self, now: Timestamp, most: usize) -> Result<usize, InboxError> {
        self.writer
            .write(move |db| seen::forget_old(db, now, most))
            .await
    }
}
