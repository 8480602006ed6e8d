//! The users' records in one SQLite file.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use postbell_core::instances::{Listing, NewInstance};
use postbell_core::{
    Credentials, EmailAddress, FlyMachine, HistoryId, InstanceRecord, Instances, InstancesError,
    SandboxId, Timestamp, UserId,
};
use rusqlite::Connection;

use super::SqliteSignIns;
use super::database::Database;
use super::{credential, instance, left_machine, schema};
use crate::vault::{KeyRing, VaultError};
use crate::{OpenError, sqlite::failure::Failure};

/// The users' records in one SQLite file, which may be that of an inbox.
pub(crate) struct SqliteInstances {
    file: Arc<Database>,
    keys: KeyRing,
}

impl SqliteInstances {
    pub(crate) fn open(path: &Path, keys: KeyRing) -> Result<Self, OpenError> {
        let mut db = schema::open_for_writing(path)?;
        seal_again(&mut db, &keys)?;
        let file = Arc::new(Database::start(db, path)?);
        Ok(Self { file, keys })
    }

    /// The records, and the sign-ins of the same file: two writers of one file would wait for each
    /// other.
    pub(crate) fn open_with_sign_ins(
        path: &Path,
        keys: KeyRing,
    ) -> Result<(Self, SqliteSignIns), OpenError> {
        let instances = Self::open(path, keys)?;
        let sign_ins = SqliteSignIns::beside(Arc::clone(&instances.file));
        Ok((instances, sign_ins))
    }

    /// The records in a file that is open already.
    pub(super) fn beside(file: Arc<Database>, keys: KeyRing) -> Self {
        Self { file, keys }
    }
}

/// Encrypts with the first key what older ones have encrypted.
pub(super) fn seal_again(db: &mut Connection, keys: &KeyRing) -> Result<(), OpenError> {
    credential::seal_again(db, keys).map_err(|failure| match failure {
        Failure::Sqlite(error) => error.into(),
        Failure::Corrupt { source, .. } => OpenError::Damaged(source),
        other => OpenError::Unavailable(InstancesError::from(other).into()),
    })
}

fn unreadable(error: VaultError) -> InstancesError {
    InstancesError::Corrupt {
        what: "credentials",
        source: error.into(),
    }
}

#[async_trait]
impl Instances for SqliteInstances {
    async fn add(
        &self,
        new: NewInstance,
        now: Timestamp,
    ) -> Result<InstanceRecord, InstancesError> {
        let added = self.file.write(move |db| instance::add(db, &new, now));
        added.await.flatten()
    }

    async fn get(&self, user: &UserId) -> Result<Option<InstanceRecord>, InstancesError> {
        let user = user.clone();
        self.file.read(move |db| instance::find(db, &user)).await
    }

    async fn replace(
        &self,
        record: &InstanceRecord,
        credentials: Option<&Credentials>,
        now: Timestamp,
    ) -> Result<InstanceRecord, InstancesError> {
        let seal = |credentials: &Credentials| self.keys.seal(&record.user, credentials.expose());
        let sealed = credentials.map(seal).transpose().map_err(unreadable)?;
        let record = record.clone();
        let replaced = self
            .file
            .write(move |db| instance::replace(db, &record, sealed.as_ref(), now));
        replaced.await.flatten()
    }

    async fn raise_history_id(
        &self,
        user: &UserId,
        history_id: HistoryId,
        now: Timestamp,
    ) -> Result<bool, InstancesError> {
        let user = user.clone();
        self.file
            .write(move |db| instance::raise(db, &user, history_id, now))
            .await
    }

    async fn remove(&self, user: &UserId) -> Result<bool, InstancesError> {
        let user = user.clone();
        self.file.write(move |db| instance::remove(db, &user)).await
    }

    async fn credentials(&self, user: &UserId) -> Result<Option<Credentials>, InstancesError> {
        let whose = user.clone();
        let sealed = self
            .file
            .read::<_, InstancesError>(move |db| Ok(credential::find(db, &whose)?));
        let Some(sealed) = sealed.await? else {
            return Ok(None);
        };
        let opened = self.keys.open(user, &sealed).map_err(unreadable)?;
        Ok(Some(opened.into()))
    }

    async fn user_by_email(&self, email: &EmailAddress) -> Result<Option<UserId>, InstancesError> {
        let email = email.clone();
        self.file
            .read(move |db| instance::user_by_email(db, &email))
            .await
    }

    async fn user_by_sandbox(
        &self,
        sandbox_id: &SandboxId,
    ) -> Result<Option<UserId>, InstancesError> {
        let sandbox_id = sandbox_id.clone();
        self.file
            .read(move |db| instance::user_by_sandbox(db, &sandbox_id))
            .await
    }

    async fn list(
        &self,
        listing: &Listing,
        most: usize,
    ) -> Result<Vec<InstanceRecord>, InstancesError> {
        let listing = listing.clone();
        self.file
            .read(move |db| instance::list(db, &listing, most))
            .await
    }

    async fn untold(
        &self,
        after: Option<&UserId>,
        most: usize,
    ) -> Result<Vec<UserId>, InstancesError> {
        let after = after.cloned();
        self.file
            .read(move |db| instance::untold(db, after.as_ref(), most))
            .await
    }

    async fn left_machines(
        &self,
        after: Option<&FlyMachine>,
        most: usize,
    ) -> Result<Vec<FlyMachine>, InstancesError> {
        let after = after.cloned();
        self.file
            .read(move |db| Ok(left_machine::list(db, after.as_ref(), most)?))
            .await
    }

    async fn machine_is_cleared(&self, machine: &FlyMachine) -> Result<(), InstancesError> {
        let machine = machine.clone();
        self.file
            .write(move |db| Ok(left_machine::forget(db, &machine)?))
            .await
    }

    async fn count(&self) -> Result<u64, InstancesError> {
        self.file.read(instance::count).await
    }
}
