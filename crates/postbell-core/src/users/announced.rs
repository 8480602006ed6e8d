//! Users' records that announce changes.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Listing, NewUser, StoredCredentials, UserRecord, Users, UsersError};
use crate::{Changes, EmailAddress, HistoryId, SandboxId, StoreError, Timestamp, UserId};

/// Users' records that announce each change of this process.
pub struct AnnouncedUsers {
    /// The records.
    pub users: Arc<dyn Users>,
    /// The listeners.
    pub changes: Changes,
}

#[async_trait]
impl Users for AnnouncedUsers {
    async fn add(&self, new: NewUser, now: Timestamp) -> Result<UserRecord, UsersError> {
        let added = self.users.add(new, now).await?;
        self.changes.tell(&added.user);
        Ok(added)
    }

    async fn get(&self, user: &UserId) -> Result<Option<UserRecord>, StoreError> {
        self.users.get(user).await
    }

    async fn replace(
        &self,
        record: &UserRecord,
        credentials: Option<&StoredCredentials>,
        now: Timestamp,
    ) -> Result<UserRecord, UsersError> {
        let replaced = self.users.replace(record, credentials, now).await?;
        self.changes.tell(&replaced.user);
        Ok(replaced)
    }

    async fn raise_history_id(
        &self,
        user: &UserId,
        history_id: HistoryId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let raised = self.users.raise_history_id(user, history_id, now).await?;
        if raised {
            self.changes.tell(user);
        }
        Ok(raised)
    }

    async fn remove(&self, user: &UserId) -> Result<bool, StoreError> {
        let removed = self.users.remove(user).await?;
        if removed {
            self.changes.tell(user);
        }
        Ok(removed)
    }

    async fn user_by_email(&self, email: &EmailAddress) -> Result<Option<UserId>, StoreError> {
        self.users.user_by_email(email).await
    }

    async fn user_by_sandbox(&self, sandbox_id: &SandboxId) -> Result<Option<UserId>, StoreError> {
        self.users.user_by_sandbox(sandbox_id).await
    }

    async fn list(&self, listing: &Listing, most: usize) -> Result<Vec<UserRecord>, StoreError> {
        self.users.list(listing, most).await
    }

    async fn pending_sync(
        &self,
        after: Option<&UserId>,
        most: usize,
    ) -> Result<Vec<UserId>, StoreError> {
        self.users.pending_sync(after, most).await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        self.users.count().await
    }
}
