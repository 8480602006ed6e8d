//! The audit log and the audited ports in memory.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use postbell_core::{
    AUDIT_KEPT, AccessTokens, Actor, AlertTargets, AuditAction, AuditEntry, AuditLog, AuditedPorts,
    DeliveryLog, Sessions, StoreError, StoredTarget, TargetId, UserId, Users,
};

use super::{MemoryAlerts, MemoryDeliveries, MemorySessions, MemoryTokens, MemoryUsers};

/// The audit log in memory. Clones share the entries.
#[derive(Clone, Default)]
pub struct MemoryAudit(Arc<Mutex<Vec<AuditEntry>>>);

/// Records the changes of an actor, if there is one.
#[derive(Clone, Default)]
pub(super) struct Recorder(Option<(Actor, MemoryAudit)>);

/// All audited ports in memory. The ports that it returns share what is stored in its fields.
#[derive(Clone)]
pub struct MemoryStore {
    /// The users.
    pub users: MemoryUsers,
    /// Links and sessions.
    pub sessions: MemorySessions,
    /// Keys and tokens.
    pub tokens: MemoryTokens,
    /// The queue.
    pub deliveries: MemoryDeliveries,
    /// The alerts and their targets.
    pub alerts: Arc<MemoryAlerts>,
    /// The log of all changes.
    pub audit: MemoryAudit,
}

impl Default for MemoryStore {
    fn default() -> Self {
        let tokens = MemoryTokens::default();
        Self {
            users: MemoryUsers::default().with_tokens(tokens.clone()),
            sessions: MemorySessions::default(),
            tokens,
            deliveries: MemoryDeliveries::default(),
            alerts: Arc::default(),
            audit: MemoryAudit::default(),
        }
    }
}

impl MemoryAudit {
    fn push(&self, by: &Actor, action: AuditAction, user: Option<&UserId>, detail: &str) {
        let mut entries = self.0.lock();
        // A clock that was ahead for one entry deletes nothing.
        let now = entries.last().map_or(by.at, |before| before.at.min(by.at));
        let number = entries.last().map_or(1, |last| last.number + 1);
        entries.push(AuditEntry {
            number,
            at: by.at,
            actor: by.name.clone(),
            origin: by.origin.clone(),
            action: action.to_string(),
            user: user.cloned(),
            detail: detail.to_owned(),
        });
        entries.retain(|entry| entry.number == number || entry.at + AUDIT_KEPT > now);
    }
}

impl Recorder {
    pub(super) fn new(by: &Actor, audit: &MemoryAudit) -> Self {
        Self(Some((by.clone(), audit.clone())))
    }

    pub(super) fn record(&self, action: AuditAction, user: Option<&UserId>, detail: &str) {
        if let Some((by, audit)) = &self.0 {
            audit.push(by, action, user, detail);
        }
    }
}

#[async_trait]
impl AuditLog for MemoryAudit {
    async fn entries(
        &self,
        user: Option<&UserId>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let entries = self.0.lock();
        let wanted = entries.iter().rev().filter(|entry| {
            before.is_none_or(|before| entry.number < before)
                && (user.is_none() || entry.user.as_ref() == user)
        });
        Ok(wanted.take(limit).cloned().collect())
    }

    async fn append(
        &self,
        by: &Actor,
        action: AuditAction,
        user: Option<&UserId>,
        detail: &str,
    ) -> Result<(), StoreError> {
        self.push(by, action, user, detail);
        Ok(())
    }
}

/// The targets, with the changes of an actor recorded.
struct RecordedTargets {
    alerts: Arc<MemoryAlerts>,
    recorder: Recorder,
}

#[async_trait]
impl AlertTargets for RecordedTargets {
    async fn targets(&self, user: &UserId) -> Result<Vec<StoredTarget>, StoreError> {
        self.alerts.targets(user).await
    }

    async fn add_target(
        &self,
        user: &UserId,
        target: &StoredTarget,
        most: usize,
    ) -> Result<bool, StoreError> {
        let is_added = self.alerts.add_target(user, target, most).await?;
        if is_added {
            let (action, id) = (AuditAction::AddAlertTarget, target.id.as_str());
            self.recorder.record(action, Some(user), id);
        }
        Ok(is_added)
    }

    async fn remove_target(&self, user: &UserId, target: &TargetId) -> Result<bool, StoreError> {
        let is_removed = self.alerts.remove_target(user, target).await?;
        if is_removed {
            let (action, id) = (AuditAction::RemoveAlertTarget, target.as_str());
            self.recorder.record(action, Some(user), id);
        }
        Ok(is_removed)
    }
}

impl AuditedPorts for MemoryStore {
    fn users(&self, by: &Actor) -> Arc<dyn Users> {
        Arc::new(self.users.recording(Recorder::new(by, &self.audit)))
    }

    fn sessions(&self, by: &Actor) -> Arc<dyn Sessions> {
        Arc::new(self.sessions.recording(Recorder::new(by, &self.audit)))
    }

    fn tokens(&self, by: &Actor) -> Arc<dyn AccessTokens> {
        Arc::new(self.tokens.recording(Recorder::new(by, &self.audit)))
    }

    fn delivery_log(&self, by: &Actor) -> Arc<dyn DeliveryLog> {
        Arc::new(self.deliveries.recording(Recorder::new(by, &self.audit)))
    }

    fn alert_targets(&self, by: &Actor) -> Arc<dyn AlertTargets> {
        Arc::new(RecordedTargets {
            alerts: Arc::clone(&self.alerts),
            recorder: Recorder::new(by, &self.audit),
        })
    }

    fn audit_log(&self) -> Arc<dyn AuditLog> {
        Arc::new(self.audit.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operated;

    crate::operator_conformance!({
        let store = Arc::new(MemoryStore::default());
        let queue = Arc::new(store.deliveries.clone());
        let ports = Arc::clone(&store) as Arc<dyn AuditedPorts>;
        (Operated { ports, queue }, ())
    });
}
