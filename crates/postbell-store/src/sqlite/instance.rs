//! One row a user.

mod list;

use postbell_core::instances::NewInstance;
use postbell_core::{
    EmailAddress, FlyMachine, GoogleConnection, HistoryId, InstanceRecord, InstancesError, Place,
    SandboxId, Timestamp, UserId,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

pub(super) use self::list::list;
use super::columns::{corrupt, in_order, parsed, parsed_if_any, time, time_if_any};
use super::credential;
use super::failure::Failure;
use crate::vault::Sealed;

type Result<T> = std::result::Result<T, Failure>;

/// What a write came to: a refusal has changed nothing, so the others of its group may commit.
type Written<T> = Result<std::result::Result<T, InstancesError>>;

const ADD: &str = "
    INSERT INTO instance (user, sandbox_id, status, app, machine, url, notifications, wake_on_mail,
        created_at, updated_at, version)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?8, ?9)";

const FIND: &str = "SELECT * FROM instance WHERE user = ?1";

const WHOSE_SANDBOX: &str = "SELECT user FROM instance WHERE sandbox_id = ?1";

/// Few users have the same address.
const WHOSE_EMAIL: &str = "
    SELECT user FROM instance WHERE email = ?1 ORDER BY connected_at, user LIMIT 1";

const REPLACE: &str = "
    UPDATE instance SET sandbox_id = ?3, status = ?4, app = ?5, machine = ?6, url = ?7,
        connected_at = ?8, email = ?9, push_account = ?10, notifications = ?11, history_id = ?12,
        wake_on_mail = ?13, updated_at = ?14, watch_expires_at = ?15, version = version + 1
    WHERE user = ?1 AND version = ?2 RETURNING *";

const RAISE: &str = "
    UPDATE instance SET history_id = ?2, updated_at = ?3, version = version + 1
    WHERE user = ?1 AND connected_at IS NOT NULL AND (history_id IS NULL OR history_id < ?2)";

const REMOVE: &str = "DELETE FROM instance WHERE user = ?1";

const COUNT: &str = "SELECT number FROM instance_count";

pub(super) fn add(db: &Connection, new: &NewInstance, now: Timestamp) -> Written<InstanceRecord> {
    let user = &new.user;
    if find(db, user)?.is_some() {
        return Ok(Err(InstancesError::AlreadyThere { user: user.clone() }));
    }
    if user_by_sandbox(db, &new.sandbox_id)?.is_some() {
        return Ok(Err(InstancesError::SandboxTaken));
    }
    let record = InstanceRecord::new(new.clone(), now);
    let (app, machine, url) = place_columns(&record.place);
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
    Ok(Ok(record))
}

pub(super) fn find(db: &Connection, user: &UserId) -> Result<Option<InstanceRecord>> {
    let mut statement = db.prepare_cached(FIND)?;
    let mut rows = statement.query([user.as_str()])?;
    rows.next()?.map(record).transpose()
}

pub(super) fn user_by_sandbox(db: &Connection, id: &SandboxId) -> Result<Option<UserId>> {
    whose(db, WHOSE_SANDBOX, id.as_str())
}

pub(super) fn user_by_email(db: &Connection, email: &EmailAddress) -> Result<Option<UserId>> {
    whose(db, WHOSE_EMAIL, email.as_str())
}

fn whose(db: &Connection, question: &str, key: &str) -> Result<Option<UserId>> {
    let mut statement = db.prepare_cached(question)?;
    let mut rows = statement.query([key])?;
    rows.next()?.map(|row| parsed(row, "user")).transpose()
}

pub(super) fn replace(
    db: &Connection,
    record: &InstanceRecord,
    credentials: Option<&Sealed>,
    now: Timestamp,
) -> Written<InstanceRecord> {
    let user = &record.user;
    match version(db, user)? {
        None => return Ok(Err(InstancesError::Missing { user: user.clone() })),
        Some(version) if version != record.version => {
            return Ok(Err(InstancesError::Changed { user: user.clone() }));
        }
        Some(_) => (),
    }
    let owner = user_by_sandbox(db, &record.sandbox_id)?;
    if owner.is_some_and(|owner| owner != *user) {
        return Ok(Err(InstancesError::SandboxTaken));
    }
    match (&record.google, credentials) {
        (None, _) => credential::forget(db, user)?,
        (Some(_), Some(sealed)) => credential::put(db, user, sealed)?,
        (Some(_), None) => (),
    }
    write(db, record, now).map(Ok)
}

fn version(db: &Connection, user: &UserId) -> rusqlite::Result<Option<i64>> {
    let mut statement = db.prepare_cached(FIND)?;
    let version = statement.query_row([user.as_str()], |row| row.get("version"));
    version.optional()
}

fn write(db: &Connection, record: &InstanceRecord, now: Timestamp) -> Result<InstanceRecord> {
    let (app, machine, url) = place_columns(&record.place);
    let google = record.google.as_ref();
    let email = google.and_then(|google| google.email.as_ref());
    let push_account = google.and_then(|google| google.push_account.as_ref());
    let mut statement = db.prepare_cached(REPLACE)?;
    let mut rows = statement.query(params![
        record.user.as_str(),
        record.version,
        record.sandbox_id.as_str(),
        record.status.as_str(),
        app,
        machine,
        url,
        google.map(|google| google.connected_at.as_millis()),
        email.map(EmailAddress::as_str),
        push_account.map(EmailAddress::as_str),
        record.notifications_enabled,
        record.last_history_id.map(in_order),
        record.wake_on_mail,
        now.as_millis(),
        record.watch_expires_at.map(Timestamp::as_millis),
    ])?;
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let written = self::record(row)?;
    // A statement that is not read to its end is not carried out to its end.
    rows.next()?;
    Ok(written)
}

pub(super) fn raise(
    db: &Connection,
    user: &UserId,
    history_id: HistoryId,
    now: Timestamp,
) -> Result<bool> {
    let values = params![user.as_str(), in_order(history_id), now.as_millis()];
    Ok(db.prepare_cached(RAISE)?.execute(values)? > 0)
}

pub(super) fn remove(db: &Connection, user: &UserId) -> Result<bool> {
    credential::forget(db, user)?;
    Ok(db.prepare_cached(REMOVE)?.execute([user.as_str()])? > 0)
}

pub(super) fn count(db: &Connection) -> Result<u64> {
    let number: i64 = db.prepare_cached(COUNT)?.query_row([], |row| row.get(0))?;
    Ok(number.unsigned_abs())
}

fn place_columns(place: &Place) -> (Option<&str>, Option<&str>, Option<&str>) {
    match place {
        Place::Unknown => (None, None, None),
        Place::Fly(FlyMachine { app, machine }) => (Some(app), Some(machine), None),
        Place::Url(url) => (None, None, Some(url.as_str())),
    }
}

fn place(row: &Row<'_>) -> Result<Place> {
    let url: Option<String> = row.get("url")?;
    if let Some(url) = url {
        let url = url.parse().map_err(|error| corrupt("url", error))?;
        return Ok(Place::Url(url));
    }
    let app: Option<String> = row.get("app")?;
    let machine = row.get("machine")?;
    let fly = app.zip(machine);
    Ok(fly.map_or(Place::Unknown, |(app, machine)| {
        Place::Fly(FlyMachine { app, machine })
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

fn record(row: &Row<'_>) -> Result<InstanceRecord> {
    Ok(InstanceRecord {
        user: parsed(row, "user")?,
        sandbox_id: parsed(row, "sandbox_id")?,
        status: parsed(row, "status")?,
        place: place(row)?,
        google: google(row)?,
        notifications_enabled: row.get("notifications")?,
        last_history_id: parsed_if_any(row, "history_id")?,
        watch_expires_at: time_if_any(row, "watch_expires_at")?,
        wake_on_mail: row.get("wake_on_mail")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        version: row.get("version")?,
    })
}
