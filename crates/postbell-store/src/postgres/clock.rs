//! Notices that the clock was ahead, and moves back the times that were set during that time.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use postbell_core::{CLOCK_TOLERANCE, Timestamp};
use tracing::warn;

use super::failure::Failure;
use super::session::{Call, Session};

/// Writes at most once a second, and never waits for another process that does.
const MARK: &str = "
    UPDATE queue_clock SET latest = $1 WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM queue_clock WHERE latest < $1 - 1000 FOR UPDATE SKIP LOCKED))";

/// Only the first of several processes moves anything.
const SET_BACK: &str = "UPDATE queue_clock SET latest = $1 WHERE latest = $2";

/// Moves times that lie ahead back by `$1` milliseconds, but not before `$2`, the present. A delivery in
/// progress keeps a whole lease, until `$3`. Rows are locked in the order of users.
const MOVE_BACK: &str = "
    WITH ahead AS MATERIALIZED (
        SELECT user_id FROM pending
        WHERE due_at > $2 OR cooldown_until > $2 OR leased_until > $2
        ORDER BY user_id FOR UPDATE)
    UPDATE pending SET
        due_at = CASE WHEN due_at IS NOT NULL THEN
            least(due_at, greatest(due_at - $1, CASE WHEN leased_until > 0 THEN $3 ELSE $2 END)) END,
        cooldown_until = least(cooldown_until, greatest(cooldown_until - $1, $2)),
        leased_until = CASE WHEN leased_until > 0
            THEN least(leased_until, greatest(leased_until - $1, $3)) ELSE 0 END
    FROM ahead WHERE pending.user_id = ahead.user_id";

/// The latest time at which this process knows that something was scheduled, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct ClockMark(AtomicI64);

impl ClockMark {
    /// Returns the statement that remembers that something was scheduled at `now`, if it is needed.
    pub(super) fn statement(&self, now: Timestamp) -> Option<Call<'static>> {
        let known = Timestamp::from_millis(self.0.load(Ordering::Relaxed));
        let was_set_back = known - now > CLOCK_TOLERANCE;
        let is_due = now - known > Duration::from_secs(1);
        (is_due || was_set_back).then(|| Call::new(MARK, vec![Box::new(now.as_millis())]))
    }

    /// Remembers what was stored.
    pub(super) fn stored(&self, latest: Timestamp) {
        self.0.store(latest.as_millis(), Ordering::Relaxed);
    }
}

/// Returns by how much the clock was ahead when something was scheduled; `None` if it was not.
pub(super) fn ahead(latest: Timestamp, now: Timestamp) -> Option<Duration> {
    let ahead = latest - now;
    (ahead > CLOCK_TOLERANCE).then_some(ahead)
}

/// Moves scheduled times back, because the clock was ahead when they were set.
pub(super) async fn correct(
    session: &Session,
    latest: Timestamp,
    now: Timestamp,
    lease: Duration,
) -> Result<(), Failure> {
    let values: [&dyn super::parameter::Parameter; 2] = [&now.as_millis(), &latest.as_millis()];
    let is_first = session.execute(SET_BACK, &values).await? > 0;
    let Some(ahead) = ahead(latest, now).filter(|_| is_first) else {
        return Ok(());
    };
    warn!(
        seconds = ahead.as_secs(),
        "The clock was ahead; moving scheduled deliveries back with it"
    );
    let by = i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX);
    let until = (now + lease).as_millis();
    session
        .execute(MOVE_BACK, &[&by, &now.as_millis(), &until])
        .await?;
    Ok(())
}
