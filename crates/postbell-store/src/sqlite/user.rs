//! One row per user.

mod accounts;
mod list;

use std::time::Duration;

use postbell_core::{
    CLOCK_TOLERANCE, EmailAddress, FleetCounts, HistoryId, MAX_USERS_OF_MAILBOX, NewUser,
    ProblemCode, SandboxId, Timestamp, UserId, UserRecord, UsersError,
};
use rusqlite::{Connection, params};

pub(super) use self::accounts::{accounts_of, add_account};
use self::accounts::{has_accounts, mark_pending_sync, records_of};
use self::list::WITHOUT_MAIL_IDS;
pub(super) use self::list::list;
use super::failure::Failure;
use super::orphaned_machine;
use super::{access_tokens, alert, alert_mark, alert_target, credential};
use crate::accounts::{new_mailbox, refuse_connected};
use crate::at_rest::Sealed;
use crate::columns::{
    UserColumns, fleet_counts as read_counts, in_order, limit, parsed, problem_count, record,
};

type Result<T> = std::result::Result<T, Failure>;

/// The result of a write. A refusal has changed nothing, so the other writes of its group commit.
type Written<T> = Result<std::result::Result<T, UsersError>>;

const ADD: &str = "
    INSERT INTO user_record (user, sandbox_id, status, app, machine, url, notifications, wake_on_mail,
        created_at, updated_at, version, never_seen, owner)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?8, ?9, ?10, ?11)";

const FIND: &str = "SELECT * FROM user_with_progress WHERE user = ?1";

const WHOSE_SANDBOX: &str = "SELECT user FROM user_record WHERE sandbox_id = ?1";

/// By the expression of the index `user_record_by_mailbox`.
const WHOSE_MAILBOX: &str = "
    SELECT user FROM user_record
    WHERE email IS NOT NULL AND CASE
        WHEN substr(email, -10) = '@gmail.com'
            THEN replace(substr(email, 1, length(email) - 10), '.', '') || '@gmail.com'
        WHEN substr(email, -15) = '@googlemail.com'
            THEN replace(substr(email, 1, length(email) - 15), '.', '') || '@gmail.com'
        ELSE email
    END = ?1
    ORDER BY connected_at, user LIMIT ?2";

const REPLACE: &str = "
    UPDATE user_record SET sandbox_id = ?3, status = ?4, app = ?5, machine = ?6, url = ?7,
        connected_at = ?8, email = ?9, push_account = ?10, notifications = ?11,
        wake_on_mail = ?12, updated_at = ?13, watch_expires_at = ?14, pending_sync = ?15,
        problem_code = ?16, problem_since = ?17, mail_dead_letters = ?18,
        unreachable_since = ?19, config_fetched_at = ?20, never_seen = ?21, several_accounts = ?22,
        version = version + 1
    WHERE user = ?1 AND version = ?2";

const RAISE: &str = "
    INSERT INTO progress (user, history_id)
    SELECT ?1, ?2 FROM user_record WHERE user = ?1 AND connected_at IS NOT NULL
    ON CONFLICT (user) DO UPDATE SET history_id = ?2 WHERE history_id < ?2";

/// Unless one was recorded between `?3` and `?4`.
const RECORD_START: &str = "
    UPDATE user_record SET started_at = ?2
    WHERE user = ?1 AND (started_at IS NULL OR started_at <= ?3 OR started_at > ?4)";

pub(super) const MARKS: &str = "
    SELECT version || ' ' || coalesce(history_id, '') FROM user_with_progress WHERE user = ?1";

const FORGET_PROGRESS: &str = "DELETE FROM progress WHERE user = ?1";

const REMOVE: &str = "DELETE FROM user_record WHERE user = ?1";

const PENDING_SYNC: &str = "
    SELECT user FROM user_record WHERE pending_sync IS NOT NULL AND user > ?1 ORDER BY user LIMIT ?2";

const COUNT: &str = "SELECT number FROM user_count";

/// Counted from an index alone.
const COUNT_PROBLEMS: &str = "
    SELECT problem_code, count(*) AS users FROM user_record WHERE problem_code IS NOT NULL
    GROUP BY problem_code ORDER BY problem_code";

pub(super) fn add(db: &Connection, new: &NewUser, now: Timestamp) -> Written<UserRecord> {
    let user = &new.user;
    if find(db, user)?.is_some() {
        return Ok(Err(UsersError::AlreadyExists { user: user.clone() }));
    }
    if user_by_sandbox(db, &new.sandbox_id)?.is_some() {
        return Ok(Err(UsersError::SandboxTaken));
    }
    let record = UserRecord::new(new.clone(), now);
    insert(db, &record)?;
    orphaned_machine::remove_at(db, &record.location)?;
    Ok(Ok(record))
}

/// Adds a record without its connection.
fn insert(db: &Connection, record: &UserRecord) -> Result<()> {
    let columns = UserColumns::from(record);
    db.prepare_cached(ADD)?.execute(params![
        record.user.as_str(),
        columns.sandbox_id,
        columns.status,
        columns.app,
        columns.machine,
        columns.url,
        columns.wake_on_mail,
        record.created_at.as_millis(),
        record.version,
        columns.never_seen,
        columns.owner,
    ])?;
    Ok(())
}

pub(super) fn find(db: &Connection, user: &UserId) -> Result<Option<UserRecord>> {
    let mut statement = db.prepare_cached(FIND)?;
    let mut rows = statement.query([user.as_str()])?;
    rows.next()?.map(record).transpose()
}

pub(super) fn user_by_sandbox(db: &Connection, id: &SandboxId) -> Result<Option<UserId>> {
    let mut statement = db.prepare_cached(WHOSE_SANDBOX)?;
    let mut rows = statement.query([id.as_str()])?;
    rows.next()?.map(|row| parsed(row, "user")).transpose()
}

pub(super) fn users_by_email(db: &Connection, email: &EmailAddress) -> Result<Vec<UserId>> {
    let mut statement = db.prepare_cached(WHOSE_MAILBOX)?;
    let mut rows = statement.query(params![email.mailbox_key(), limit(MAX_USERS_OF_MAILBOX)])?;
    let mut users = Vec::new();
    while let Some(row) = rows.next()? {
        users.push(parsed(row, "user")?);
    }
    Ok(users)
}

pub(super) fn replace(
    db: &Connection,
    record: &UserRecord,
    credentials: Option<&Sealed>,
    now: Timestamp,
) -> Written<UserRecord> {
    let user = &record.user;
    let Some(stored) = find(db, user)? else {
        return Ok(Err(UsersError::Missing { user: user.clone() }));
    };
    if stored.version != record.version {
        return Ok(Err(UsersError::Changed { user: user.clone() }));
    }
    if let Some(email) = new_mailbox(record, &stored) {
        let records = records_of(db, stored.bot())?;
        if let Err(refused) = refuse_connected(email, user, &records) {
            return Ok(Err(refused));
        }
        if users_by_email(db, email)?.len() >= MAX_USERS_OF_MAILBOX {
            return Ok(Err(UsersError::AddressTaken));
        }
    }
    let owner = user_by_sandbox(db, &record.sandbox_id)?;
    if owner.is_some_and(|owner| owner != *user) {
        return Ok(Err(UsersError::SandboxTaken));
    }
    let record = &accounts::supported(db, record, now)?;
    match (&record.google, credentials) {
        (None, _) => credential::forget(db, user)?,
        (Some(_), Some(sealed)) => credential::put(db, user, sealed)?,
        (Some(_), None) => (),
    }
    write(db, record, now)?;
    match record.last_history_id {
        Some(history_id) => drop(raise(db, user, history_id)?),
        // Another account, or none. Otherwise the record was read before the first mail.
        None if record.google != stored.google => forget_progress(db, user)?,
        None => (),
    }
    if record.several_accounts != stored.several_accounts {
        accounts::set_supported(db, record, now)?;
    }
    let written = find(db, user)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    if written.location != stored.location {
        orphaned_machine::add_if_unused(db, &stored.location)?;
        orphaned_machine::remove_at(db, &written.location)?;
    }
    Ok(Ok(written))
}

fn write(db: &Connection, record: &UserRecord, now: Timestamp) -> Result<()> {
    let columns = UserColumns::from(record);
    db.prepare_cached(REPLACE)?.execute(params![
        record.user.as_str(),
        record.version,
        columns.sandbox_id,
        columns.status,
        columns.app,
        columns.machine,
        columns.url,
        columns.connected_at,
        columns.email,
        columns.push_account,
        columns.notifications,
        columns.wake_on_mail,
        now.as_millis(),
        columns.watch_expires_at,
        columns.pending_sync,
        columns.problem_code,
        columns.problem_since,
        columns.mail_dead_letters,
        columns.unreachable_since,
        columns.config_fetched_at,
        columns.never_seen,
        columns.several_accounts,
    ])?;
    Ok(())
}

fn forget_progress(db: &Connection, user: &UserId) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(FORGET_PROGRESS)?;
    statement.execute([user.as_str()]).map(drop)
}

pub(super) fn raise(db: &Connection, user: &UserId, history_id: HistoryId) -> Result<bool> {
    let values = params![user.as_str(), in_order(history_id)];
    Ok(db.prepare_cached(RAISE)?.execute(values)? > 0)
}

pub(super) fn record_start(
    db: &Connection,
    user: &UserId,
    now: Timestamp,
    pause: Duration,
) -> Result<bool> {
    let pause = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
    let values = params![
        user.as_str(),
        now.as_millis(),
        now.as_millis().saturating_sub(pause),
        (now + CLOCK_TOLERANCE).as_millis(),
    ];
    Ok(db.prepare_cached(RECORD_START)?.execute(values)? > 0)
}

pub(super) fn remove(db: &Connection, record: &UserRecord) -> Written<Option<UserRecord>> {
    let user = &record.user;
    let Some(stored) = find(db, user)? else {
        return Ok(Ok(None));
    };
    if stored.version != record.version {
        return Ok(Err(UsersError::Changed { user: user.clone() }));
    }
    if has_accounts(db, user)? {
        return Ok(Err(UsersError::HasAccounts { user: user.clone() }));
    }
    credential::forget(db, user)?;
    forget_progress(db, user)?;
    alert::remove_of_user(db, user)?;
    alert_mark::remove(db, user)?;
    alert_target::remove_of_user(db, user)?;
    access_tokens::remove_of_user(db, user)?;
    db.prepare_cached(REMOVE)?.execute([user.as_str()])?;
    orphaned_machine::add_if_unused(db, &stored.location)?;
    if let Some(owner) = &stored.owner {
        mark_pending_sync(db, owner)?;
    }
    Ok(Ok(Some(stored)))
}

pub(super) fn pending_sync(
    db: &Connection,
    after: Option<&UserId>,
    most: usize,
) -> Result<Vec<UserId>> {
    let after = after.map_or("", |user| user.as_str());
    let mut statement = db.prepare_cached(PENDING_SYNC)?;
    let mut rows = statement.query(params![after, limit(most)])?;
    let mut users = Vec::new();
    while let Some(row) = rows.next()? {
        users.push(parsed(row, "user")?);
    }
    Ok(users)
}

pub(super) fn count(db: &Connection) -> Result<u64> {
    let number: i64 = db.prepare_cached(COUNT)?.query_row([], |row| row.get(0))?;
    Ok(number.unsigned_abs())
}

pub(super) fn count_problems(db: &Connection) -> Result<Vec<(ProblemCode, u64)>> {
    let mut statement = db.prepare_cached(COUNT_PROBLEMS)?;
    let mut rows = statement.query([])?;
    let mut counts = Vec::new();
    while let Some(row) = rows.next()? {
        counts.push(problem_count(row)?);
    }
    Ok(counts)
}

/// Each number is that of a range of an index, except that users with a problem are looked up.
pub(super) fn fleet_counts(
    db: &Connection,
    now: Timestamp,
    until: Timestamp,
) -> Result<FleetCounts> {
    let count = format!(
        "SELECT (SELECT count(*) FROM ({WITHOUT_MAIL_IDS})) AS without_mail,
            (SELECT count(*) FROM user_record WHERE watch_expires_at < ?2) AS watch_ends,
            (SELECT count(*) FROM user_record WHERE unreachable_since IS NOT NULL) AS unreachable,
            (SELECT count(*) FROM user_record u WHERE connected_at IS NULL
                AND NOT EXISTS (SELECT 1 FROM user_record a WHERE a.owner = u.user)) AS not_connected"
    );
    let mut statement = db.prepare_cached(&count)?;
    let mut rows = statement.query(params![now.as_millis(), until.as_millis()])?;
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    read_counts(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_found_by_its_index() {
        let db = crate::sqlite::schema::in_memory();
        let plan: String = db
            .prepare(&format!("EXPLAIN QUERY PLAN {WHOSE_MAILBOX}"))
            .unwrap()
            .query_row(params!["ann@gmail.com", 16], |row| row.get("detail"))
            .unwrap();
        assert!(plan.contains("user_record_by_mailbox"), "{plan}");
    }
}
