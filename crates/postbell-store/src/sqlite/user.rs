//! One row per user.

mod list;

use postbell_core::{
    EmailAddress, GoogleConnection, HistoryId, MachineLocation, MailProblem, ManagedMachine,
    NewUser, ProblemCode, SandboxId, Timestamp, UserId, UserRecord, UsersError,
};
use rusqlite::{Connection, Row, params};

pub(super) use self::list::list;
use super::columns::{corrupt, in_order, parsed, parsed_if_any, time, time_if_any};
use super::failure::Failure;
use super::orphaned_machine;
use super::{alert, alert_mark, alert_target, credential};
use crate::at_rest::Sealed;

type Result<T> = std::result::Result<T, Failure>;

/// The result of a write. A refusal has changed nothing, so the other writes of its group commit.
type Written<T> = Result<std::result::Result<T, UsersError>>;

const ADD: &str = "
    INSERT INTO user_record (user, sandbox_id, status, app, machine, url, notifications, wake_on_mail,
        created_at, updated_at, version)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?8, ?9)";

const FIND: &str = "SELECT * FROM user_with_progress WHERE user = ?1";

const WHOSE_SANDBOX: &str = "SELECT user FROM user_record WHERE sandbox_id = ?1";

/// By the expression of the index `user_record_by_mailbox`. An old file may contain a mailbox twice; it
/// belongs to the user who connected it first.
const WHOSE_MAILBOX: &str = "
    SELECT user FROM user_record
    WHERE email IS NOT NULL AND CASE
        WHEN substr(email, -10) = '@gmail.com'
            THEN replace(substr(email, 1, length(email) - 10), '.', '') || '@gmail.com'
        WHEN substr(email, -15) = '@googlemail.com'
            THEN replace(substr(email, 1, length(email) - 15), '.', '') || '@gmail.com'
        ELSE email
    END = ?1
    ORDER BY connected_at, user LIMIT 1";

const REPLACE: &str = "
    UPDATE user_record SET sandbox_id = ?3, status = ?4, app = ?5, machine = ?6, url = ?7,
        connected_at = ?8, email = ?9, push_account = ?10, notifications = ?11,
        wake_on_mail = ?12, updated_at = ?13, watch_expires_at = ?14, pending_sync = ?15,
        problem_code = ?16, problem_since = ?17, mail_dead_letters = ?18,
        version = version + 1
    WHERE user = ?1 AND version = ?2";

const RAISE: &str = "
    INSERT INTO progress (user, history_id)
    SELECT ?1, ?2 FROM user_record WHERE user = ?1 AND connected_at IS NOT NULL
    ON CONFLICT (user) DO UPDATE SET history_id = ?2 WHERE history_id < ?2";

const FORGET_PROGRESS: &str = "DELETE FROM progress WHERE user = ?1";

const REMOVE: &str = "DELETE FROM user_record WHERE user = ?1";

const PENDING_SYNC: &str = "
    SELECT user FROM user_record WHERE pending_sync IS NOT NULL AND user > ?1 ORDER BY user LIMIT ?2";

const COUNT: &str = "SELECT number FROM user_count";

/// Counted from an index alone.
const COUNT_PROBLEMS: &str = "
    SELECT problem_code, count(*) FROM user_record WHERE problem_code IS NOT NULL
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
    let (app, machine, url) = location_columns(&record.location);
    db.prepare_cached(ADD)?.execute(params![
        user.as_str(),
        record.sandbox_id.as_str(),
        record.status.as_str(),
        app,
        machine,
        url,
        record.wake_on_mail,
        now.as_millis(),
        record.version,
    ])?;
    orphaned_machine::remove_at(db, &record.location)?;
    Ok(Ok(record))
}

pub(super) fn find(db: &Connection, user: &UserId) -> Result<Option<UserRecord>> {
    let mut statement = db.prepare_cached(FIND)?;
    let mut rows = statement.query([user.as_str()])?;
    rows.next()?.map(record).transpose()
}

pub(super) fn user_by_sandbox(db: &Connection, id: &SandboxId) -> Result<Option<UserId>> {
    whose(db, WHOSE_SANDBOX, id.as_str())
}

pub(super) fn user_by_email(db: &Connection, email: &EmailAddress) -> Result<Option<UserId>> {
    whose(db, WHOSE_MAILBOX, &email.mailbox_key())
}

fn whose(db: &Connection, question: &str, key: &str) -> Result<Option<UserId>> {
    let mut statement = db.prepare_cached(question)?;
    let mut rows = statement.query([key])?;
    rows.next()?.map(|row| parsed(row, "user")).transpose()
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
    let owner = user_by_sandbox(db, &record.sandbox_id)?;
    if owner.is_some_and(|owner| owner != *user) {
        return Ok(Err(UsersError::SandboxTaken));
    }
    // A mailbox that the stored record has already is kept, even if another user has it, too.
    let is_stored = |new: &&EmailAddress| {
        let old = self::email(&stored);
        old.is_some_and(|old| old.is_same_mailbox(new.as_str()))
    };
    if let Some(email) = email(record).filter(|email| !is_stored(email))
        && user_by_email(db, email)?.is_some_and(|owner| owner != *user)
    {
        return Ok(Err(UsersError::AddressTaken));
    }
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
    let written = find(db, user)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    if written.location != stored.location {
        orphaned_machine::add_if_unused(db, &stored.location)?;
        orphaned_machine::remove_at(db, &written.location)?;
    }
    Ok(Ok(written))
}

fn email(record: &UserRecord) -> Option<&EmailAddress> {
    record.google.as_ref()?.email.as_ref()
}

fn write(db: &Connection, record: &UserRecord, now: Timestamp) -> Result<()> {
    let (app, machine, url) = location_columns(&record.location);
    let google = record.google.as_ref();
    let push_account = google.and_then(|google| google.push_account.as_ref());
    db.prepare_cached(REPLACE)?.execute(params![
        record.user.as_str(),
        record.version,
        record.sandbox_id.as_str(),
        record.status.as_str(),
        app,
        machine,
        url,
        google.map(|google| google.connected_at.as_millis()),
        email(record).map(EmailAddress::as_str),
        push_account.map(EmailAddress::as_str),
        record.notifications_enabled,
        record.wake_on_mail,
        now.as_millis(),
        record.watch_expires_at.map(Timestamp::as_millis),
        record.pending_sync,
        record.problem.map(|problem| problem.code.as_str()),
        record.problem.map(|problem| problem.since.as_millis()),
        i64::try_from(record.mail_dead_letters).unwrap_or(i64::MAX),
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

pub(super) fn remove(db: &Connection, user: &UserId) -> Result<bool> {
    let Some(stored) = find(db, user)? else {
        return Ok(false);
    };
    credential::forget(db, user)?;
    forget_progress(db, user)?;
    alert::remove_of_user(db, user)?;
    alert_mark::remove(db, user)?;
    alert_target::remove_of_user(db, user)?;
    db.prepare_cached(REMOVE)?.execute([user.as_str()])?;
    orphaned_machine::add_if_unused(db, &stored.location)?;
    Ok(true)
}

pub(super) fn pending_sync(
    db: &Connection,
    after: Option<&UserId>,
    most: usize,
) -> Result<Vec<UserId>> {
    let after = after.map_or("", |user| user.as_str());
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached(PENDING_SYNC)?;
    let mut rows = statement.query(params![after, most])?;
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
        let code: String = row.get(0)?;
        let number: i64 = row.get(1)?;
        counts.push((ProblemCode::from(&*code), number.unsigned_abs()));
    }
    Ok(counts)
}

fn location_columns(location: &MachineLocation) -> (Option<&str>, Option<&str>, Option<&str>) {
    match location {
        MachineLocation::Unknown => (None, None, None),
        MachineLocation::Managed(ManagedMachine { app, machine }) => {
            (Some(app), Some(machine), None)
        }
        MachineLocation::Url(url) => (None, None, Some(url.as_str())),
    }
}

fn location(row: &Row<'_>) -> Result<MachineLocation> {
    let url: Option<String> = row.get("url")?;
    if let Some(url) = url {
        let url = url.parse().map_err(|error| corrupt("url", error))?;
        return Ok(MachineLocation::Url(url));
    }
    let app: Option<String> = row.get("app")?;
    let machine = row.get("machine")?;
    let fly = app.zip(machine);
    Ok(fly.map_or(MachineLocation::Unknown, |(app, machine)| {
        MachineLocation::Managed(ManagedMachine { app, machine })
    }))
}

fn google(row: &Row<'_>) -> Result<Option<GoogleConnection>> {
    let Some(connected_at) = time_if_any(row, "connected_at")? else {
        return Ok(None);
    };
    Ok(Some(GoogleConnection {
        email: parsed_if_any(row, "email")?,
        push_account: parsed_if_any(row, "push_account")?,
        connected_at,
    }))
}

fn problem(row: &Row<'_>) -> rusqlite::Result<Option<MailProblem>> {
    let code: Option<String> = row.get("problem_code")?;
    let since = time_if_any(row, "problem_since")?;
    let problem = code.zip(since);
    Ok(problem.map(|(code, since)| MailProblem {
        code: ProblemCode::from(&*code),
        since,
    }))
}

fn record(row: &Row<'_>) -> Result<UserRecord> {
    Ok(UserRecord {
        user: parsed(row, "user")?,
        sandbox_id: parsed(row, "sandbox_id")?,
        status: parsed(row, "status")?,
        location: location(row)?,
        google: google(row)?,
        notifications_enabled: row.get("notifications")?,
        last_history_id: parsed_if_any(row, "history_id")?,
        watch_expires_at: time_if_any(row, "watch_expires_at")?,
        problem: problem(row)?,
        mail_dead_letters: row.get::<_, i64>("mail_dead_letters")?.unsigned_abs(),
        wake_on_mail: row.get("wake_on_mail")?,
        pending_sync: row.get("pending_sync")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        version: row.get("version")?,
    })
}

#[cfg(test)]
mod tests {
    use postbell_core::InstanceStatus;

    use super::*;
    use crate::sqlite::schema;

    const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    /// Adds a user as older versions did, without checking that the address is unique.
    fn add_as_older_versions_did(db: &Connection, name: &str, connected_at: i64) {
        let new = NewUser {
            user: name.parse().unwrap(),
            sandbox_id: name.parse().unwrap(),
            status: InstanceStatus::Running,
            location: MachineLocation::Unknown,
            wake_on_mail: false,
        };
        add(db, &new, T0).unwrap().unwrap();
        let connect = "UPDATE user_record SET email = 'shared@example.com', connected_at = ?2
            WHERE user = ?1";
        db.execute(connect, params![name, connected_at]).unwrap();
    }

    #[test]
    fn a_mailbox_is_found_by_its_index() {
        let db = crate::sqlite::schema::in_memory();
        let plan: String = db
            .prepare(&format!("EXPLAIN QUERY PLAN {WHOSE_MAILBOX}"))
            .unwrap()
            .query_row(["ann@gmail.com"], |row| row.get("detail"))
            .unwrap();
        assert!(plan.contains("user_record_by_mailbox"), "{plan}");
    }

    #[test]
    fn two_old_users_with_one_address_keep_it() {
        let db = schema::in_memory();
        add_as_older_versions_did(&db, "ann", 2);
        add_as_older_versions_did(&db, "bob", 1);
        let shared = "shared@example.com".parse().unwrap();
        for name in ["ann", "bob"] {
            let mut record = find(&db, &name.parse().unwrap()).unwrap().unwrap();
            record.notifications_enabled = true;
            replace(&db, &record, None, T0).unwrap().unwrap();
            let first = user_by_email(&db, &shared).unwrap();
            assert_eq!(first, Some("bob".parse().unwrap()));
        }
    }
}
