//! Records in memory, for tests.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use parking_lot::Mutex;

use postbell_core::{
    EmailAddress, HistoryId, Listing, MachineLocation, ManagedMachine, NewUser, SandboxId,
    StoredCredentials, Timestamp, UserId, UserRecord, Users, UsersError,
};

/// Records in memory, for tests: keeps every promise but that of surviving the process, and that a
/// page costs the same wherever it begins.
#[derive(Default)]
pub struct MemoryUsers {
    rows: Mutex<BTreeMap<UserId, Row>>,
    /// Locked after the rows.
    left: Mutex<BTreeSet<ManagedMachine>>,
}

struct Row {
    record: UserRecord,
    credentials: Option<StoredCredentials>,
}

impl Row {
    fn email(&self) -> Option<&EmailAddress> {
        self.record.google.as_ref()?.email.as_ref()
    }
}

impl MemoryUsers {
    /// Keeps a machine in mind that a user had, if nobody has it now, and none that somebody has.
    fn note_who_left(&self, rows: &BTreeMap<UserId, Row>, before: Option<&MachineLocation>) {
        let has = |machine: &ManagedMachine| {
            let mut places = rows.values().map(|row| &row.record.place);
            places
                .any(|place| matches!(place, MachineLocation::Managed(theirs) if theirs == machine))
        };
        let mut left = self.left.lock();
        if let Some(MachineLocation::Managed(machine)) = before {
            left.insert(machine.clone());
        }
        left.retain(|machine| !has(machine));
    }
}

fn refuse_taken(
    rows: &BTreeMap<UserId, Row>,
    user: &UserId,
    sandbox_id: &SandboxId,
) -> Result<(), UsersError> {
    let mut others = rows.values().filter(|row| row.record.user != *user);
    if others.any(|row| row.record.sandbox_id == *sandbox_id) {
        Err(UsersError::SandboxTaken)
    } else {
        Ok(())
    }
}

/// Whether a record has an address that is new to it and another user's. One that it has already
/// stays: a file may have two of them from a time when that was allowed.
fn takes_an_address(rows: &BTreeMap<UserId, Row>, record: &UserRecord) -> bool {
    let email = record
        .google
        .as_ref()
        .and_then(|google| google.email.as_ref());
    let has_it = |row: &Row| row.email() == email;
    email.is_some() && !rows.get(&record.user).is_some_and(has_it) && rows.values().any(has_it)
}

#[async_trait]
impl Users for MemoryUsers {
    async fn add(&self, new: NewUser, now: Timestamp) -> Result<UserRecord, UsersError> {
        let mut rows = self.rows.lock();
        if rows.contains_key(&new.user) {
            return Err(UsersError::AlreadyThere { user: new.user });
        }
        refuse_taken(&rows, &new.user, &new.sandbox_id)?;
        let record = UserRecord::new(new, now);
        let row = Row {
            record: record.clone(),
            credentials: None,
        };
        rows.insert(record.user.clone(), row);
        self.note_who_left(&rows, None);
        Ok(record)
    }

    async fn get(&self, user: &UserId) -> Result<Option<UserRecord>, UsersError> {
        Ok(self.rows.lock().get(user).map(|row| row.record.clone()))
    }

    async fn replace(
        &self,
        record: &UserRecord,
        credentials: Option<&StoredCredentials>,
        now: Timestamp,
    ) -> Result<UserRecord, UsersError> {
        let user = record.user.clone();
        let mut rows = self.rows.lock();
        match rows.get(&user) {
            None => return Err(UsersError::Missing { user }),
            Some(row) if row.record.version != record.version => {
                return Err(UsersError::Changed { user });
            }
            Some(_) => refuse_taken(&rows, &user, &record.sandbox_id)?,
        }
        if takes_an_address(&rows, record) {
            return Err(UsersError::AddressTaken);
        }
        let Some(row) = rows.get_mut(&user) else {
            return Err(UsersError::Missing { user });
        };
        let before = row.record.place.clone();
        row.record = UserRecord {
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
    ) -> Result<bool, UsersError> {
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

    async fn remove(&self, user: &UserId) -> Result<bool, UsersError> {
        let mut rows = self.rows.lock();
        let removed = rows.remove(user);
        self.note_who_left(&rows, removed.as_ref().map(|row| &row.record.place));
        Ok(removed.is_some())
    }

    async fn credentials(&self, user: &UserId) -> Result<Option<StoredCredentials>, UsersError> {
        let rows = self.rows.lock();
        Ok(rows.get(user).and_then(|row| row.credentials.clone()))
    }

    async fn user_by_email(&self, email: &EmailAddress) -> Result<Option<UserId>, UsersError> {
        let rows = self.rows.lock();
        let whose = rows.values().find(|row| row.email() == Some(email));
        Ok(whose.map(|row| row.record.user.clone()))
    }

    async fn user_by_sandbox(&self, sandbox_id: &SandboxId) -> Result<Option<UserId>, UsersError> {
        let rows = self.rows.lock();
        let found = rows
            .values()
            .find(|row| row.record.sandbox_id == *sandbox_id);
        Ok(found.map(|row| row.record.user.clone()))
    }

    async fn list(&self, listing: &Listing, most: usize) -> Result<Vec<UserRecord>, UsersError> {
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

    async fn untold(&self, after: Option<&UserId>, most: usize) -> Result<Vec<UserId>, UsersError> {
        let rows = self.rows.lock();
        let untold = rows.values().map(|row| &row.record);
        let untold = untold.filter(|record| record.untold.is_some());
        let rest = untold.filter(|record| after.is_none_or(|after| record.user > *after));
        Ok(rest.take(most).map(|record| record.user.clone()).collect())
    }

    async fn orphaned_machines(
        &self,
        after: Option<&ManagedMachine>,
        most: usize,
    ) -> Result<Vec<ManagedMachine>, UsersError> {
        let left = self.left.lock();
        let rest = left
            .iter()
            .filter(|machine| after.is_none_or(|after| *machine > after));
        Ok(rest.take(most).cloned().collect())
    }

    async fn remove_orphaned_machine(&self, machine: &ManagedMachine) -> Result<(), UsersError> {
        self.left.lock().remove(machine);
        Ok(())
    }

    async fn count(&self) -> Result<u64, UsersError> {
        Ok(self.rows.lock().len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::users_conformance!((Box::new(MemoryUsers::default()), ()));
}
