//! Dead letters.

use postbell_core::{
    Accepted, DEAD_LETTERS_KEPT, DeadLetter, DeadLetterReason, EmailAddress, Notification,
    Replayed, Timestamp, UNPARSEABLE_KEPT, UnparseableMessage, UserId,
};
use tracing::warn;

use super::failure::Failure;
use super::parameter::{Parameter, column};
use super::session::{Call, Session, Transaction};
use crate::columns::{self, Columns, in_order, limit, number, parsed, without_nul};
use crate::loaded_mailbox::NewDeadLetter;

const ADD: &str = "
    INSERT INTO dead_letter (user_id, message_id, history_id, address, published_at, body, reason,
        cause, failure_kind, dead_lettered_at, trace)
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

/// A repeat is not kept again: `dead_letter_unparseable` is unique. It takes no number either. But it locks the
/// row, which is a write: its commit, too, waits until the standby has what was kept before.
const ADD_UNPARSEABLE: &str = "
    WITH kept AS MATERIALIZED (
        SELECT id FROM dead_letter
        WHERE user_id = $1 AND message_id = $2 AND reason = 'malformed' FOR UPDATE
    )
    INSERT INTO dead_letter (user_id, message_id, body, reason, cause, dead_lettered_at)
    SELECT $1, $2, $3, 'malformed', $4, $5 WHERE NOT EXISTS (SELECT FROM kept)
    ON CONFLICT (user_id, message_id) WHERE reason = 'malformed'
        DO UPDATE SET cause = dead_letter.cause
    RETURNING xmax = 0 AS is_new";

/// Deletes the oldest dead letters of users beyond the last `$2`, and returns how many.
const DROP_OLD: &str = "
    WITH kept AS MATERIALIZED (
        SELECT user_id, (SELECT id FROM dead_letter WHERE dead_letter.user_id = of.user_id
            ORDER BY id DESC LIMIT 1 OFFSET $2) AS before
        FROM (SELECT DISTINCT unnest($1) AS user_id) AS of
    ), dropped AS (
        DELETE FROM dead_letter USING kept
        WHERE dead_letter.user_id = kept.user_id AND dead_letter.id <= kept.before RETURNING 1
    ), number AS (SELECT count(*) AS dropped FROM dropped)
    UPDATE dead_letter_dropped SET number = dead_letter_dropped.number + number.dropped
    FROM number WHERE number.dropped > 0 RETURNING number.dropped";

const DROP_OLD_UNPARSEABLE: &str = "
    WITH dropped AS (
        DELETE FROM dead_letter WHERE user_id = $1 AND reason = 'malformed' AND id <=
            (SELECT id FROM dead_letter WHERE user_id = $1 AND reason = 'malformed'
             ORDER BY id DESC LIMIT 1 OFFSET $2) RETURNING 1
    ), number AS (SELECT count(*) AS dropped FROM dropped)
    UPDATE dead_letter_dropped SET number = dead_letter_dropped.number + number.dropped
    FROM number WHERE number.dropped > 0 RETURNING number.dropped";

/// Both lists walk an index backwards from a number.
const OF_ALL: &str = "
    SELECT id, user_id, message_id, history_id, reason, cause, failure_kind, dead_lettered_at
    FROM dead_letter WHERE id < $1 ORDER BY id DESC LIMIT $2";
const OF_USER: &str = "
    SELECT id, user_id, message_id, history_id, reason, cause, failure_kind, dead_lettered_at
    FROM dead_letter WHERE user_id = $3 AND id < $1 ORDER BY id DESC LIMIT $2";

const FIND: &str = "
    SELECT user_id, message_id, history_id, address, published_at, body, trace FROM dead_letter
    WHERE id = $1";

const DROP: &str = "DELETE FROM dead_letter WHERE id = $1 RETURNING user_id";

const COUNT: &str = "SELECT count(*) AS number FROM dead_letter WHERE user_id = $1";

const DROP_THROUGH: &str = "DELETE FROM dead_letter WHERE user_id = $1 AND id <= $2";

/// Appends the statements that add dead letters and delete the oldest of their users.
pub(super) fn add<'a>(new: &[&'a NewDeadLetter], calls: &mut Vec<Call<'a>>) {
    if new.is_empty() {
        return;
    }
    let notifications = || new.iter().map(|new| &new.notification);
    let users = || -> Vec<&str> { notifications().map(|one| one.user.as_str()).collect() };
    let addresses = notifications().map(|one| one.address.as_ref().map(EmailAddress::as_str));
    let parameters: Vec<Box<dyn Parameter + 'a>> = vec![
        Box::new(users()),
        column(notifications().map(|one| one.message_id.as_str())),
        column(notifications().map(|one| in_order(one.history_id))),
        column(addresses),
        column(notifications().map(|one| one.published_at.map(Timestamp::as_millis))),
        column(notifications().map(|one| &one.body[..])),
        column(new.iter().map(|new| DeadLetterReason::as_str(new.reason))),
        column(new.iter().map(|new| without_nul(&new.failure.detail))),
        column(new.iter().map(|new| new.failure.kind.to_string())),
        column(new.iter().map(|new| new.at.as_millis())),
        column(notifications().map(|one| one.trace.map(|trace| trace.to_string()))),
    ];
    calls.push(Call::new(ADD, parameters));
    let kept = limit(DEAD_LETTERS_KEPT);
    calls.push(Call::new(DROP_OLD, vec![Box::new(users()), Box::new(kept)]));
}

pub(super) async fn add_unparseable(
    db: &Session,
    message: &UnparseableMessage,
    now: Timestamp,
) -> Result<Accepted, Failure> {
    let user = message.user.as_str();
    let values: [&dyn Parameter; 5] = [
        &user,
        &message.message_id.as_str(),
        &&message.body[..],
        &without_nul(&message.cause),
        &now.as_millis(),
    ];
    let added = db.query_opt(ADD_UNPARSEABLE, &values).await?;
    let is_new = added.map(|row| row.flag("is_new")).transpose()?;
    if is_new != Some(true) {
        return Ok(Accepted::Duplicate);
    }
    let values: [&dyn Parameter; 2] = [&user, &limit(UNPARSEABLE_KEPT)];
    let unparseable = db.query_opt(DROP_OLD_UNPARSEABLE, &values).await?;
    let values: [&dyn Parameter; 2] = [&vec![user], &limit(DEAD_LETTERS_KEPT)];
    let others = db.query_opt(DROP_OLD, &values).await?;
    for row in unparseable.iter().chain(&others) {
        let dropped = number(row, "dropped")?;
        warn!(
            user.id = %message.user.masked(), dropped,
            "Deleted the oldest dead letters of {}: there are too many", message.user.masked()
        );
    }
    Ok(Accepted::Queued)
}

pub(super) async fn list(
    session: &Session,
    user: Option<&UserId>,
    before: Option<i64>,
    most: usize,
) -> Result<Vec<DeadLetter>, Failure> {
    let (before, most) = (before.unwrap_or(i64::MAX), limit(most));
    let rows = match user {
        Some(user) => {
            let user = user.as_str();
            session.query(OF_USER, &[&before, &most, &user]).await?
        }
        None => session.query(OF_ALL, &[&before, &most]).await?,
    };
    rows.iter().map(columns::dead_letter).collect()
}

/// Returns the notification of a dead letter, or why there is none.
pub(super) async fn find(
    session: &Session,
    id: i64,
) -> Result<Result<Notification, Replayed>, Failure> {
    let Some(row) = session.query_opt(FIND, &[&id]).await? else {
        return Ok(Err(Replayed::Missing));
    };
    Ok(columns::notification(&row)?.ok_or(Replayed::Unparseable))
}

/// Deletes a dead letter, and returns its user.
pub(super) async fn drop_one(db: &Transaction, id: i64) -> Result<Option<UserId>, Failure> {
    let Some(row) = db.query_opt(DROP, &[&id]).await? else {
        return Ok(None);
    };
    let user = parsed(&row, "user_id")?;
    db.changed(&user);
    Ok(Some(user))
}

pub(super) async fn count(session: &Session, user: &UserId) -> Result<u64, Failure> {
    let row = session.query_one(COUNT, &[&user.as_str()]).await?;
    Ok(number(&row, "number")?.unsigned_abs())
}

pub(super) async fn drop_through(
    session: &Session,
    user: &UserId,
    last: i64,
) -> Result<u64, Failure> {
    session
        .execute(DROP_THROUGH, &[&user.as_str(), &last])
        .await
}
