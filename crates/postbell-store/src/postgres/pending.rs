//! Pending notifications, for the log, and what concerns all mailboxes.

use postbell_core::{Depth, PendingDelivery, UserId};

use super::failure::Failure;
use super::session::Session;
use crate::columns::{self, Columns, limit, number, parsed, time_if_any};

const PENDING: &str = "
    SELECT user_id, message_id, history_id, accepted_at, due_at, consecutive_failures,
        failing_since, leased_until, parked_for
    FROM pending WHERE user_id = $1 AND due_at IS NOT NULL";

/// Reads an index that contains only the failing ones.
const FAILING: &str = "
    SELECT user_id, message_id, history_id, accepted_at, due_at, consecutive_failures,
        failing_since, leased_until, parked_for
    FROM pending WHERE failing_since IS NOT NULL AND due_at IS NOT NULL
    ORDER BY failing_since, user_id LIMIT $1";

/// Separate queries, because each is then answered from an index alone.
const DEPTH: &str = "
    SELECT waiting.pending, waiting.waiting_since,
        (SELECT count(*) FROM dead_letter) AS dead_letters,
        (SELECT count(*) FROM pending WHERE failing_since IS NOT NULL AND due_at IS NOT NULL)
            AS failing,
        (SELECT count(*) FROM pending WHERE parked_for IS NOT NULL) AS parked,
        (SELECT number FROM dead_letter_dropped) AS dropped
    FROM (
        SELECT count(*) AS pending, min(waiting_since) AS waiting_since
        FROM pending WHERE due_at IS NOT NULL
    ) AS waiting";

/// The lease, the time of the pending notification, the last delivery and the dead letters tell every
/// change apart: each changes one of them.
const MARKS: &str = "
    SELECT asked.user_id, concat_ws(' ', pending.lease, pending.leased_until, pending.due_at,
        pending.history_id, pending.message_id, pending.parked_for, tally.deliveries,
        (SELECT count(*) || ' ' || max(id) FROM dead_letter
         WHERE dead_letter.user_id = asked.user_id)) AS mark
    FROM unnest($1) AS asked (user_id)
    LEFT JOIN pending USING (user_id) LEFT JOIN tally USING (user_id)";

/// The row of the mailbox first: it is what a settlement locks.
const DELETE_USER: [&str; 5] = [
    "DELETE FROM pending WHERE user_id = $1",
    "DELETE FROM cursor WHERE user_id = $1",
    "DELETE FROM dead_letter WHERE user_id = $1",
    "DELETE FROM delivery WHERE user_id = $1",
    "DELETE FROM tally WHERE user_id = $1",
];

pub(super) async fn find(
    session: &Session,
    user: &UserId,
) -> Result<Option<PendingDelivery>, Failure> {
    let row = session.query_opt(PENDING, &[&user.as_str()]).await?;
    row.as_ref().map(columns::pending_delivery).transpose()
}

pub(super) async fn failing(
    session: &Session,
    most: usize,
) -> Result<Vec<PendingDelivery>, Failure> {
    let rows = session.query(FAILING, &[&limit(most)]).await?;
    rows.iter().map(columns::pending_delivery).collect()
}

/// Returns a text of each user of whom anything is stored, which differs once that has changed.
pub(super) async fn marks(
    session: &Session,
    users: &[UserId],
) -> Result<Vec<(UserId, String)>, Failure> {
    let users: Vec<_> = users.iter().map(UserId::as_str).collect();
    let rows = session.query(MARKS, &[&users]).await?;
    let mut marks = Vec::new();
    for row in &rows {
        match row.text("mark")? {
            None | Some("") => (),
            Some(mark) => marks.push((parsed(row, "user_id")?, mark.to_owned())),
        }
    }
    Ok(marks)
}

pub(super) async fn depth(session: &Session) -> Result<Depth, Failure> {
    let row = session.query_one(DEPTH, &[]).await?;
    let count = |column| number(&row, column).map(i64::unsigned_abs);
    Ok(Depth {
        pending: count("pending")?,
        oldest_accepted_at: time_if_any(&row, "waiting_since")?,
        failing: count("failing")?,
        parked: count("parked")?,
        dead_letters: count("dead_letters")?,
        dead_letters_dropped: count("dropped")?,
    })
}

pub(super) async fn remove_user(session: &Session, user: &UserId) -> Result<(), Failure> {
    for statement in DELETE_USER {
        session.execute(statement, &[&user.as_str()]).await?;
    }
    Ok(())
}
