//! The further accounts of users.

use postbell_core::{Actor, AuditAction, NewAccount, Timestamp, UserId, UserRecord, UsersError};

use super::row::{insert, write};
use super::{FIND, LOCK, Written, announce, find, mailbox};
use crate::accounts::check_account;
use crate::at_rest::Sealed;
use crate::columns::{Columns, record};
use crate::postgres::failure::Failure;
use crate::postgres::session::{Session, Transaction};
use crate::postgres::{audit, credentials};

const OF: &str = "
    SELECT u.*, p.history_id FROM user_record u LEFT JOIN progress p USING (user_id)
    WHERE u.owner = ANY($1) ORDER BY u.owner, u.connected_at NULLS FIRST, u.user_id";

const HAS: &str = "SELECT EXISTS (SELECT FROM user_record WHERE owner = $1) AS has_any";

const MARK_PENDING_SYNC: &str = "
    UPDATE user_record SET pending_sync = version + 1, version = version + 1
    WHERE user_id = $1 AND (url IS NOT NULL OR app IS NOT NULL)";

pub(super) async fn add(
    db: &Transaction,
    new: &NewAccount,
    credentials: &Sealed,
    by: Option<&Actor>,
    now: Timestamp,
) -> Written<UserRecord> {
    // Until the transaction ends, no other one adds an account of the user, or removes the user.
    let owner = find(db, LOCK, &new.owner).await?;
    let accounts = of(db, std::slice::from_ref(&new.owner)).await?;
    if let Err(refused) = check_account(new, owner.as_ref(), &accounts) {
        return Ok(Err(refused));
    }
    if let Some(email) = &new.connection.email
        && let Err(refused) = mailbox::check_number(db, email).await?
    {
        return Ok(Err(refused));
    }
    let mut record = UserRecord::further(new.clone(), now);
    let is_supported = owner.is_some_and(|owner| owner.several_accounts);
    record.set_supported(is_supported, now);
    let user = &record.user;
    if !insert(db, &record).await? {
        return Ok(Err(UsersError::AlreadyExists { user: user.clone() }));
    }
    write(db, &record, now).await?;
    credentials::put(db, user, credentials).await?;
    announce(db, &record);
    let Some(written) = find(db, FIND, user).await? else {
        return Ok(Err(UsersError::Missing { user: user.clone() }));
    };
    let detail = written.about_account("connected a further Google account");
    let (action, user) = (AuditAction::ChangeUser, Some(written.bot()));
    audit::record(db, by, action, user, &detail).await?;
    Ok(Ok(written))
}

pub(super) async fn of(db: &Session, owners: &[UserId]) -> Result<Vec<UserRecord>, Failure> {
    let owners: Vec<_> = owners.iter().map(UserId::as_str).collect();
    let rows = db.query(OF, &[&owners]).await?;
    rows.iter().map(record).collect()
}

/// The records of the user of a record, and of their further accounts. Until the transaction ends, no other one gives one of them
/// another mailbox.
pub(super) async fn locked_records_of(
    db: &Session,
    stored: &UserRecord,
) -> Result<Vec<UserRecord>, Failure> {
    let user = stored.bot();
    let own = find(db, LOCK, user).await?;
    let mut records = of(db, std::slice::from_ref(user)).await?;
    records.extend(own);
    Ok(records)
}

/// Returns the user of a further account. Until the transaction ends, no other one writes the user. A user is locked before each of
/// the accounts, lest two transactions wait for each other.
pub(super) async fn locked_owner(
    db: &Session,
    record: &UserRecord,
) -> Result<Option<UserRecord>, Failure> {
    match &record.owner {
        Some(owner) => find(db, LOCK, owner).await,
        None => Ok(None),
    }
}

/// Writes to the further accounts of a user, who is locked, whether the machine watches them.
pub(super) async fn set_supported(
    db: &Session,
    owner: &UserRecord,
    now: Timestamp,
) -> Result<(), Failure> {
    for mut account in of(db, std::slice::from_ref(&owner.user)).await? {
        account.set_supported(owner.several_accounts, now);
        write(db, &account, now).await?;
    }
    Ok(())
}

pub(super) async fn has_any(db: &Session, user: &UserId) -> Result<bool, Failure> {
    let row = db.query_one(HAS, &[&user.as_str()]).await?;
    row.flag("has_any")
}

/// Marks the configuration of a user's machine as changed.
pub(super) async fn mark_pending_sync(db: &Session, user: &UserId) -> Result<(), Failure> {
    db.execute(MARK_PENDING_SYNC, &[&user.as_str()])
        .await
        .map(drop)
}
