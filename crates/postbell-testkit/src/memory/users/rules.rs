//! The rules of a user store.

use std::collections::BTreeMap;

use postbell_core::{MAX_USERS_OF_MAILBOX, SandboxId, Timestamp, UserId, UserRecord, UsersError};

use super::Row;

pub(super) fn refuse_taken_sandbox(
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

/// Fails if a stored record gets a mailbox that another account of the same user has.
pub(super) fn refuse_change_to_connected(
    rows: &BTreeMap<UserId, Row>,
    record: &UserRecord,
) -> Result<(), UsersError> {
    let email = record.google.as_ref().and_then(|it| it.email.as_ref());
    let stored = rows.get(&record.user);
    if email.is_some_and(|email| stored.is_some_and(|row| row.has_mailbox(email))) {
        return Ok(());
    }
    refuse_connected(rows, record)
}

/// Fails if another account of the same user has the mailbox of a record.
pub(super) fn refuse_connected(
    rows: &BTreeMap<UserId, Row>,
    record: &UserRecord,
) -> Result<(), UsersError> {
    let google = record.google.as_ref();
    let Some(email) = google.and_then(|google| google.email.as_ref()) else {
        return Ok(());
    };
    let others = rows.values().filter(|row| row.record.user != record.user);
    let mut theirs = others.filter(|row| row.record.bot() == record.bot());
    match theirs.find(|row| row.has_mailbox(email)) {
        Some(row) => {
            let record = row.record.user.clone();
            Err(UsersError::AccountConnected { record })
        }
        None => Ok(()),
    }
}

/// Writes to the further accounts of a user whether the machine watches them.
pub(super) fn set_supported(rows: &mut BTreeMap<UserId, Row>, owner: &UserRecord, now: Timestamp) {
    let accounts = rows.values_mut().map(|row| &mut row.record);
    for account in accounts.filter(|record| record.owner.as_ref() == Some(&owner.user)) {
        account.set_supported(owner.several_accounts, now);
        account.updated_at = now;
        account.version += 1;
    }
}

/// Returns whether a record has a new address that another user has. An address that the stored
/// record has already is kept: an old file may contain the same one twice.
pub(super) fn takes_address(rows: &BTreeMap<UserId, Row>, record: &UserRecord) -> bool {
    let google = record.google.as_ref();
    let Some(email) = google.and_then(|google| google.email.as_ref()) else {
        return false;
    };
    let has_it = |row: &Row| row.has_mailbox(email);
    !rows.get(&record.user).is_some_and(has_it)
        && rows.values().filter(|row| has_it(row)).count() >= MAX_USERS_OF_MAILBOX
}
