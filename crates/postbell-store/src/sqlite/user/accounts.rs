//! The further accounts of users.

use postbell_core::{MAX_USERS_OF_MAILBOX, NewAccount, Timestamp, UserId, UserRecord, UsersError};
use rusqlite::Connection;

use super::{Result, Written, find, insert, users_by_email, write};
use crate::accounts::check_account;
use crate::at_rest::Sealed;
use crate::columns::record;
use crate::sqlite::credential;

const OF: &str = "
    SELECT * FROM user_with_progress WHERE owner = ?1 ORDER BY connected_at, user";

const HAS: &str = "SELECT EXISTS (SELECT 1 FROM user_record WHERE owner = ?1)";

const MARK_PENDING_SYNC: &str = "
    UPDATE user_record SET pending_sync = version + 1, version = version + 1
    WHERE user = ?1 AND (url IS NOT NULL OR app IS NOT NULL)";

pub(in crate::sqlite) fn add_account(
    db: &Connection,
    new: &NewAccount,
    credentials: &Sealed,
    now: Timestamp,
) -> Written<UserRecord> {
    let owner = find(db, &new.owner)?;
    let accounts = of(db, &new.owner)?;
    if let Err(refused) = check_account(new, owner.as_ref(), &accounts) {
        return Ok(Err(refused));
    }
    let user = &new.record;
    if find(db, user)?.is_some() || super::user_by_sandbox(db, &user.into())?.is_some() {
        return Ok(Err(UsersError::AlreadyExists { user: user.clone() }));
    }
    if let Some(email) = &new.connection.email
        && users_by_email(db, email)?.len() >= MAX_USERS_OF_MAILBOX
    {
        return Ok(Err(UsersError::AddressTaken));
    }
    let record = UserRecord::further(new.clone(), now);
    let record = supported(db, &record, now)?;
    insert(db, &record)?;
    write(db, &record, now)?;
    credential::put(db, user, credentials)?;
    let written = find(db, user)?;
    Ok(Ok(written.ok_or(rusqlite::Error::QueryReturnedNoRows)?))
}

pub(in crate::sqlite) fn accounts_of(
    db: &Connection,
    owners: &[UserId],
) -> Result<Vec<UserRecord>> {
    let mut accounts = Vec::new();
    for owner in owners {
        accounts.extend(of(db, owner)?);
    }
    Ok(accounts)
}

fn of(db: &Connection, owner: &UserId) -> Result<Vec<UserRecord>> {
    let mut statement = db.prepare_cached(OF)?;
    let mut rows = statement.query([owner.as_str()])?;
    let mut accounts = Vec::new();
    while let Some(row) = rows.next()? {
        accounts.push(record(row)?);
    }
    Ok(accounts)
}

/// The records of a user and of their further accounts.
pub(super) fn records_of(db: &Connection, user: &UserId) -> Result<Vec<UserRecord>> {
    let mut records = of(db, user)?;
    records.extend(find(db, user)?);
    Ok(records)
}

/// Returns a record that is to be written, a further account with the problem that its machine does not watch it, if that is so.
pub(super) fn supported(
    db: &Connection,
    record: &UserRecord,
    now: Timestamp,
) -> Result<UserRecord> {
    let mut record = record.clone();
    if let Some(owner) = &record.owner {
        let owner = find(db, owner)?;
        let is_supported = owner.is_some_and(|owner| owner.several_accounts);
        record.set_supported(is_supported, now);
    }
    Ok(record)
}

/// Writes to the further accounts of a user whether the machine watches them.
pub(super) fn set_supported(db: &Connection, owner: &UserRecord, now: Timestamp) -> Result<()> {
    for mut account in of(db, &owner.user)? {
        account.set_supported(owner.several_accounts, now);
        write(db, &account, now)?;
    }
    Ok(())
}

pub(super) fn has_accounts(db: &Connection, user: &UserId) -> Result<bool> {
    let mut statement = db.prepare_cached(HAS)?;
    Ok(statement.query_row([user.as_str()], |row| row.get(0))?)
}

/// Marks the configuration of a user's machine as changed.
pub(super) fn mark_pending_sync(db: &Connection, user: &UserId) -> Result<()> {
    let mut statement = db.prepare_cached(MARK_PENDING_SYNC)?;
    statement.execute([user.as_str()])?;
    Ok(())
}
