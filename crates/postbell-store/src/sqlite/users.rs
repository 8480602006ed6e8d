//! Users, credentials and orphaned machines in one SQLite file.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{
    Actor, AuditAction, Credentials, EmailAddress, FleetCounts, HistoryId, Listing, ManagedMachine,
    NewAccount, NewUser, OrphanedMachines, ProblemCode, SandboxId, StoreError, StoredCredentials,
    Timestamp, UserId, UserRecord, Users, UsersError,
};

use super::audit;
use super::database::Database;
use super::failure::Failure;
use super::writer::Transaction;
use super::{credential, marks, orphaned_machine, user};
use crate::accounts::removal;
use crate::at_rest::Secrets;

/// Users, credentials and orphaned machines in one SQLite file.
pub(crate) struct SqliteUsers {
    database: Arc<Database>,
    secrets: Secrets,
    /// Whose changes are recorded.
    by: Option<Actor>,
}

impl SqliteUsers {
    pub(crate) fn new(database: Arc<Database>, secrets: Secrets, by: Option<Actor>) -> Self {
        Self {
            database,
            secrets,
            by,
        }
    }
}

/// Adds a user, and records it.
fn add(
    db: &Transaction<'_>,
    new: &NewUser,
    by: Option<&Actor>,
    now: Timestamp,
) -> Result<Result<UserRecord, UsersError>, Failure> {
    let added = user::add(db, new, now)?;
    if added.is_ok() {
        audit::record(db, by, AuditAction::AddUser, Some(&new.user), "")?;
    }
    announced(db, added)
}

/// Announces the user of a record that was written.
fn announced(
    db: &Transaction<'_>,
    written: Result<UserRecord, UsersError>,
) -> Result<Result<UserRecord, UsersError>, Failure> {
    if let Ok(record) = &written {
        announce(db, record);
    }
    Ok(written)
}

/// Announces the record, and the user whose account it is.
fn announce(db: &Transaction<'_>, record: &UserRecord) {
    db.changed(&record.user);
    if let Some(owner) = &record.owner {
        db.changed(owner);
    }
}

#[async_trait]
impl Users for SqliteUsers {
    async fn add(&self, new: NewUser, now: Timestamp) -> Result<UserRecord, UsersError> {
        let by = self.by.clone();
        let added = self
            .database
            .write::<_, StoreError>(move |db| add(db, &new, by.as_ref(), now));
        added.await?
    }

    async fn add_all(
        &self,
        new: Vec<NewUser>,
        now: Timestamp,
    ) -> Result<Vec<Result<UserRecord, UsersError>>, StoreError> {
        let by = self.by.clone();
        self.database
            .write(move |db| {
                let added = new.iter().map(|new| add(db, new, by.as_ref(), now));
                added.collect()
            })
            .await
    }

    async fn add_account(
        &self,
        new: NewAccount,
        credentials: &StoredCredentials,
        now: Timestamp,
    ) -> Result<UserRecord, UsersError> {
        let sealed = self.secrets.encrypt(&new.record, credentials.expose())?;
        let by = self.by.clone();
        let added = self.database.write::<_, StoreError>(move |db| {
            let added = user::add_account(db, &new, &sealed, now)?;
            if let Ok(record) = &added {
                let detail = record.about_account("connected a further Google account");
                let (user, action) = (Some(record.bot()), AuditAction::ChangeUser);
                audit::record(db, by.as_ref(), action, user, &detail)?;
            }
            announced(db, added)
        });
        added.await?
    }

    async fn accounts_of(&self, owners: &[UserId]) -> Result<Vec<UserRecord>, StoreError> {
        let owners = owners.to_vec();
        self.database
            .read(move |db| user::accounts_of(db, &owners))
            .await
    }

    async fn get(&self, user: &UserId) -> Result<Option<UserRecord>, StoreError> {
        let user = user.clone();
        self.database.read(move |db| user::find(db, &user)).await
    }

    async fn replace(
        &self,
        record: &UserRecord,
        credentials: Option<&StoredCredentials>,
        now: Timestamp,
    ) -> Result<UserRecord, UsersError> {
        let encrypt = |it: &StoredCredentials| self.secrets.encrypt(&record.user, it.expose());
        let encrypted = credentials.map(encrypt).transpose()?;
        let (record, by) = (record.clone(), self.by.clone());
        let replaced = self.database.write::<_, StoreError>(move |db| {
            let user = &record.user;
            let before = by.as_ref().map(|_| user::find(db, user)).transpose()?;
            let replaced = user::replace(db, &record, encrypted.as_ref(), now)?;
            if let (Ok(after), Some(Some(before))) = (&replaced, before) {
                let detail = after.changes_since(&before);
                let action = AuditAction::ChangeUser;
                if !detail.is_empty() {
                    audit::record(db, by.as_ref(), action, Some(after.bot()), &detail)?;
                }
            }
            announced(db, replaced)
        });
        replaced.await?
    }

    async fn raise_history_id(
        &self,
        user: &UserId,
        history_id: HistoryId,
    ) -> Result<bool, StoreError> {
        let user = user.clone();
        self.database
            .write(move |db| {
                let is_raised = user::raise(db, &user, history_id)?;
                if is_raised {
                    db.changed(&user);
                }
                Ok(is_raised)
            })
            .await
    }

    async fn record_start(
        &self,
        user: &UserId,
        now: Timestamp,
        pause: Duration,
    ) -> Result<bool, StoreError> {
        let user = user.clone();
        self.database
            .write(move |db| user::record_start(db, &user, now, pause))
            .await
    }

    async fn remove(&self, record: &UserRecord) -> Result<bool, UsersError> {
        let (record, by) = (record.clone(), self.by.clone());
        let removed = self.database.write::<_, StoreError>(move |db| {
            let removed = user::remove(db, &record)?;
            if let Ok(Some(record)) = &removed {
                announce(db, record);
                let (action, detail) = removal(record);
                audit::record(db, by.as_ref(), action, Some(record.bot()), &detail)?;
            }
            Ok(removed)
        });
        removed.await?.map(|removed| removed.is_some())
    }

    async fn users_by_email(&self, email: &EmailAddress) -> Result<Vec<UserId>, StoreError> {
        let email = email.clone();
        self.database
            .read(move |db| user::users_by_email(db, &email))
            .await
    }

    async fn user_by_sandbox(&self, sandbox_id: &SandboxId) -> Result<Option<UserId>, StoreError> {
        let sandbox_id = sandbox_id.clone();
        self.database
            .read(move |db| user::user_by_sandbox(db, &sandbox_id))
            .await
    }

    async fn list(&self, listing: &Listing, limit: usize) -> Result<Vec<UserRecord>, StoreError> {
        let listing = listing.clone();
        self.database
            .read(move |db| user::list(db, &listing, limit))
            .await
    }

    async fn pending_sync(
        &self,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<UserId>, StoreError> {
        let after = after.cloned();
        self.database
            .read(move |db| user::pending_sync(db, after.as_ref(), limit))
            .await
    }

    async fn marks(&self, users: &[UserId]) -> Result<Vec<(UserId, String)>, StoreError> {
        let users = users.to_vec();
        self.database
            .read(move |db| marks::read(db, user::MARKS, &users))
            .await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        self.database.read(user::count).await
    }

    async fn count_problems(&self) -> Result<Vec<(ProblemCode, u64)>, StoreError> {
        self.database.read(user::count_problems).await
    }

    async fn fleet_counts(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<FleetCounts, StoreError> {
        self.database
            .read(move |db| user::fleet_counts(db, now, until))
            .await
    }

    async fn check_ready(&self, now: Timestamp) -> Result<(), StoreError> {
        self.database.check_ready(now).await
    }
}

#[async_trait]
impl Credentials for SqliteUsers {
    async fn credentials(&self, user: &UserId) -> Result<Option<StoredCredentials>, StoreError> {
        let owner = user.clone();
        let encrypted = self
            .database
            .read::<_, StoreError>(move |db| credential::find(db, &owner));
        let Some(encrypted) = encrypted.await? else {
            return Ok(None);
        };
        let opened = self.secrets.open(user, &encrypted)?;
        Ok(Some(opened.into()))
    }
}

#[async_trait]
impl OrphanedMachines for SqliteUsers {
    async fn orphaned_machines(
        &self,
        after: Option<&ManagedMachine>,
        limit: usize,
    ) -> Result<Vec<ManagedMachine>, StoreError> {
        let after = after.cloned();
        self.database
            .read(move |db| Ok(orphaned_machine::list(db, after.as_ref(), limit)?))
            .await
    }

    async fn remove_orphaned_machine(&self, machine: &ManagedMachine) -> Result<(), StoreError> {
        let machine = machine.clone();
        self.database
            .write(move |db| Ok(orphaned_machine::remove(db, &machine)?))
            .await
    }
}
