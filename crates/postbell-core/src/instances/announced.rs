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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::{InstanceStatus, MemoryInstances, Place};

    fn announced() -> AnnouncedInstances {
        AnnouncedInstances {
            instances: Arc::new(MemoryInstances::default()),
            changes: Changes::new(),
        }
    }

    crate::instances_conformance!((Box::new(announced()), ()));

    #[tokio::test]
    async fn what_is_written_is_announced_once_it_is_done() {
        const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
        let records = announced();
        let ann: UserId = "ann".parse().unwrap();
        let mut listener = records.changes.listen_to(&ann);
        let mut has_heard = || listener.changed().now_or_never().is_some();
        let new = NewInstance {
            user: ann.clone(),
            sandbox_id: SandboxId::from(&ann),
            status: InstanceStatus::Running,
            place: Place::Unknown,
            wake_on_mail: false,
        };
        let record = records.add(new, NOW).await.unwrap();
        assert!(has_heard());
        records.replace(&record, None, NOW).await.unwrap();
        assert!(has_heard());
        let stale = records.replace(&record, None, NOW).await;
        assert!(stale.is_err() && !has_heard());
        let raised = records.raise_history_id(&ann, HistoryId::new(7), NOW);
        assert!(
            !raised.await.unwrap() && !has_heard(),
            "nobody is connected"
        );
        assert!(records.remove(&ann).await.unwrap() && has_heard());
        assert!(!records.remove(&ann).await.unwrap() && !has_heard());
    }
}
