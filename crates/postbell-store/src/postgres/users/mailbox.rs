//! The users of a mailbox.

use postbell_core::{EmailAddress, MAX_USERS_OF_MAILBOX, UserId, UserRecord, UsersError};

use super::accounts;
use crate::accounts::{new_mailbox, refuse_connected};
use crate::columns::{limit, parsed};
use crate::postgres::advisory_locks;
use crate::postgres::failure::Failure;
use crate::postgres::session::Session;

const WHOSE_MAILBOX: &str = "
    SELECT user_id FROM user_record WHERE mailbox_key = $1 ORDER BY connected_at, user_id LIMIT $2";

pub(super) async fn users(db: &Session, email: &EmailAddress) -> Result<Vec<UserId>, Failure> {
    let key = email.mailbox_key();
    let most = limit(MAX_USERS_OF_MAILBOX);
    let rows = db.query(WHOSE_MAILBOX, &[&&*key, &most]).await?;
    rows.iter().map(|row| parsed(row, "user_id")).collect()
}

/// Fails if a record that gets another mailbox must not have it.
pub(super) async fn check(
    db: &Session,
    record: &UserRecord,
    stored: &UserRecord,
) -> Result<Result<(), UsersError>, Failure> {
    let Some(new) = new_mailbox(record, stored) else {
        return Ok(Ok(()));
    };
    let records = accounts::locked_records_of(db, stored).await?;
    let free = match refuse_connected(new, &record.user, &records) {
        Ok(()) => check_number(db, new).await?,
        refused => refused,
    };
    Ok(free)
}

/// Fails if a mailbox has as many users as it may have.
pub(super) async fn check_number(
    db: &Session,
    email: &EmailAddress,
) -> Result<Result<(), UsersError>, Failure> {
    // Until the transaction ends, no other one gives the mailbox a further user.
    db.execute(advisory_locks::MAILBOX, &[&&*email.mailbox_key()])
        .await?;
    let is_free = users(db, email).await?.len() < MAX_USERS_OF_MAILBOX;
    Ok(is_free.then_some(()).ok_or(UsersError::AddressTaken))
}
