//! Users: one row each.

mod accounts;
mod list;
mod mailbox;
mod row;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{
    Actor, AuditAction, CLOCK_TOLERANCE, EmailAddress, FleetCounts, HistoryId, Listing, NewAccount,
    NewUser, ProblemCode, SandboxId, StoreError, StoredCredentials, Timestamp, UserId, UserRecord,
    Users, UsersError,
};
use tokio_postgres::Row;

use self::row::{insert, write};
use super::database::Database;
use super::failure::Failure;
use super::parameter::Parameter;
use super::session::{Session, Transaction};
use super::{access_tokens, alert_outbox, alert_targets, audit, credentials, orphaned_machines};
use crate::accounts::removal;
use crate::at_rest::{Sealed, Secrets};
use crate::columns::{
    Columns, fleet_counts, in_order, limit, number, parsed, problem_count, record,
};

const FIND: &str = "
    SELECT u.*, p.history_id FROM user_record u LEFT JOIN progress p USING (user_id)
    WHERE u.user_id = $1";

/// Waits until no other transaction writes the record.
const LOCK: &str = "
    SELECT u.*, p.history_id FROM user_record u LEFT JOIN progress p USING (user_id)
    WHERE u.user_id = $1 FOR UPDATE OF u";

const REMOVE: &str = "DELETE FROM user_record WHERE user_id = $1";

const WHOSE_SANDBOX: &str = "SELECT user_id FROM user_record WHERE sandbox_id = $1";

/// The lock keeps a late report out of an account that is disconnected at the same time.
const RAISE: &str = "
    INSERT INTO progress AS p (user_id, history_id)
    SELECT user_id, $2 FROM user_record WHERE user_id = $1 AND connected_at IS NOT NULL FOR SHARE
    ON CONFLICT (user_id) DO UPDATE SET history_id = $2 WHERE p.history_id < $2";

/// Unless one was recorded between `$3` and `$4`.
const RECORD_START: &str = "
    UPDATE user_record SET started_at = $2
    WHERE user_id = $1 AND (started_at IS NULL OR started_at <= $3 OR started_at > $4)";

const MARKS: &str = "
    SELECT user_id, version || ' ' || coalesce(history_id, '') AS mark
    FROM user_record LEFT JOIN progress USING (user_id) WHERE user_id = ANY($1)";

const FORGET_PROGRESS: &str = "DELETE FROM progress WHERE user_id = $1";

const PENDING_SYNC: &str = "
    SELECT user_id FROM user_record WHERE pending_sync IS NOT NULL AND user_id > $1
    ORDER BY user_id LIMIT $2";

const COUNT: &str = "SELECT number FROM user_count";

const COUNT_PROBLEMS: &str = "
    SELECT problem_code, count(*) AS users FROM user_record WHERE problem_code IS NOT NULL
    GROUP BY problem_code ORDER BY problem_code";

/// Two users may not have the same one.
const SANDBOX: &str = "user_record_by_sandbox";

/// The result of a write. A refusal has changed nothing.
type Written<T> = Result<Result<T, UsersError>, Failure>;

/// Users, credentials and orphaned machines in one PostgreSQL database.
pub(crate) struct PostgresUsers {
    pub(super) database: Arc<Database>,
    pub(super) secrets: Secrets,
    /// Whose changes are recorded.
    by: Option<Actor>,
}

impl PostgresUsers {
    pub(crate) fn new(database: Arc<Database>, secrets: Secrets, by: Option<Actor>) -> Self {
        Self {
            database,
            secrets,
            by,
        }
    }
}

#[async_trait]
impl Users for PostgresUsers {
    async fn add(&self, new: NewUser, now: Timestamp) -> Result<UserRecord, UsersError> {
        let (record, by) = (&UserRecord::new(new, now), self.by.as_ref());
        let added = self.database.write(|db| async move {
            let added = add(&db, record).await?;
            if added.is_ok() {
                audit::record(&db, by, AuditAction::AddUser, Some(&record.user), "").await?;
            }
            Ok(added)
        });
        refused(added.await)
    }

    async fn add_all(
        &self,
        new: Vec<NewUser>,
        now: Timestamp,
    ) -> Result<Vec<Result<UserRecord, UsersError>>, StoreError> {
        let records: Vec<_> = new
            .into_iter()
            .map(|new| UserRecord::new(new, now))
            .collect();
        let (records, by) = (&records, self.by.as_ref());
        let added = self
            .database
            .write(|db| async move { add_all(&db, records, by).await });
        added.await
    }

    async fn add_account(
        &self,
        new: NewAccount,
        credentials: &StoredCredentials,
        now: Timestamp,
    ) -> Result<UserRecord, UsersError> {
        let sealed = &self.secrets.encrypt(&new.record, credentials.expose())?;
        let (new, by) = (&new, self.by.as_ref());
        let added = self
            .database
            .write(|db| async move { accounts::add(&db, new, sealed, by, now).await });
        let added: Written<UserRecord> = added.await;
        match added {
            Err(failure) if failure.violates(SANDBOX) => Err(UsersError::AlreadyExists {
                user: new.record.clone(),
            }),
            added => refused(added),
        }
    }

    async fn accounts_of(&self, owners: &[UserId]) -> Result<Vec<UserRecord>, StoreError> {
        let accounts = self
            .database
            .read(|db| async move { accounts::of(&db, owners).await });
        accounts.await
    }

    async fn get(&self, user: &UserId) -> Result<Option<UserRecord>, StoreError> {
        let found = self
            .database
            .read(|db| async move { find(&db, FIND, user).await });
        found.await
    }

    async fn replace(
        &self,
        record: &UserRecord,
        credentials: Option<&StoredCredentials>,
        now: Timestamp,
    ) -> Result<UserRecord, UsersError> {
        let encrypt = |it: &StoredCredentials| self.secrets.encrypt(&record.user, it.expose());
        let sealed = &credentials.map(encrypt).transpose()?;
        let by = self.by.as_ref();
        let replaced = self
            .database
            .write(|db| async move { replace(&db, record, sealed.as_ref(), by, now).await });
        refused(replaced.await)
    }

    async fn raise_history_id(
        &self,
        user: &UserId,
        history_id: HistoryId,
    ) -> Result<bool, StoreError> {
        let raised = self.database.write(|db| async move {
            let is_raised = raise(&db, user, history_id).await?;
            if is_raised {
                db.changed(user);
            }
            Ok(is_raised)
        });
        raised.await
    }

    async fn record_start(
        &self,
        user: &UserId,
        now: Timestamp,
        pause: Duration,
    ) -> Result<bool, StoreError> {
        let pause = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        let (since, ahead) = (now.as_millis().saturating_sub(pause), now + CLOCK_TOLERANCE);
        let recorded = self.database.write(|db| async move {
            let at = (now.as_millis(), since, ahead.as_millis());
            let values: [&dyn Parameter; 4] = [&user.as_str(), &at.0, &at.1, &at.2];
            Ok(db.execute(RECORD_START, &values).await? > 0)
        });
        recorded.await
    }

    async fn remove(&self, record: &UserRecord) -> Result<bool, UsersError> {
        let by = self.by.as_ref();
        let removed = self.database.write(|db| async move {
            let removed = remove(&db, record).await?;
            if let Ok(Some(record)) = &removed {
                let (action, detail) = removal(record);
                audit::record(&db, by, action, Some(record.bot()), &detail).await?;
            }
            Ok(removed)
        });
        let removed: Written<Option<UserRecord>> = removed.await;
        let removed = removed.map_err(StoreError::from)?;
        removed.map(|removed| removed.is_some())
    }

    async fn users_by_email(&self, email: &EmailAddress) -> Result<Vec<UserId>, StoreError> {
        let users = self
            .database
            .read(|db| async move { mailbox::users(&db, email).await });
        users.await
    }

    async fn user_by_sandbox(&self, sandbox_id: &SandboxId) -> Result<Option<UserId>, StoreError> {
        let user = self.database.read(|db| async move {
            let row = db.query_opt(WHOSE_SANDBOX, &[&sandbox_id.as_str()]).await?;
            row.map(|row| parsed(&row, "user_id")).transpose()
        });
        user.await
    }

    async fn list(&self, listing: &Listing, limit: usize) -> Result<Vec<UserRecord>, StoreError> {
        let listed = self
            .database
            .read(|db| async move { list::list(&db, listing, limit).await });
        listed.await
    }

    async fn pending_sync(
        &self,
        after: Option<&UserId>,
        most: usize,
    ) -> Result<Vec<UserId>, StoreError> {
        let after = after.map_or("", |user| user.as_str());
        let pending = self.database.read(|db| async move {
            let rows = db.query(PENDING_SYNC, &[&after, &limit(most)]).await?;
            rows.iter().map(|row| parsed(row, "user_id")).collect()
        });
        pending.await
    }

    async fn marks(&self, users: &[UserId]) -> Result<Vec<(UserId, String)>, StoreError> {
        let users: Vec<_> = users.iter().map(UserId::as_str).collect();
        let users = &users;
        let marks = self.database.read(|db| async move {
            let rows = db.query(MARKS, &[users]).await?;
            let mark = |row: &Row| {
                let mark = row.text("mark")?.unwrap_or_default();
                Ok((parsed(row, "user_id")?, mark.to_owned()))
            };
            rows.iter().map(mark).collect()
        });
        marks.await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        let count = self.database.read(|db| async move {
            let row = db.query_one(COUNT, &[]).await?;
            Ok(number(&row, "number")?.unsigned_abs())
        });
        count.await
    }

    async fn count_problems(&self) -> Result<Vec<(ProblemCode, u64)>, StoreError> {
        let counts = self.database.read(|db| async move {
            let rows = db.query(COUNT_PROBLEMS, &[]).await?;
            rows.iter().map(problem_count).collect()
        });
        counts.await
    }

    async fn fleet_counts(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<FleetCounts, StoreError> {
        let counts = self.database.read(|db| async move {
            let count = format!(
                "SELECT (SELECT count(*) FROM ({}) AS ids) AS without_mail,
                    (SELECT count(*) FROM user_record WHERE watch_expires_at < $2) AS watch_ends,
                    (SELECT count(*) FROM user_record WHERE unreachable_since IS NOT NULL) AS unreachable,
                    (SELECT count(*) FROM user_record u WHERE connected_at IS NULL
                        AND NOT EXISTS (SELECT FROM user_record a WHERE a.owner = u.user_id)) AS not_connected",
                list::WITHOUT_MAIL_IDS
            );
            let row = db
                .query_one(&count, &[&now.as_millis(), &until.as_millis()])
                .await?;
            fleet_counts(&row)
        });
        counts.await
    }

    async fn check_ready(&self, now: Timestamp) -> Result<(), StoreError> {
        self.database.check_ready(now).await
    }
}

/// Names the user's error for which the database refused a write.
fn refused(written: Written<UserRecord>) -> Result<UserRecord, UsersError> {
    match written {
        Ok(written) => written,
        Err(failure) if failure.violates(SANDBOX) => Err(UsersError::SandboxTaken),
        Err(failure) => Err(StoreError::from(failure).into()),
    }
}

async fn find(db: &Session, query: &str, user: &UserId) -> Result<Option<UserRecord>, Failure> {
    let row = db.query_opt(query, &[&user.as_str()]).await?;
    row.as_ref().map(record::<Row>).transpose()
}

async fn add(db: &Transaction, record: &UserRecord) -> Written<UserRecord> {
    let user = &record.user;
    if !insert(db, record).await? {
        return Ok(Err(UsersError::AlreadyExists { user: user.clone() }));
    }
    orphaned_machines::moved(db, None, Some(&record.location)).await?;
    db.changed(user);
    Ok(Ok(record.clone()))
}

/// Adds users, and the entries about them at the end: until the transaction ends, no other one appends any.
async fn add_all(
    db: &Transaction,
    records: &[UserRecord],
    by: Option<&Actor>,
) -> Result<Vec<Result<UserRecord, UsersError>>, Failure> {
    let mut all = Vec::with_capacity(records.len());
    for record in records {
        let sandbox = record.sandbox_id.as_str();
        let owner = db.query_opt(WHOSE_SANDBOX, &[&sandbox]).await?;
        let owner = owner.map(|row| parsed::<UserId, _>(&row, "user_id"));
        all.push(match owner.transpose()? {
            Some(owner) if owner != record.user => Err(UsersError::SandboxTaken),
            _ => add(db, record).await?,
        });
    }
    for record in all.iter().flatten() {
        audit::record(db, by, AuditAction::AddUser, Some(&record.user), "").await?;
    }
    Ok(all)
}

async fn replace(
    db: &Transaction,
    record: &UserRecord,
    credentials: Option<&Sealed>,
    by: Option<&Actor>,
    now: Timestamp,
) -> Written<UserRecord> {
    let user = &record.user;
    let owner = accounts::locked_owner(db, record).await?;
    let Some(stored) = find(db, LOCK, user).await? else {
        return Ok(Err(UsersError::Missing { user: user.clone() }));
    };
    if stored.version != record.version {
        return Ok(Err(UsersError::Changed { user: user.clone() }));
    }
    if let Err(refused) = mailbox::check(db, record, &stored).await? {
        return Ok(Err(refused));
    }
    let mut record = record.clone();
    if let Some(owner) = owner {
        record.set_supported(owner.several_accounts, now);
    }
    let record = &record;
    write(db, record, now).await?;
    if record.several_accounts != stored.several_accounts {
        accounts::set_supported(db, record, now).await?;
    }
    match (&record.google, credentials) {
        (None, _) => credentials::delete(db, user).await?,
        (Some(_), Some(sealed)) => credentials::put(db, user, sealed).await?,
        (Some(_), None) => (),
    }
    match record.last_history_id {
        Some(history_id) => drop(raise(db, user, history_id).await?),
        // Another account, or none. Otherwise the record was read before the first mail.
        None if record.google != stored.google => forget_progress(db, user).await?,
        None => (),
    }
    if record.location != stored.location {
        let (left, taken) = (Some(&stored.location), Some(&record.location));
        orphaned_machines::moved(db, left, taken).await?;
    }
    announce(db, record);
    let Some(written) = find(db, FIND, user).await? else {
        return Ok(Err(UsersError::Missing { user: user.clone() }));
    };
    let detail = written.changes_since(&stored);
    if !detail.is_empty() {
        let (action, user) = (AuditAction::ChangeUser, Some(written.bot()));
        audit::record(db, by, action, user, &detail).await?;
    }
    Ok(Ok(written))
}

/// Announces the record, and the user whose account it is.
fn announce(db: &Transaction, record: &UserRecord) {
    db.changed(&record.user);
    if let Some(owner) = &record.owner {
        db.changed(owner);
    }
}

async fn raise(db: &Session, user: &UserId, history_id: HistoryId) -> Result<bool, Failure> {
    let raised = db
        .execute(RAISE, &[&user.as_str(), &in_order(history_id)])
        .await?;
    Ok(raised > 0)
}

async fn forget_progress(db: &Session, user: &UserId) -> Result<(), Failure> {
    db.execute(FORGET_PROGRESS, &[&user.as_str()])
        .await
        .map(drop)
}

async fn remove(db: &Transaction, record: &UserRecord) -> Written<Option<UserRecord>> {
    let user = &record.user;
    accounts::locked_owner(db, record).await?;
    // No account is added while the user is locked.
    let Some(stored) = find(db, LOCK, user).await? else {
        return Ok(Ok(None));
    };
    if stored.version != record.version {
        return Ok(Err(UsersError::Changed { user: user.clone() }));
    }
    if accounts::has_any(db, user).await? {
        return Ok(Err(UsersError::HasAccounts { user: user.clone() }));
    }
    db.execute(REMOVE, &[&user.as_str()]).await?;
    credentials::delete(db, user).await?;
    forget_progress(db, user).await?;
    alert_outbox::remove_of_user(db, user).await?;
    alert_targets::remove_of_user(db, user).await?;
    access_tokens::remove_of_user(db, user).await?;
    if let Some(owner) = &stored.owner {
        accounts::mark_pending_sync(db, owner).await?;
    }
    orphaned_machines::moved(db, Some(&stored.location), None).await?;
    announce(db, &stored);
    Ok(Ok(Some(stored)))
}
