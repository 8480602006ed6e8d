//! Records that say whose has changed.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Listing, NewUser, StoredCredentials, UserRecord, Users, UsersError};
use crate::{Changes, EmailAddress, HistoryId, ManagedMachine, SandboxId, Timestamp, UserId};

/// Users' records that say whose has changed, once that is done, whoever of this process changed it.
pub struct AnnouncedUsers {
    /// The records themselves.
    pub instances: Arc<dyn Users>,
    /// Who is told.
    pub changes: Changes,
}

#[async_trait]
impl Users for AnnouncedUsers {
    async fn add(&self, new: NewUser, now: Timestamp) -> Result<UserRecord, UsersError> {
        let added = self.instances.add(new, now).await?;
        self.changes.tell(&added.user);
        Ok(added)
    }

    async fn get(&self, user: &UserId) -> Result<Option<UserRecord>, UsersError> {
        self.instances.get(user).await
    }

    async fn replace(
        &self,
        record: &UserRecord,
        credentials: Option<&StoredCredentials>,
        now: Timestamp,
    ) -> Result<UserRecord, UsersError> {
        let replaced = self.instances.replace(record, credentials, now).await?;
        self.changes.tell(&replaced.user);
        Ok(replaced)
    }

    async fn raise_history_id(
        &self,
        user: &UserId,
        history_id: HistoryId,
        now: Timestamp,
    ) -> Result<bool, UsersError> {
        let raised = self
            .instances
            .raise_history_id(user, history_id, now)
            .await?;
        if raised {
            self.changes.tell(user);
        }
        Ok(raised)
    }

    async fn remove(&self, user: &UserId) -> Result<bool, UsersError> {
        let removed = self.instances.remove(user).await?;
        if removed {
            self.changes.tell(user);
        }
        Ok(removed)
    }

    async fn credentials(&self, user: &UserId) -> Result<Option<StoredCredentials>, UsersError> {
        self.instances.credentials(user).await
    }

    async fn user_by_email(&self, email: &EmailAddress) -> Result<Option<UserId>, UsersError> {
        self.instances.user_by_email(email).await
    }

    async fn user_by_sandbox(&self, sandbox_id: &SandboxId) -> Result<Option<UserId>, UsersError> {
        self.instances.user_by_sandbox(sandbox_id).await
    }

    async fn list(&self, listing: &Listing, most: usize) -> Result<Vec<UserRecord>, UsersError> {
        self.instances.list(listing, most).await
    }

    async fn untold(&self, after: Option<&UserId>, most: usize) -> Result<Vec<UserId>, UsersError> {
        self.instances.untold(after, most).await
    }

    async fn orphaned_machines(
        &self,
        after: Option<&ManagedMachine>,
        most: usize,
    ) -> Result<Vec<ManagedMachine>, UsersError> {
        self.instances.orphaned_machines(after, most).await
    }

    async fn remove_orphaned_machine(&self, machine: &ManagedMachine) -> Result<(), UsersError> {
        self.instances.remove_orphaned_machine(machine).await
    }

    async fn count(&self) -> Result<u64, UsersError> {
        self.instances.count().await
    }
}
