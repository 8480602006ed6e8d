//! The users' records in one SQLite file.

use std::sync::Arc;

use async_trait::async_trait;
use postbell_core::{
    EmailAddress, HistoryId, Listing, ManagedMachine, NewUser, SandboxId, StoredCredentials,
    Timestamp, UserId, UserRecord, Users, UsersError,
};

use super::database::Database;
use super::{credential, instance, left_machine};
use crate::at_rest::{AtRestError, KeyRing};

/// The users' records in one SQLite file, which may be that of an inbox.
pub(crate) struct SqliteUsers {
    file: Arc<Database>,
    keys: Option<Arc<KeyRing>>,
}

impl SqliteUsers {
    pub(crate) fn new(file: Arc<Database>, keys: Option<Arc<KeyRing>>) -> Self {
        Self { file, keys }
    }

    fn keys(&self) -> Result<&KeyRing, UsersError> {
        let missing = || unreadable(AtRestError::NoKeys);
        self.keys.as_deref().ok_or_else(missing)
    }
}

fn unreadable(error: AtRestError) -> UsersError {
    UsersError::Corrupt {
        what: "credentials",
        source: error.into(),
    }
}

#[async_trait]
impl Users for SqliteUsers {
    async fn add(&self, new: NewUser, now: Timestamp) -> Result<UserRecord, UsersError> {
        let added = self.file.write(move |db| instance::add(db, &new, now));
        added.await.flatten()
    }

    async fn get(&self, user: &UserId) -> Result<Option<UserRecord>, UsersError> {
        let user = user.clone();
        self.file.read(move |db| instance::find(db, &user)).await
    }

    async fn replace(
        &self,
        record: &UserRecord,
        credentials: Option<&StoredCredentials>,
        now: Timestamp,
    ) -> Result<UserRecord, UsersError> {
        let sealed = match credentials {
            Some(credentials) => {
                let sealed = self.keys()?.seal(&record.user, credentials.expose());
                Some(sealed.map_err(unreadable)?)
            }
            None => None,
        };
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
    ) -> Result<bool, UsersError> {
        let user = user.clone();
        self.file
            .write(move |db| instance::raise(db, &user, history_id, now))
            .await
    }

    async fn remove(&self, user: &UserId) -> Result<bool, UsersError> {
        let user = user.clone();
        self.file.write(move |db| instance::remove(db, &user)).await
    }

    async fn credentials(&self, user: &UserId) -> Result<Option<StoredCredentials>, UsersError> {
        let whose = user.clone();
        let sealed = self
            .file
            .read::<_, UsersError>(move |db| Ok(credential::find(db, &whose)?));
        let Some(sealed) = sealed.await? else {
            return Ok(None);
        };
        let opened = self.keys()?.open(user, &sealed).map_err(unreadable)?;
        Ok(Some(opened.into()))
    }

    async fn user_by_email(&self, email: &EmailAddress) -> Result<Option<UserId>, UsersError> {
        let email = email.clone();
        self.file
            .read(move |db| instance::user_by_email(db, &email))
            .await
    }

    async fn user_by_sandbox(&self, sandbox_id: &SandboxId) -> Result<Option<UserId>, UsersError> {
        let sandbox_id = sandbox_id.clone();
        self.file
            .read(move |db| instance::user_by_sandbox(db, &sandbox_id))
            .await
    }

    async fn list(&self, listing: &Listing, most: usize) -> Result<Vec<UserRecord>, UsersError> {
        let listing = listing.clone();
        self.file
            .read(move |db| instance::list(db, &listing, most))
            .await
    }

    async fn untold(&self, after: Option<&UserId>, most: usize) -> Result<Vec<UserId>, UsersError> {
        let after = after.cloned();
        self.file
            .read(move |db| instance::untold(db, after.as_ref(), most))
            .await
    }

    async fn orphaned_machines(
        &self,
        after: Option<&ManagedMachine>,
        most: usize,
    ) -> Result<Vec<ManagedMachine>, UsersError> {
        let after = after.cloned();
        self.file
            .read(move |db| Ok(left_machine::list(db, after.as_ref(), most)?))
            .await
    }

    async fn remove_orphaned_machine(&self, machine: &ManagedMachine) -> Result<(), UsersError> {
        let machine = machine.clone();
        self.file
            .write(move |db| Ok(left_machine::forget(db, &machine)?))
            .await
    }

    async fn count(&self) -> Result<u64, UsersError> {
        self.file.read(instance::count).await
    }
}
