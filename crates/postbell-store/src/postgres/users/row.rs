//! Writes of one row.

use postbell_core::{Timestamp, UserRecord};

use crate::accounts::email;
use crate::columns::UserColumns;
use crate::postgres::failure::Failure;
use crate::postgres::session::Session;

const ADD: &str = "
    INSERT INTO user_record (user_id, sandbox_id, status, app, machine, url, notifications, wake_on_mail,
        created_at, updated_at, version, never_seen, owner)
    VALUES ($1, $2, $3, $4, $5, $6, false, $7, $8, $8, $9, $10, $11)
    ON CONFLICT (user_id) DO NOTHING";

const REPLACE: &str = "
    UPDATE user_record SET sandbox_id = $2, status = $3, app = $4, machine = $5, url = $6,
        connected_at = $7, email = $8, mailbox_key = $9, push_account = $10, notifications = $11,
        wake_on_mail = $12, updated_at = $13, watch_expires_at = $14, pending_sync = $15,
        problem_code = $16, problem_since = $17, mail_dead_letters = $18,
        unreachable_since = $19, config_fetched_at = $20, never_seen = $21, several_accounts = $22, version = version + 1
    WHERE user_id = $1";

/// Adds a record without its connection, and returns whether there was none with its id.
pub(super) async fn insert(db: &Session, record: &UserRecord) -> Result<bool, Failure> {
    let columns = UserColumns::from(record);
    let added = db
        .execute(
            ADD,
            &[
                &record.user.as_str(),
                &columns.sandbox_id,
                &columns.status,
                &columns.app,
                &columns.machine,
                &columns.url,
                &columns.wake_on_mail,
                &record.created_at.as_millis(),
                &record.version,
                &columns.never_seen,
                &columns.owner,
            ],
        )
        .await?;
    Ok(added > 0)
}

pub(super) async fn write(
    db: &Session,
    record: &UserRecord,
    now: Timestamp,
) -> Result<(), Failure> {
    let columns = UserColumns::from(record);
    let mailbox_key = email(record).map(|email| email.mailbox_key().into_owned());
    db.execute(
        REPLACE,
        &[
            &record.user.as_str(),
            &columns.sandbox_id,
            &columns.status,
            &columns.app,
            &columns.machine,
            &columns.url,
            &columns.connected_at,
            &columns.email,
            &mailbox_key,
            &columns.push_account,
            &columns.notifications,
            &columns.wake_on_mail,
            &now.as_millis(),
            &columns.watch_expires_at,
            &columns.pending_sync,
            &columns.problem_code,
            &columns.problem_since,
            &columns.mail_dead_letters,
            &columns.unreachable_since,
            &columns.config_fetched_at,
            &columns.never_seen,
            &columns.several_accounts,
        ],
    )
    .await
    .map(drop)
}
