//! Users, credentials and orphaned machines in memory.

mod list;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use postbell_core::{
    AuditAction, CLOCK_TOLERANCE, Changes, Credentials, EmailAddress, FleetCounts, HistoryId,
    Listing, MAX_ACCOUNTS_OF_USER, MAX_USERS_OF_MAILBOX, MachineLocation, ManagedMachine,
    NewAccount, NewUser, OrphanedMachines, ProblemCode, SandboxId, StoreError, StoredCredentials,
    Timestamp, UserId, UserRecord, Users, UsersError,
};

use self::rules::{
    refuse_change_to_connected, refuse_connected, refuse_taken_sandbox, set_supported,
    takes_address,
};
use super::MemoryTokens;
use super::audit::Recorder;

/// Users, credentials and orphaned machines in memory: every promise except durability and the equal
/// cost of pages. Clones share the users.
#[derive(Clone, Default)]
pub struct MemoryUsers {
    rows: Arc<Mutex<BTreeMap<UserId, Row>>>,
    /// Locked after the rows.
    orphaned: Arc<Mutex<BTreeSet<ManagedMachine>>>,
    /// Announces every change.
    pub changes: Changes,
    /// Whose tokens go with the user.
    tokens: MemoryTokens,
    recorder: Recorder,
}

struct Row {
    record: UserRecord,
    credentials: Option<StoredCredentials>,
    started_at: Option<Timestamp>,
}

impl Row {
    fn email(&self) -> Option<&EmailAddress> {
        self.record.google.as_ref()?.email.as_ref()
    }

    fn has_mailbox(&self, email: &EmailAddress) -> bool {
        let own = self.email();
        own.is_some_and(|own| own.is_same_mailbox(email.as_str()))
    }
}

impl MemoryUsers {
    /// Announces every change through `changes`.
    #[must_use]
    pub fn announcing(changes: Changes) -> Self {
        Self {
            changes,
            ..Self::default()
        }
    }

    /// Deletes the tokens of a removed user.
    #[must_use]
    pub fn with_tokens(self, tokens: MemoryTokens) -> Self {
        Self { tokens, ..self }
    }

    pub(super) fn recording(&self, recorder: Recorder) -> Self {
        Self {
            recorder,
            ..self.clone()
        }
    }

    /// Announces a record, and the user whose account it is.
    fn announce(&self, record: &UserRecord) {
        self.changes.announce(&record.user);
        if let Some(owner) = &record.owner {
            self.changes.announce(owner);
        }
    }

    /// Adds the machine that a user had, and removes those that have a user.
    fn update_orphaned(&self, rows: &BTreeMap<UserId, Row>, before: Option<&MachineLocation>) {
        let has_user = |machine: &ManagedMachine| {
            let mut locations = rows.values().map(|row| &row.record.location);
            locations.any(
                |location| matches!(location, MachineLocation::Managed(theirs) if theirs == machine),
            )
        };
        let mut orphaned = self.orphaned.lock();
        if let Some(MachineLocation::Managed(machine)) = before {
            orphaned.insert(machine.clone());
        }
        orphaned.retain(|machine| !has_user(machine));
    }
}

#[async_trait]
impl Users for MemoryUsers {
    async fn add(&self, new: NewUser, now: Timestamp) -> Result<UserRecord, UsersError> {
        let mut rows = self.rows.lock();
        if rows.contains_key(&new.user) {
            return Err(UsersError::AlreadyExists { user: new.user });
        }
        refuse_taken_sandbox(&rows, &new.user, &new.sandbox_id)?;
        let record = UserRecord::new(new, now);
        let row = Row {
            record: record.clone(),
            credentials: None,
            started_at: None,
        };
        rows.insert(record.user.clone(), row);
        self.update_orphaned(&rows, None);
        self.changes.announce(&record.user);
        let user = Some(&record.user);
        self.recorder.record(AuditAction::AddUser, user, "");
        Ok(record)
    }

    async fn add_all(
        &self,
        new: Vec<NewUser>,
        now: Timestamp,
    ) -> Result<Vec<Result<UserRecord, UsersError>>, StoreError> {
        let mut added = Vec::new();
        for new in new {
            added.push(self.add(new, now).await);
        }
        Ok(added)
    }

    async fn add_account(
        &self,
        new: NewAccount,
        credentials: &StoredCredentials,
        now: Timestamp,
    ) -> Result<UserRecord, UsersError> {
        let mut rows = self.rows.lock();
        let missing = || UsersError::Missing {
            user: new.owner.clone(),
        };
        let owner = rows.get(&new.owner).ok_or_else(missing)?;
        if owner.record.created_at != new.owner_added {
            return Err(missing());
        }
        if let Some(of) = &owner.record.owner {
            let (user, owner) = (new.owner.clone(), of.clone());
            return Err(UsersError::IsAccount { user, owner });
        }
        let mut record = UserRecord::further(new, now);
        record.set_supported(owner.record.several_accounts, now);
        refuse_connected(&rows, &record)?;
        let accounts = rows.values().filter(|row| row.record.owner == record.owner);
        if accounts.count() + 1 >= MAX_ACCOUNTS_OF_USER {
            return Err(UsersError::TooManyAccounts);
        }
        let is_same = |row: &Row| row.record.sandbox_id == record.sandbox_id;
        if rows.contains_key(&record.user) || rows.values().any(is_same) {
            return Err(UsersError::AlreadyExists { user: record.user });
        }
        if takes_address(&rows, &record) {
            return Err(UsersError::AddressTaken);
        }
        let record = UserRecord {
            version: record.version + 1,
            ..record
        };
        let row = Row {
            record: record.clone(),
            credentials: Some(credentials.clone()),
            started_at: None,
        };
        rows.insert(record.user.clone(), row);
        self.announce(&record);
        let detail = record.about_account("connected a further Google account");
        let (user, action) = (Some(record.bot()), AuditAction::ChangeUser);
        self.recorder.record(action, user, &detail);
        Ok(record)
    }

    async fn accounts_of(&self, owners: &[UserId]) -> Result<Vec<UserRecord>, StoreError> {
        let rows = self.rows.lock();
        let records = rows.values().map(|row| &row.record);
        let theirs = records.filter(|it| it.owner.as_ref().is_some_and(|it| owners.contains(it)));
        let mut theirs: Vec<_> = theirs.cloned().collect();
        theirs.sort_by_key(|record| {
            let connected_at = record.google.as_ref().map(|google| google.connected_at);
            (record.owner.clone(), connected_at, record.user.clone())
        });
        Ok(theirs)
    }

    async fn get(&self, user: &UserId) -> Result<Option<UserRecord>, StoreError> {
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
            Some(_) => (),
        }
        refuse_change_to_connected(&rows, record)?;
        if takes_address(&rows, record) {
            return Err(UsersError::AddressTaken);
        }
        refuse_taken_sandbox(&rows, &user, &record.sandbox_id)?;
        let owner = record.owner.as_ref();
        let owner = owner.and_then(|owner| rows.get(owner));
        let is_supported = owner.map(|row| row.record.several_accounts);
        let Some(row) = rows.get_mut(&user) else {
            return Err(UsersError::Missing { user });
        };
        let (before, old) = (row.record.location.clone(), row.record.clone());
        let stored = row.record.last_history_id;
        let is_kept = record.last_history_id.is_some() || record.google == row.record.google;
        let stored = stored.filter(|_| is_kept);
        let known = stored.max(record.last_history_id);
        let mut record = record.clone();
        if let Some(is_supported) = is_supported {
            record.set_supported(is_supported, now);
        }
        row.record = UserRecord {
            last_history_id: known.filter(|_| record.google.is_some()),
            created_at: row.record.created_at,
            updated_at: now,
            version: record.version + 1,
            ..record
        };
        if let Some(credentials) = credentials {
            row.credentials = Some(credentials.clone());
        }
        let written = row.record.clone();
        row.credentials.take_if(|_| written.google.is_none());
        if written.several_accounts != old.several_accounts {
            set_supported(&mut rows, &written, now);
        }
        self.update_orphaned(&rows, Some(&before));
        self.announce(&written);
        let detail = written.changes_since(&old);
        let action = AuditAction::ChangeUser;
        if !detail.is_empty() {
            self.recorder.record(action, Some(written.bot()), &detail);
        }
        Ok(written)
    }

    async fn raise_history_id(
        &self,
        user: &UserId,
        history_id: HistoryId,
    ) -> Result<bool, StoreError> {
        let mut rows = self.rows.lock();
        let record = rows.get_mut(user).map(|row| &mut row.record);
        let Some(record) = record
            .filter(|record| record.google.is_some() && record.last_history_id < Some(history_id))
        else {
            return Ok(false);
        };
        self.changes.announce(user);
        record.last_history_id = Some(history_id);
        Ok(true)
    }

    async fn record_start(
        &self,
        user: &UserId,
        now: Timestamp,
        pause: Duration,
    ) -> Result<bool, StoreError> {
        let mut rows = self.rows.lock();
        let Some(row) = rows.get_mut(user) else {
            return Ok(false);
        };
        let is_recent = |at: Timestamp| at + pause > now && at <= now + CLOCK_TOLERANCE;
        let may_start = !row.started_at.is_some_and(is_recent);
        if may_start {
            row.started_at = Some(now);
        }
        Ok(may_start)
    }

    async fn remove(&self, record: &UserRecord) -> Result<bool, UsersError> {
        let user = &record.user;
        let mut rows = self.rows.lock();
        if rows
            .get(user)
            .is_some_and(|row| row.record.version != record.version)
        {
            return Err(UsersError::Changed { user: user.clone() });
        }
        if rows
            .values()
            .any(|row| row.record.owner.as_ref() == Some(user))
        {
            return Err(UsersError::HasAccounts { user: user.clone() });
        }
        let removed = rows.remove(user);
        if let Some(Row { record, .. }) = &removed {
            self.announce(record);
            self.tokens.remove_of_user(user);
            let owner = record.owner.as_ref();
            if let Some(row) = owner.and_then(|owner| rows.get_mut(owner)) {
                row.record.mark_pending_sync();
                if row.record.pending_sync.is_some() {
                    row.record.version += 1;
                }
            }
            let (action, detail) = match owner {
                Some(_) => (
                    AuditAction::ChangeUser,
                    record.about_account("disconnected the Google account"),
                ),
                None => (AuditAction::RemoveUser, String::new()),
            };
            self.recorder.record(action, Some(record.bot()), &detail);
        }
        self.update_orphaned(&rows, removed.as_ref().map(|row| &row.record.location));
        Ok(removed.is_some())
    }

    async fn users_by_email(&self, email: &EmailAddress) -> Result<Vec<UserId>, StoreError> {
        let rows = self.rows.lock();
        let found = rows.values().filter(|row| row.has_mailbox(email));
        let mut found: Vec<_> = found.map(|row| &row.record).collect();
        found.sort_by_key(|record| {
            let connected_at = record.google.as_ref().map(|google| google.connected_at);
            (connected_at, record.user.clone())
        });
        let found = found.into_iter().take(MAX_USERS_OF_MAILBOX);
        Ok(found.map(|record| record.user.clone()).collect())
    }

    async fn user_by_sandbox(&self, sandbox_id: &SandboxId) -> Result<Option<UserId>, StoreError> {
        let rows = self.rows.lock();
        let mut rows = rows.values();
        let found = rows.find(|row| row.record.sandbox_id == *sandbox_id);
        Ok(found.map(|row| row.record.user.clone()))
    }

    async fn list(&self, listing: &Listing, limit: usize) -> Result<Vec<UserRecord>, StoreError> {
        let rows = self.rows.lock();
        let records = list::list(&rows, listing, limit);
        Ok(records)
    }

    async fn pending_sync(
        &self,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<UserId>, StoreError> {
        let rows = self.rows.lock();
        let records = rows.values().map(|row| &row.record);
        let pending = records.filter(|record| record.pending_sync.is_some());
        let page = pending.filter(|record| after.is_none_or(|after| record.user > *after));
        Ok(page.take(limit).map(|record| record.user.clone()).collect())
    }

    async fn marks(&self, users: &[UserId]) -> Result<Vec<(UserId, String)>, StoreError> {
        let rows = self.rows.lock();
        let found = users.iter().filter_map(|user| rows.get(user));
        let marks = found.map(|Row { record, .. }| {
            let mark = format!("{} {:?}", record.version, record.last_history_id);
            (record.user.clone(), mark)
        });
        Ok(marks.collect())
    }

    async fn count(&self) -> Result<u64, StoreError> {
        let rows = self.rows.lock();
        let users = rows.values().filter(|row| row.record.owner.is_none());
        Ok(users.count() as u64)
    }

    async fn count_problems(&self) -> Result<Vec<(ProblemCode, u64)>, StoreError> {
        let mut counts = BTreeMap::new();
        let rows = self.rows.lock();
        for problem in rows.values().filter_map(|row| row.record.problem) {
            *counts.entry(problem.code.as_str()).or_default() += 1;
        }
        let counts = counts.into_iter();
        Ok(counts.map(|(code, count)| (code.into(), count)).collect())
    }

    async fn fleet_counts(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<FleetCounts, StoreError> {
        let rows = self.rows.lock();
        let records = || rows.values().map(|row| &row.record);
        let ends = records().filter(|record| record.watch_expires_at < Some(until));
        let ends = ends.filter(|record| record.watch_expires_at.is_some());
        let without = records().filter(|record| list::gets_no_mail(record, now));
        let unreachable = records().filter(|record| record.unreachable_since.is_some());
        let not_connected = records().filter(|record| list::is_not_connected(&rows, record));
        Ok(FleetCounts {
            without_mail: without.count() as u64,
            watch_ends: ends.count() as u64,
            unreachable: unreachable.count() as u64,
            not_connected: not_connected.count() as u64,
        })
    }

    async fn check_ready(&self, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Credentials for MemoryUsers {
    async fn credentials(&self, user: &UserId) -> Result<Option<StoredCredentials>, StoreError> {
        let rows = self.rows.lock();
        Ok(rows.get(user).and_then(|row| row.credentials.clone()))
    }
}

#[async_trait]
impl OrphanedMachines for MemoryUsers {
    async fn orphaned_machines(
        &self,
        after: Option<&ManagedMachine>,
        limit: usize,
    ) -> Result<Vec<ManagedMachine>, StoreError> {
        let orphaned = self.orphaned.lock();
        let page = orphaned
            .iter()
            .filter(|machine| after.is_none_or(|after| *machine > after));
        Ok(page.take(limit).cloned().collect())
    }

    async fn remove_orphaned_machine(&self, machine: &ManagedMachine) -> Result<(), StoreError> {
        self.orphaned.lock().remove(machine);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::UserStore;

    crate::users_conformance!((UserStore::new(Arc::new(MemoryUsers::default())), ()));
}
