//! Claims of due mailboxes.

use std::time::Duration;

use postbell_core::{CLOCK_TOLERANCE, Claim, ClaimOrder, Claimed, RelayId, StoreError, Timestamp};
use tokio_postgres::Row;
use tracing::error;

use super::clock;
use super::failure::Failure;
use super::parameter::Parameter;
use super::session::{Call, Session};
use crate::columns::{self, count, limit, number, time, time_if_any};

/// Claims nothing if the clock was ahead (`$4` is the latest time that is not). A row that another
/// transaction has locked is skipped: none waits for another relay. Numbers the claims in their order. A row that was
/// changed just before it was locked is not in the place that this statement sees, and is claimed the next time.
macro_rules! claim {
    ($order:literal) => {
        concat!(
            "
    WITH due AS MATERIALIZED (
        SELECT ctid AS place, user_id, due_at FROM pending
        WHERE due_at <= $1 AND (SELECT latest FROM queue_clock) <= $4
        ORDER BY ",
            $order,
            " LIMIT $3 FOR UPDATE SKIP LOCKED
    ), numbered AS MATERIALIZED (
        SELECT place, nextval('lease') AS number FROM due
    ), marked AS (
        UPDATE queue_clock SET latest = $1 WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM queue_clock WHERE latest < $1 - 1000 FOR UPDATE SKIP LOCKED))
            AND EXISTS (SELECT FROM due)
    ), claimed AS (
        UPDATE pending SET due_at = $2, leased_until = $2, lease = numbered.number, holder = $5
        FROM numbered WHERE pending.ctid = numbered.place
        RETURNING pending.user_id, message_id, history_id, address, published_at, body, accepted_at,
            attempt, lease, trace
    )
    SELECT * FROM claimed ORDER BY lease"
        )
    };
}

const LONGEST_DUE: &str = claim!("due_at, user_id");

const LATEST_DUE: &str = claim!("due_at DESC, user_id DESC");

const STATE: &str = "
    SELECT (SELECT min(due_at) FROM pending WHERE due_at IS NOT NULL) AS due_at,
        (SELECT latest FROM queue_clock) AS latest";

/// Claims of a relay with greater numbers than `$2` become due as before. Rows are locked in the order of
/// users.
const RELEASE_UNKNOWN: &str = "
    WITH unknown AS MATERIALIZED (
        SELECT user_id FROM pending
        WHERE holder = $1 AND lease > $2 AND leased_until > 0 AND due_at IS NOT NULL
        ORDER BY user_id FOR UPDATE
    )
    UPDATE pending SET due_at = cooldown_until, leased_until = 0
    FROM unknown WHERE pending.user_id = unknown.user_id";

/// When a claim that skipped a locked row is repeated.
const LOCKED_PAUSE: Duration = Duration::from_millis(20);

/// The result of an attempt to claim.
pub(super) enum Attempt {
    Claimed(Claimed),
    /// Something was scheduled at this time, which lies ahead.
    ClockWasAhead(Timestamp),
}

/// Claims up to `most` due mailboxes for a relay, in statements that commit by themselves.
pub(super) async fn claim(
    session: &Session,
    relay: RelayId,
    now: Timestamp,
    lease: Duration,
    most: usize,
    order: ClaimOrder,
) -> Result<Attempt, Failure> {
    let claim = match order {
        ClaimOrder::LongestDue => LONGEST_DUE,
        ClaimOrder::LatestDue => LATEST_DUE,
    };
    let parameters: Vec<Box<dyn Parameter>> = vec![
        Box::new(now.as_millis()),
        Box::new((now + lease).as_millis()),
        Box::new(limit(most)),
        Box::new((now + CLOCK_TOLERANCE).as_millis()),
        Box::new(relay.get()),
    ];
    let calls = vec![Call::new(claim, parameters), Call::new(STATE, vec![])];
    let mut answers = session.pipeline(calls).await?.into_iter();
    let (rows, state) = (answers.next(), answers.next());
    let state = state.unwrap_or_default();
    let state = state.first();
    let missing = || columns::corrupt("queue_clock", "the row is missing");
    let state = state.ok_or_else(missing)?;
    let latest = time(state, "latest")?;
    if clock::ahead(latest, now).is_some() {
        return Ok(Attempt::ClockWasAhead(latest));
    }
    let rows = rows.unwrap_or_default();
    let claims: Vec<_> = rows.iter().filter_map(|row| readable(row, now)).collect();
    let next_due = time_if_any(state, "due_at")?.map(|due| {
        let has_skipped = due <= now && claims.len() < most;
        if has_skipped { now + LOCKED_PAUSE } else { due }
    });
    Ok(Attempt::Claimed(Claimed { claims, next_due }))
}

/// Releases what a relay has claimed without an answer. `known` is the greatest number of its claims that it
/// knows.
pub(super) async fn release_unknown(
    session: &Session,
    relay: RelayId,
    known: i64,
) -> Result<(), Failure> {
    session
        .execute(RELEASE_UNKNOWN, &[&relay.get(), &known])
        .await?;
    Ok(())
}

/// Returns a claim; `None` if its row is damaged, which stops no other mailbox: it stays claimed until its
/// lease ends.
fn readable(row: &Row, now: Timestamp) -> Option<Claim> {
    match read(row, now) {
        Ok(claim) => Some(claim),
        Err(failure) => {
            let error = StoreError::from(failure);
            error!(
                error = &error as &dyn std::error::Error,
                "A pending notification cannot be read, and is not delivered"
            );
            None
        }
    }
}

fn read(row: &Row, now: Timestamp) -> Result<Claim, Failure> {
    let missing = || columns::corrupt("pending", "a due row has no notification");
    Ok(Claim {
        notification: columns::notification(row)?.ok_or_else(missing)?,
        attempt: count(row, "attempt")?,
        accepted_at: time(row, "accepted_at")?,
        claimed_at: now,
        lease: number(row, "lease")?,
    })
}
