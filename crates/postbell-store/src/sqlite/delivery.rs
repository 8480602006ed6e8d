//! The last deliveries of each mailbox.

use postbell_core::inbox::{DELIVERIES_KEPT, DeliveryRecord};
use postbell_core::{Claim, Settlement, Timestamp, UserId};
use rusqlite::{Connection, params};

use super::columns::{in_order, parsed, time};
use super::failure::Failure;

const RECORD: &str = "
    INSERT OR REPLACE INTO delivery (user, slot, lease, message_id, history_id, outcome, cause,
        failures, accepted_at, claimed_at, settled_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

const LIST: &str = "
    SELECT message_id, history_id, outcome, cause, failures, accepted_at, claimed_at, settled_at
    FROM delivery WHERE user = ?1 ORDER BY lease DESC";

/// Records a delivery in the slot of the one that is now too old.
pub(super) fn record(
    db: &Connection,
    claim: &Claim,
    settlement: &Settlement,
    now: Timestamp,
) -> Result<(), Failure> {
    let Some((outcome, cause)) = settlement.outcome() else {
        return Ok(());
    };
    let slots = i64::try_from(DELIVERIES_KEPT).unwrap_or(i64::MAX);
    db.prepare_cached(RECORD)?.execute(params![
        claim.notification.user.as_str(),
        claim.lease % slots,
        claim.lease,
        claim.notification.message_id.as_str(),
        in_order(claim.notification.history_id),
        outcome.as_str(),
        cause,
        claim.failures,
        claim.accepted_at.as_millis(),
        claim.claimed_at.as_millis(),
        now.as_millis(),
    ])?;
    Ok(())
}

pub(super) fn list(db: &Connection, user: &UserId) -> Result<Vec<DeliveryRecord>, Failure> {
    let mut statement = db.prepare_cached(LIST)?;
    let mut rows = statement.query([user.as_str()])?;
    let mut deliveries = Vec::new();
    while let Some(row) = rows.next()? {
        deliveries.push(DeliveryRecord {
            message_id: parsed(row, "message_id")?,
            history_id: parsed(row, "history_id")?,
            outcome: parsed(row, "outcome")?,
            cause: row.get("cause")?,
            failures: row.get("failures")?,
            accepted_at: time(row, "accepted_at")?,
            claimed_at: time(row, "claimed_at")?,
            settled_at: time(row, "settled_at")?,
        });
    }
    Ok(deliveries)
}
