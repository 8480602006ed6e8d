//! The relays that deliver from the file, so that the claims of expired ones are released.

use postbell_core::{CLOCK_TOLERANCE, RELAY_TIMEOUT, RelayId, Timestamp};
use rusqlite::params;

use super::failure::Failure;
use super::pending;
use super::writer::Transaction;

/// Heartbeats that were recorded while the clock was ahead, by more than `?2`, count as such at `?1`.
const SET_BACK: &str = "UPDATE relay SET heartbeat_at = ?1 WHERE heartbeat_at > ?2";

const HEARTBEAT: &str = "UPDATE relay SET heartbeat_at = ?2 WHERE id = ?1";

const ADD: &str = "INSERT INTO relay (id, heartbeat_at) VALUES (?1, ?2)";

const REMOVE_EXPIRED: &str = "DELETE FROM relay WHERE heartbeat_at <= ?1";

/// Records a heartbeat of a relay, and releases the claims of expired ones. Returns how many were released.
///
/// The claims are searched only if a relay has come or gone.
pub(super) fn heartbeat(
    db: &Transaction<'_>,
    relay: RelayId,
    now: Timestamp,
) -> Result<usize, Failure> {
    let ahead = now + CLOCK_TOLERANCE;
    db.prepare_cached(SET_BACK)?
        .execute([now.as_millis(), ahead.as_millis()])?;
    let values = params![relay.get(), now.as_millis()];
    let is_new = db.prepare_cached(HEARTBEAT)?.execute(values)? == 0;
    if is_new {
        db.prepare_cached(ADD)?.execute(values)?;
    }
    let timeout = i64::try_from(RELAY_TIMEOUT.as_millis()).unwrap_or(i64::MAX);
    let expired_since = now.as_millis().saturating_sub(timeout);
    let expired = db
        .prepare_cached(REMOVE_EXPIRED)?
        .execute([expired_since])?;
    if !is_new && expired == 0 {
        return Ok(0);
    }
    let released = pending::release_orphaned(db)?;
    released.iter().for_each(|user| db.changed(user));
    Ok(released.len())
}
