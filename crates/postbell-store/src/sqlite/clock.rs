//! Notices that the clock was ahead, and moves back the times that were set during that time.

use std::time::Duration;

use postbell_core::{CLOCK_TOLERANCE, Timestamp};
use rusqlite::{Connection, params};
use tracing::warn;

use super::writer::Transaction;

/// The longest time by which the mark may be behind: each write of a page makes a commit larger.
const BEHIND: Duration = Duration::from_secs(1);

const MARK: &str = "UPDATE queue_clock SET latest = ?1 WHERE latest < ?1 - 1000";

const LATEST: &str = "SELECT latest FROM queue_clock";

const SET_BACK: &str = "UPDATE queue_clock SET latest = ?1";

/// Moves times that lie ahead back by `?1` milliseconds, but not before `?2`, the present. A delivery in
/// progress keeps a whole lease, until `?3`.
const MOVE_BACK: &str = "
    UPDATE pending SET
        due_at = min(due_at, max(due_at - ?1, iif(leased_until > 0, ?3, ?2))),
        cooldown_until = min(cooldown_until, max(cooldown_until - ?1, ?2)),
        leased_until = iif(leased_until > 0, min(leased_until, max(leased_until - ?1, ?3)), 0)
    WHERE due_at > ?2 OR cooldown_until > ?2 OR leased_until > ?2";

/// Remembers that something was scheduled at `now`. Until the returned time nothing that is scheduled has to be.
pub(super) fn mark(db: &Connection, now: Timestamp) -> rusqlite::Result<Timestamp> {
    let marked = db.prepare_cached(MARK)?.execute([now.as_millis()])?;
    Ok(if marked > 0 { now + BEHIND } else { now })
}

/// Moves scheduled times back if the clock was ahead when they were set.
pub(super) fn correct(
    db: &Transaction<'_>,
    now: Timestamp,
    lease: Duration,
) -> rusqlite::Result<()> {
    let latest: i64 = db.prepare_cached(LATEST)?.query_row([], |row| row.get(0))?;
    let ahead = Timestamp::from_millis(latest) - now;
    if ahead <= CLOCK_TOLERANCE {
        return Ok(());
    }
    warn!(
        seconds = ahead.as_secs(),
        "The clock was ahead; moving scheduled deliveries back with it"
    );
    let values = params![
        i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX),
        now.as_millis(),
        (now + lease).as_millis(),
    ];
    db.mailboxes().forget_all();
    db.prepare_cached(MOVE_BACK)?.execute(values)?;
    db.prepare_cached(SET_BACK)?.execute([now.as_millis()])?;
    Ok(())
}
