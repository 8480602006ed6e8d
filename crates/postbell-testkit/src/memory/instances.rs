//! Records in memory, for tests.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use parking_lot::Mutex;

use postbell_core::instances::{Listing, NewInstance};
use postbell_core::{
    Credentials, EmailAddress, FlyMachine, HistoryId, InstanceRecord, Instances, InstancesError,
    Place, SandboxId, Timestamp, UserId,
};

/// Records in memory, for tests: keeps every promise but that of surviving the process, and that a
/// page costs the same wherever it begins.
#[derive(Default)]
pub struct MemoryInstances {
    rows: Mutex<BTreeMap<UserId, Row>>,
    /// Locked after the rows.
    left: Mutex<BTreeSet<FlyMachine>>,
}

struct Row {
    record: InstanceRecord,
    credentials: Option<Credentials>,
}

impl Row {
    fn email(&self) -> Option<&EmailAddress> {
        self.record.google.as_ref()?.email.as_ref()
    }
}

impl MemoryInstances {
    /// Keeps a machine in mind that a user had, if nobody has it now, and none that somebody has.
    fn note_who_left(&self, rows: &BTreeMap<UserId, Row>, before: Option<&Place>) {
        let has = |machine: &FlyMachine| {
            let mut places = rows.values().map(|row| &row.record.place);
            places.any(|place| matches!(place, Place::Fly(theirs) if theirs == machine))
        };
        let mut left = self.left.lock();
        if let Some(Place::Fly(machine)) = before {
            left.insert(machine.clone());
        }
        left.retain(|machine| !has(machine));
    }
}

fn refuse_taken(
    rows: &BTreeMap<UserId, Row>,
    user: &UserId,
    sandbox_id: &SandboxId,
) -> Result<(), InstancesError> {
    let mut others = rows.values().filter(|row| row.record.user != *user);
    if others.any(|row| row.record.sandbox_id == *sandbox_id) {
        Err(InstancesError::SandboxTaken)
    } else {
        Ok(())
    }
}

/// Whether a record has an address that is new to it and another user's. One that it has already
/// stays: a file may have two of them from a time when that was allowed.
fn takes_an_address(rows: &BTreeMap<UserId, Row>, record: &InstanceRecord) -> bool {
    let email = record
        .google
        .as_ref()
        .and_then(|google| google.email.as_ref());
    let has_it = |row: &Row| row.email() == email;
    email.is_some() && !rows.get(&record.user).is_some_and(has_it) && rows.values().any(has_it)
}

#[async_trait]
impl Instances for MemoryInstances {
    async fn add(
        &self,
        new: NewInstance,
        now: Timestamp,
    ) -> Result<InstanceRecord, InstancesError> {
        let mut rows = self.rows.lock();
        if rows.contains_key(&new.user) {
            return Err(InstancesError::AlreadyThere { user: new.user });
        }
        refuse_taken(&rows, &new.user, &new.sandbox_id)?;
        let record = InstanceRecord::new(new, now);
        let row = Row {
            record: record.clone(),
            credentials: None,
        };
        rows.insert(record.user.clone(), row);
        self.note_who_left(&rows, None);
        Ok(record)
    }

    async fn get(&self, user: &UserId) -> Result<Option<InstanceRecord>, InstancesError> {
        Ok(self.rows.lock().get(user).map(|row| row.record.clone()))
    }

    async fn replace(
        &self,
        record: &InstanceRecord,
        credentials: Option<&Credentials>,
        now: Timestamp,
    ) -> Result<InstanceRecord, InstancesError> {
        let user = record.user.clone();
        let mut rows = self.rows.lock();
        match rows.get(&user) {
            None => return Err(InstancesError::Missing { user }),
            Some(row) if row.record.version != record.version => {
                return Err(InstancesError::Changed { user });
            }
            Some(_) => refuse_taken(&rows, &user, &record.sandbox_id)?,
        }
        if takes_an_address(&rows, record) {
            return Err(InstancesError::AddressTaken);
        }
        let Some(row) = rows.get_mut(&user) else {
            return Err(InstancesError::Missing { user });
        };
        let before = row.record.place.clone();
        row.record = InstanceRecord {
            created_at: row.record.created_at,
            updated_at: now,
            version: record.version + 1,
            ..record.clone()
        };
        if let Some(credentials) = credentials {
            row.credentials = Some(credentials.clone());
        }
        row.credentials.take_if(|_| record.google.is_none());
        let written = row.record.clone();
        self.note_who_left(&rows, Some(&before));
        Ok(written)
    }

    async fn raise_history_id(
        &self,
        user: &UserId,
        history_id: HistoryId,
        now: Timestamp,
    ) -> Result<bool, InstancesError> {
        let mut rows = self.rows.lock();
        let record = rows.get_mut(user).map(|row| &mut row.record);
        let Some(record) = record
            .filter(|record| record.google.is_some() && record.last_history_id < Some(history_id))
        else {
            return Ok(false);
        };
        record.last_history_id = Some(history_id);
        record.updated_at = now;
        record.version += 1;
        Ok(true)
    }

    async fn remove(&self, user: &UserId) -> Result<bool, InstancesError> {
        let mut rows = self.rows.lock();
        let removed = rows.remove(user);
        self.note_who_left(&rows, removed.as_ref().map(|row| &row.record.place));
        Ok(removed.is_some())
    }

    async fn credentials(&self, user: &UserId) -> Result<Option<Credentials>, InstancesError> {
        let rows = self.rows.lock();
        Ok(rows.get(user).and_then(|row| row.credentials.clone()))
    }

    async fn user_by_email(&self, email: &EmailAddress) -> Result<Option<UserId>, InstancesError> {
        let rows = self.rows.lock();
        let whose = rows.values().find(|row| row.email() == Some(email));
        Ok(whose.map(|row| row.record.user.clone()))
    }

    async fn user_by_sandbox(
        &self,
        sandbox_id: &SandboxId,
    ) -> Result<Option<UserId>, InstancesError> {
        let rows = self.rows.lock();
        let found = rows
            .values()
            .find(|row| row.record.sandbox_id == *sandbox_id);
        Ok(found.map(|row| row.record.user.clone()))
    }

    async fn list(
        &self,
        listing: &Listing,
        most: usize,
    ) -> Result<Vec<InstanceRecord>, InstancesError> {
        let rows = self.rows.lock();
        let records = match listing {
            Listing::ByUser { prefix, after } => rows
                .iter()
                .filter(|(user, _)| user.as_str().starts_with(prefix))
                .filter(|(user, _)| after.as_ref().is_none_or(|after| *user > after))
                .map(|(_, row)| row.record.clone())
                .take(most)
                .collect(),
            Listing::ByEmail { prefix, after } => {
                let prefix = prefix.to_lowercase();
                let after = after.as_ref().map(|(email, user)| (email, user));
                let mut found: Vec<_> = rows
                    .values()
                    .filter_map(|row| Some(((row.email()?, &row.record.user), &row.record)))
                    .filter(|((email, _), _)| email.as_str().starts_with(&prefix))
                    .filter(|(place, _)| after.is_none_or(|after| *place > after))
                    .collect();
                found.sort_by_key(|(place, _)| *place);
                let records = found.into_iter().map(|(_, record)| record.clone());
                records.take(most).collect()
            }
        };
        Ok(records)
    }

    async fn untold(
        &self,
        after: Option<&UserId>,
        most: usize,
    ) -> Result<Vec<UserId>, InstancesError> {
        let rows = self.rows.lock();
        let untold = rows.values().map(|row| &row.record);
        let untold = untold.filter(|record| record.untold.is_some());
        let rest = untold.filter(|record| after.is_none_or(|after| record.user > *after));
        Ok(rest.take(most).map(|record| record.user.clone()).collect())
    }

    async fn left_machines(
        &self,
        after: Option<&FlyMachine>,
        most: usize,
    ) -> Result<Vec<FlyMachine>, InstancesError> {
        let left = self.left.lock();
        let rest = left
            .iter()
            .filter(|machine| after.is_none_or(|after| *machine > after));
        Ok(rest.take(most).cloned().collect())
    }

    async fn machine_is_cleared(&self, machine: &FlyMachine) -> Result<(), InstancesError> {
        self.left.lock().remove(machine);
        Ok(())
    }

    async fn count(&self) -> Result<u64, InstancesError> {
        Ok(self.rows.lock().len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::instances_conformance!((Box::new(MemoryInstances::default()), ()));
}
