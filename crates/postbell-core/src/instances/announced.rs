//! Records that say whose has changed.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Credentials, InstanceRecord, Instances, InstancesError, Listing, NewInstance};
use crate::{Changes, EmailAddress, FlyMachine, HistoryId, SandboxId, Timestamp, UserId};

/// Users' records that say whose has changed, once that is done, whoever of this process changed it.
pub struct AnnouncedInstances {
    /// The records themselves.
    pub instances: Arc<dyn Instances>,
    /// Who is told.
    pub changes: Changes,
}

#[async_trait]
impl Instances for AnnouncedInstances {
    async fn add(
        &self,
        new: NewInstance,
        now: Timestamp,
    ) -> Result<InstanceRecord, InstancesError> {
        let added = self.instances.add(new, now).await?;
        self.changes.tell(&added.user);
        Ok(added)
    }

    async fn get(&self, user: &UserId) -> Result<Option<InstanceRecord>, InstancesError> {
        self.instances.get(user).await
    }

    async fn replace(
        &self,
        record: &InstanceRecord,
        credentials: Option<&Credentials>,
        now: Timestamp,
    ) -> Result<InstanceRecord, InstancesError> {
        let replaced = self.instances.replace(record, credentials, now).await?;
        self.changes.tell(&replaced.user);
        Ok(replaced)
    }

    async fn raise_history_id(
        &self,
        user: &UserId,
        history_id: HistoryId,
        now: Timestamp,
    ) -> Result<bool, InstancesError> {
        let raised = self
            .instances
            .raise_history_id(user, history_id, now)
            .await?;
        if raised {
            self.changes.tell(user);
        }
        Ok(raised)
    }

    async fn remove(&self, user: &UserId) -> Result<bool, InstancesError> {
        let removed = self.instances.remove(user).await?;
        if removed {
            self.changes.tell(user);
        }
        Ok(removed)
    }

    async fn credentials(&self, user: &UserId) -> Result<Option<Credentials>, InstancesError> {
        self.instances.credentials(user).await
    }

    async fn user_by_email(&self, email: &EmailAddress) -> Result<Option<UserId>, InstancesError> {
        self.instances.user_by_email(email).await
    }

    async fn user_by_sandbox(
        &self,
        sandbox_id: &SandboxId,
    ) -> Result<Option<UserId>, InstancesError> {
        self.instances.user_by_sandbox(sandbox_id).await
    }

    async fn list(
        &self,
        listing: &Listing,
        most: usize,
    ) -> Result<Vec<InstanceRecord>, InstancesError> {
        self.instances.list(listing, most).await
    }

    async fn untold(
        &self,
        after: Option<&UserId>,
        most: usize,
    ) -> Result<Vec<UserId>, InstancesError> {
        self.instances.untold(after, most).await
    }

    async fn left_machines(
        &self,
        after: Option<&FlyMachine>,
        most: usize,
    ) -> Result<Vec<FlyMachine>, InstancesError> {
        self.instances.left_machines(after, most).await
    }

    async fn machine_is_cleared(&self, machine: &FlyMachine) -> Result<(), InstancesError> {
        self.instances.machine_is_cleared(machine).await
    }

    async fn count(&self) -> Result<u64, InstancesError> {
        self.instances.count().await
    }
}
