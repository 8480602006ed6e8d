//! Alerts and targets in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use postbell_core::{
    AlertClaim, AlertId, AlertMark, AlertOutbox, AlertRecipient, AlertScope, AlertSettlement,
    AlertTargets, NewAlert, StoreError, StoredTarget, TargetId, Timestamp, UserId,
};

/// Alerts and targets in memory: every promise except durability.
#[derive(Default)]
pub struct MemoryAlerts {
    rows: Mutex<BTreeMap<(AlertId, AlertRecipient), Row>>,
    marks: Mutex<BTreeMap<String, AlertMark>>,
    targets: Mutex<BTreeMap<UserId, Vec<StoredTarget>>>,
}

struct Row {
    event: String,
    added_at: Timestamp,
    due_at: Timestamp,
    attempt: u32,
    lease: i64,
}

impl Row {
    fn claimed(&self, id: &AlertId, recipient: &AlertRecipient) -> AlertClaim {
        AlertClaim {
            id: id.clone(),
            recipient: recipient.clone(),
            event: self.event.clone(),
            added_at: self.added_at,
            attempt: self.attempt,
            lease: self.lease,
        }
    }
}

#[async_trait]
impl AlertOutbox for MemoryAlerts {
    async fn mark(&self, subject: &str) -> Result<AlertMark, StoreError> {
        let found = self.marks.lock().get(subject).cloned();
        Ok(found.unwrap_or_else(|| AlertMark {
            subject: subject.to_owned(),
            state: String::new(),
            due_at: None,
            version: 0,
        }))
    }

    async fn due_marks(&self, now: Timestamp, limit: usize) -> Result<Vec<AlertMark>, StoreError> {
        let marks = self.marks.lock();
        let is_due = |mark: &&AlertMark| mark.due_at.is_some_and(|at| at <= now);
        let mut due: Vec<_> = marks.values().filter(is_due).cloned().collect();
        due.sort_by(|one, other| (one.due_at, &one.subject).cmp(&(other.due_at, &other.subject)));
        due.truncate(limit);
        Ok(due)
    }

    async fn observe(
        &self,
        mark: &AlertMark,
        alerts: &[NewAlert],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut marks = self.marks.lock();
        let stored = marks.get(&mark.subject).map_or(0, |stored| stored.version);
        if stored != mark.version {
            return Ok(false);
        }
        let written = AlertMark {
            version: mark.version + 1,
            ..mark.clone()
        };
        marks.insert(mark.subject.clone(), written);
        let mut rows = self.rows.lock();
        for alert in alerts {
            for recipient in &alert.recipients {
                let key = (alert.id.clone(), recipient.clone());
                rows.entry(key).or_insert_with(|| Row {
                    event: alert.event.clone(),
                    added_at: now,
                    due_at: now,
                    attempt: 0,
                    lease: 0,
                });
            }
        }
        Ok(true)
    }

    async fn claim(
        &self,
        scope: &AlertScope,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<AlertClaim>, StoreError> {
        let mut rows = self.rows.lock();
        let is_within = |recipient: &AlertRecipient| match &recipient.user {
            Some(_) => scope.users,
            None => scope.operator.contains(&recipient.target),
        };
        let mut due: Vec<_> = rows
            .iter_mut()
            .filter(|((_, recipient), row)| row.due_at <= now && is_within(recipient))
            .collect();
        due.sort_by_key(|(_, row)| row.due_at);
        let claimed = due.into_iter().take(limit);
        let claim = |((id, recipient), row): (&(AlertId, AlertRecipient), &mut Row)| {
            row.due_at = now + lease;
            row.lease += 1;
            row.claimed(id, recipient)
        };
        Ok(claimed.map(claim).collect())
    }

    async fn settle(
        &self,
        claim: &AlertClaim,
        settlement: AlertSettlement,
    ) -> Result<bool, StoreError> {
        let mut rows = self.rows.lock();
        let key = (claim.id.clone(), claim.recipient.clone());
        let Some(row) = rows.get_mut(&key).filter(|row| row.lease == claim.lease) else {
            return Ok(false);
        };
        match settlement {
            AlertSettlement::Done => {
                rows.remove(&key);
            }
            AlertSettlement::Retry(at) => {
                row.due_at = at;
                row.attempt += 1;
                row.lease += 1;
            }
        }
        Ok(true)
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut rows = self.rows.lock();
        let number = rows.len();
        rows.retain(|_, row| row.added_at >= before);
        Ok((number - rows.len()) as u64)
    }

    async fn waiting(&self) -> Result<u64, StoreError> {
        Ok(self.rows.lock().len() as u64)
    }

    async fn remove_user(&self, user: &UserId) -> Result<(), StoreError> {
        self.marks.lock().remove(user.as_str());
        self.targets.lock().remove(user);
        let is_others =
            |(_, recipient): &(AlertId, AlertRecipient)| recipient.user.as_ref() != Some(user);
        self.rows.lock().retain(|key, _| is_others(key));
        Ok(())
    }
}

#[async_trait]
impl AlertTargets for MemoryAlerts {
    async fn targets(&self, user: &UserId) -> Result<Vec<StoredTarget>, StoreError> {
        Ok(self.targets.lock().get(user).cloned().unwrap_or_default())
    }

    async fn add_target(
        &self,
        user: &UserId,
        target: &StoredTarget,
        most: usize,
    ) -> Result<bool, StoreError> {
        let mut targets = self.targets.lock();
        let targets = targets.entry(user.clone()).or_default();
        if let Some(stored) = targets.iter_mut().find(|stored| stored.id == target.id) {
            stored.text = target.text.clone();
            return Ok(true);
        }
        if targets.len() >= most {
            return Ok(false);
        }
        targets.push(target.clone());
        targets.sort_by(|one, other| (one.added_at, &one.id).cmp(&(other.added_at, &other.id)));
        Ok(true)
    }

    async fn remove_target(&self, user: &UserId, target: &TargetId) -> Result<bool, StoreError> {
        let recipient = AlertRecipient {
            user: Some(user.clone()),
            target: target.clone(),
        };
        self.rows.lock().retain(|(_, to), _| *to != recipient);
        let mut targets = self.targets.lock();
        let targets = targets.entry(user.clone()).or_default();
        let number = targets.len();
        targets.retain(|stored| stored.id != *target);
        Ok(targets.len() < number)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Alerts;

    crate::alerts_conformance!((Alerts::new(Arc::new(MemoryAlerts::default())), ()));
}
