//! The last deliveries of each mailbox, and their hourly counts.

use postbell_core::{
    DELIVERIES_KEPT, DeliveryRecord, HOURS_COUNTED, HourlyCount, Outcome, Timestamp, UserId,
};
use rusqlite::{Connection, params};

use super::failure::Failure;
use crate::columns::{self, in_order};
use crate::loaded_mailbox::NewDelivery;

/// With `max`, the other columns are those of its row (<https://www.sqlite.org/lang_select.html#bareagg>).
pub(super) const RECORD: &str = "
    INSERT OR REPLACE INTO delivery (user, slot, lease, message_id, history_id, outcome, cause,
        attempt, accepted_at, claimed_at, settled_at, failure_kind, trace_id)
    VALUES (?1,
        coalesce((SELECT (slot + 1) % ?2 FROM (SELECT slot, max(lease) FROM delivery WHERE user = ?1)), 0),
        ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";

const LIST: &str = "
    SELECT message_id, history_id, outcome, cause, failure_kind, attempt, accepted_at,
        claimed_at, settled_at, trace_id
    FROM delivery WHERE user = ?1 ORDER BY lease DESC";

const COUNT: &str = "
    INSERT INTO delivery_hour (user, slot, hour, delivered, failed) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT DO UPDATE SET
        delivered = iif(hour = ?3, delivered, 0) + ?4,
        failed = iif(hour = ?3, failed, 0) + ?5,
        hour = ?3";

const HOURS: &str = "
    SELECT hour, delivered, failed FROM delivery_hour
    WHERE user = ?1 AND hour > ?2 AND hour <= ?3 ORDER BY hour";

/// Records a delivery in the slot after that of the last one, which is the oldest one's.
pub(super) fn record(db: &Connection, new: &NewDelivery) -> Result<(), Failure> {
    let Some((outcome, failure)) = new.settlement.outcome() else {
        return Ok(());
    };
    let (claim, now) = (&new.claim, new.settled_at);
    let slots = i64::try_from(DELIVERIES_KEPT).unwrap_or(i64::MAX);
    db.prepare_cached(RECORD)?.execute(params![
        claim.notification.user.as_str(),
        slots,
        claim.lease,
        claim.notification.message_id.as_str(),
        in_order(claim.notification.history_id),
        outcome.as_str(),
        failure.map(|failure| &failure.detail),
        claim.attempt,
        claim.accepted_at.as_millis(),
        claim.claimed_at.as_millis(),
        now.as_millis(),
        failure.map(|failure| failure.kind.to_string()),
        claim.notification.trace.map(|one| one.trace.to_string()),
    ])?;
    count(db, &claim.notification.user, outcome, now)
}

/// Adds a delivery to the count of its hour.
fn count(db: &Connection, user: &UserId, outcome: Outcome, at: Timestamp) -> Result<(), Failure> {
    let (delivered, failed) = outcome.counts_as();
    if delivered + failed > 0 {
        let hour = HourlyCount::hour_number(at);
        let slot = hour.rem_euclid(HOURS_COUNTED);
        let values = params![user.as_str(), slot, hour, delivered, failed];
        db.prepare_cached(COUNT)?.execute(values)?;
    }
    Ok(())
}

pub(super) fn hourly_counts(
    db: &Connection,
    user: &UserId,
    now: Timestamp,
) -> Result<Vec<HourlyCount>, Failure> {
    let last = HourlyCount::hour_number(now);
    let mut statement = db.prepare_cached(HOURS)?;
    let mut rows = statement.query(params![user.as_str(), last - HOURS_COUNTED, last])?;
    let mut hours = Vec::new();
    while let Some(row) = rows.next()? {
        hours.push(columns::hourly_count(row)?);
    }
    Ok(hours)
}

pub(super) fn list(db: &Connection, user: &UserId) -> Result<Vec<DeliveryRecord>, Failure> {
    let mut statement = db.prepare_cached(LIST)?;
    let mut rows = statement.query([user.as_str()])?;
    let mut deliveries = Vec::new();
    while let Some(row) = rows.next()? {
        deliveries.push(columns::delivery_record(row)?);
    }
    Ok(deliveries)
}
