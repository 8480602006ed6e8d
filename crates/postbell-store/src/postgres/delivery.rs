//! The last deliveries of each mailbox, and their hourly counts.

use postbell_core::{
    DELIVERIES_KEPT, DeliveryRecord, HOURS_COUNTED, HourlyCount, Outcome, Timestamp, UserId,
};

use super::failure::Failure;
use super::parameter::{Parameter, column};
use super::session::{Call, Session};
use crate::columns::{self, in_order, without_nul};
use crate::loaded_mailbox::NewDelivery;

/// Counts each delivery, and records it in the slot of its number, in which the oldest one was. An hour
/// is in three arrays at the same place; a new row has arrays that begin, and end, at that place.
const RECORD: &str = "
    WITH new AS MATERIALIZED (
        SELECT unnest($1) AS user_id, unnest($2) AS lease, unnest($3) AS message_id,
            unnest($4) AS history_id, unnest($5) AS outcome, unnest($6) AS cause,
            unnest($7) AS failure_kind, unnest($8) AS attempt, unnest($9) AS accepted_at,
            unnest($10) AS claimed_at, unnest($11) AS settled_at, unnest($12) AS hour,
            unnest($13) AS place, unnest($14) AS delivered, unnest($15) AS failed,
            unnest($16) AS trace_id
    ), counted AS (
        INSERT INTO tally AS t (user_id, deliveries, hours, delivered, failed)
        SELECT user_id, 1, array_fill(hour, ARRAY[1], ARRAY[place]),
            array_fill(delivered, ARRAY[1], ARRAY[place]), array_fill(failed, ARRAY[1], ARRAY[place])
        FROM new ON CONFLICT (user_id) DO UPDATE SET deliveries = t.deliveries + 1,
            hours[array_lower(excluded.hours, 1)] = excluded.hours[array_lower(excluded.hours, 1)],
            delivered[array_lower(excluded.hours, 1)] =
                excluded.delivered[array_lower(excluded.hours, 1)]
                + CASE WHEN t.hours[array_lower(excluded.hours, 1)]
                        = excluded.hours[array_lower(excluded.hours, 1)]
                    THEN t.delivered[array_lower(excluded.hours, 1)] ELSE 0 END,
            failed[array_lower(excluded.hours, 1)] =
                excluded.failed[array_lower(excluded.hours, 1)]
                + CASE WHEN t.hours[array_lower(excluded.hours, 1)]
                        = excluded.hours[array_lower(excluded.hours, 1)]
                    THEN t.failed[array_lower(excluded.hours, 1)] ELSE 0 END
        RETURNING user_id, deliveries
    )
    INSERT INTO delivery (user_id, slot, lease, message_id, history_id, outcome, cause, failure_kind,
        attempt, accepted_at, claimed_at, settled_at, trace_id)
    SELECT user_id, deliveries % $17, lease, message_id, history_id, outcome, cause, failure_kind,
        attempt, accepted_at, claimed_at, settled_at, trace_id
    FROM new JOIN counted USING (user_id)
    ON CONFLICT (user_id, slot) DO UPDATE SET lease = excluded.lease, message_id = excluded.message_id,
        history_id = excluded.history_id, outcome = excluded.outcome, cause = excluded.cause,
        failure_kind = excluded.failure_kind, attempt = excluded.attempt,
        accepted_at = excluded.accepted_at, claimed_at = excluded.claimed_at,
        settled_at = excluded.settled_at, trace_id = excluded.trace_id";

const LIST: &str = "
    SELECT message_id, history_id, outcome, cause, failure_kind, attempt, accepted_at, claimed_at,
        settled_at, trace_id
    FROM delivery WHERE user_id = $1 ORDER BY lease DESC";

const HOURS: &str = "
    SELECT counted.hour, counted.delivered, counted.failed
    FROM tally, unnest(tally.hours, tally.delivered, tally.failed)
        AS counted (hour, delivered, failed)
    WHERE user_id = $1 AND hour > $2 AND hour <= $3 AND counted.delivered + counted.failed > 0
    ORDER BY hour";

/// Appends the statement that records deliveries, at most one of each mailbox.
pub(super) fn record<'a>(new: &[&'a NewDelivery], calls: &mut Vec<Call<'a>>) {
    if new.is_empty() {
        return;
    }
    let claims = || new.iter().map(|new| &new.claim);
    let notifications = || claims().map(|claim| &claim.notification);
    let outcomes = || new.iter().map(|new| new.settlement.outcome());
    let counts = || outcomes().map(|outcome| outcome.map_or((0, 0), |(one, _)| one.counts_as()));
    let failures = || outcomes().map(|outcome| outcome.and_then(|(_, failure)| failure));
    let hours = || {
        new.iter()
            .map(|new| HourlyCount::hour_number(new.settled_at))
    };
    let parameters: Vec<Box<dyn Parameter + 'a>> = vec![
        column(notifications().map(|one| one.user.as_str())),
        column(claims().map(|claim| claim.lease)),
        column(notifications().map(|one| one.message_id.as_str())),
        column(notifications().map(|one| in_order(one.history_id))),
        column(outcomes().map(|outcome| outcome.map(|(one, _)| Outcome::as_str(one)))),
        column(failures().map(|one| one.map(|one| without_nul(&one.detail)))),
        column(failures().map(|one| one.map(|one| one.kind.to_string()))),
        column(claims().map(|claim| claim.attempt.cast_signed())),
        column(claims().map(|claim| claim.accepted_at.as_millis())),
        column(claims().map(|claim| claim.claimed_at.as_millis())),
        column(new.iter().map(|new| new.settled_at.as_millis())),
        column(hours()),
        column(hours().map(place)),
        column(counts().map(|(delivered, _)| delivered.cast_signed())),
        column(counts().map(|(_, failed)| failed.cast_signed())),
        column(notifications().map(|one| one.trace.map(|one| one.trace.to_string()))),
        Box::new(i32::try_from(DELIVERIES_KEPT).unwrap_or(i32::MAX)),
    ];
    calls.push(Call::new(RECORD, parameters));
}

/// The place of an hour in the arrays, from 1.
fn place(hour: i64) -> i32 {
    let place = hour.rem_euclid(HOURS_COUNTED) + 1;
    i32::try_from(place).unwrap_or(1)
}

pub(super) async fn list(session: &Session, user: &UserId) -> Result<Vec<DeliveryRecord>, Failure> {
    let rows = session.query(LIST, &[&user.as_str()]).await?;
    rows.iter().map(columns::delivery_record).collect()
}

pub(super) async fn hourly_counts(
    session: &Session,
    user: &UserId,
    now: Timestamp,
) -> Result<Vec<HourlyCount>, Failure> {
    let last = HourlyCount::hour_number(now);
    let values: [&dyn Parameter; 3] = [&user.as_str(), &(last - HOURS_COUNTED), &last];
    let rows = session.query(HOURS, &values).await?;
    rows.iter().map(columns::hourly_count).collect()
}
