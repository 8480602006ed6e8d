//! The outbox of alerts and the users' targets in one SQLite file.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{
    Actor, AlertClaim, AlertMark, AlertOutbox, AlertScope, AlertSettlement, AlertTargets,
    AuditAction, NewAlert, StoreError, StoredTarget, TargetId, Timestamp, UserId,
};
use secrecy::ExposeSecret;

use super::database::Database;
use super::failure::Failure;
use super::{alert, alert_mark, alert_target, audit};
use crate::at_rest::Secrets;
use crate::columns::SealedTarget;

/// The outbox of alerts and the users' targets in one SQLite file.
pub(crate) struct SqliteAlerts {
    database: Arc<Database>,
    secrets: Secrets,
    /// Whose changes of targets are recorded.
    by: Option<Actor>,
}

impl SqliteAlerts {
    pub(crate) fn new(database: Arc<Database>, secrets: Secrets, by: Option<Actor>) -> Self {
        Self {
            database,
            secrets,
            by,
        }
    }
}

#[async_trait]
impl AlertOutbox for SqliteAlerts {
    async fn mark(&self, subject: &str) -> Result<AlertMark, StoreError> {
        let subject = subject.to_owned();
        self.database
            .read(move |db| alert_mark::find(db, &subject))
            .await
    }

    async fn due_marks(&self, now: Timestamp, limit: usize) -> Result<Vec<AlertMark>, StoreError> {
        self.database
            .read(move |db| alert_mark::due(db, now, limit))
            .await
    }

    async fn observe(
        &self,
        mark: &AlertMark,
        alerts: &[NewAlert],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (mark, alerts) = (mark.clone(), alerts.to_vec());
        self.database
            .write(move |db| {
                let is_written = alert_mark::write(db, &mark)?;
                if is_written {
                    alert::add(db, &alerts, now)?;
                }
                Ok(is_written)
            })
            .await
    }

    async fn claim(
        &self,
        scope: &AlertScope,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<AlertClaim>, StoreError> {
        let scope = scope.clone();
        self.database
            .write_at_last(move |db| alert::claim(db, &scope, now, lease, limit))
            .await
    }

    async fn settle(
        &self,
        claim: &AlertClaim,
        settlement: AlertSettlement,
    ) -> Result<bool, StoreError> {
        let claim = claim.clone();
        self.database
            .write_at_last(move |db| alert::settle(db, &claim, settlement))
            .await
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.database
            .write(move |db| alert::prune(db, before))
            .await
    }

    async fn waiting(&self) -> Result<u64, StoreError> {
        self.database.read(alert::count).await
    }

    async fn remove_user(&self, user: &UserId) -> Result<(), StoreError> {
        let user = user.clone();
        self.database
            .write::<_, StoreError>(move |db| {
                alert::remove_of_user(db, &user)?;
                alert_mark::remove(db, &user)?;
                Ok::<_, Failure>(alert_target::remove_of_user(db, &user)?)
            })
            .await
    }
}

#[async_trait]
impl AlertTargets for SqliteAlerts {
    async fn targets(&self, user: &UserId) -> Result<Vec<StoredTarget>, StoreError> {
        let owner = user.clone();
        let sealed = self
            .database
            .read::<_, StoreError>(move |db| alert_target::list(db, &owner))
            .await?;
        let sealed = sealed.into_iter();
        sealed
            .map(|target| target.open(&self.secrets, user))
            .collect()
    }

    async fn add_target(
        &self,
        user: &UserId,
        target: &StoredTarget,
        most: usize,
    ) -> Result<bool, StoreError> {
        let text = target.text.expose_secret();
        let text = self.secrets.encrypt(user, text)?;
        let sealed = SealedTarget {
            id: target.id.clone(),
            text,
            added_at: target.added_at,
        };
        let (user, by) = (user.clone(), self.by.clone());
        self.database
            .write(move |db| {
                db.changed(&user);
                let is_added = alert_target::add(db, &user, &sealed, most)?;
                if is_added {
                    let (action, id) = (AuditAction::AddAlertTarget, sealed.id.as_str());
                    audit::record(db, by.as_ref(), action, Some(&user), id)?;
                }
                Ok(is_added)
            })
            .await
    }

    async fn remove_target(&self, user: &UserId, target: &TargetId) -> Result<bool, StoreError> {
        let (user, target, by) = (user.clone(), target.clone(), self.by.clone());
        self.database
            .write(move |db| {
                db.changed(&user);
                alert::remove_of_target(db, &user, &target)?;
                let is_removed = alert_target::remove(db, &user, &target)?;
                if is_removed {
                    let (action, id) = (AuditAction::RemoveAlertTarget, target.as_str());
                    audit::record(db, by.as_ref(), action, Some(&user), id)?;
                }
                Ok(is_removed)
            })
            .await
    }
}
