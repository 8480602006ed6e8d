//! The relays that deliver from the database, so that the claims of expired ones are released.

use postbell_core::{CLOCK_TOLERANCE, RELAY_TIMEOUT, RelayId, Timestamp};

use super::failure::Failure;
use super::session::Transaction;
use crate::columns::{Columns, parsed};

/// Heartbeats that were recorded while the clock was ahead, by more than `$2`, count as such at `$1`.
/// A row that its relay updates at the same time is left to it.
const SET_BACK: &str = "
    UPDATE relay SET heartbeat_at = $1
    WHERE id = ANY(ARRAY(SELECT id FROM relay WHERE heartbeat_at > $2 FOR UPDATE SKIP LOCKED))";

/// A row that is inserted, not updated, has no deleter.
const HEARTBEAT: &str = "
    INSERT INTO relay (id, heartbeat_at) VALUES ($1, $2)
    ON CONFLICT (id) DO UPDATE SET heartbeat_at = excluded.heartbeat_at
    RETURNING xmax = 0 AS is_new";

/// After an outage all relays have expired, except one that records a heartbeat at the same time, and so has locked its row.
const REMOVE_EXPIRED: &str = "
    DELETE FROM relay
    WHERE id = ANY(ARRAY(SELECT id FROM relay WHERE heartbeat_at <= $1 FOR UPDATE SKIP LOCKED))";

/// Claimed mailboxes of relays that are not in the table become due as before. Lease numbers stay, so
/// that none of these claims can settle anything. Rows are locked in the order of users.
const RELEASE_ORPHANED: &str = "
    WITH orphaned AS MATERIALIZED (
        SELECT user_id FROM pending
        WHERE due_at IS NOT NULL AND leased_until > 0
            AND NOT EXISTS (SELECT FROM relay WHERE relay.id = pending.holder)
        ORDER BY user_id FOR UPDATE OF pending
    )
    UPDATE pending SET due_at = cooldown_until, leased_until = 0
    FROM orphaned WHERE pending.user_id = orphaned.user_id
    RETURNING pending.user_id";

/// Records a heartbeat of a relay, and releases the claims of expired ones. Returns how many were released.
///
/// The claims are searched only if a relay has come or gone.
pub(super) async fn heartbeat(
    db: &Transaction,
    relay: RelayId,
    now: Timestamp,
) -> Result<usize, Failure> {
    let ahead = (now + CLOCK_TOLERANCE).as_millis();
    db.execute(SET_BACK, &[&now.as_millis(), &ahead]).await?;
    let heartbeat = db
        .query_one(HEARTBEAT, &[&relay.get(), &now.as_millis()])
        .await?;
    let is_new = heartbeat.flag("is_new")?;
    let timeout = i64::try_from(RELAY_TIMEOUT.as_millis()).unwrap_or(i64::MAX);
    let expired_since = now.as_millis().saturating_sub(timeout);
    let expired = db.execute(REMOVE_EXPIRED, &[&expired_since]).await?;
    if !is_new && expired == 0 {
        return Ok(0);
    }
    let released = db.query(RELEASE_ORPHANED, &[]).await?;
    for row in &released {
        db.changed(&parsed(row, "user_id")?);
    }
    Ok(released.len())
}
