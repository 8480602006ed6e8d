//! The end of a claim.

use postbell_core::{Claim, HistoryId, MessageIds, QueueCursor, Settlement, Timestamp, UserId};
use rusqlite::{Connection, params};

use super::{BEGIN_TO_WAIT, Result};
use crate::columns::{parsed, time, time_if_any};
use crate::sqlite::{clock, cursor, dead_letter, delivery};

/// Finds the mailbox of a claim, unless the claim lost its lease or was settled.
const LEASED: &str = "
    SELECT message_id, history_id, published_at, merged_ids, cooldown_until, attempt, consecutive_failures,
        parked_for, checked_in_at
    FROM pending WHERE user = ?1 AND lease = ?2 AND leased_until > 0";

const COUNT_FAILURE: &str = "
    UPDATE pending SET consecutive_failures = consecutive_failures + 1,
        failing_since = coalesce(failing_since, ?2)
    WHERE user = ?1";

const CLEAR_FAILURES: &str = "
    UPDATE pending SET consecutive_failures = 0, failing_since = NULL WHERE user = ?1";

const RELEASE: &str = "
    UPDATE pending SET due_at = ?2, cooldown_until = ?3, attempt = ?4, leased_until = 0,
        parked_for = ?5
    WHERE user = ?1";

/// The notification is done, and nothing else is to be remembered of the mailbox.
const DELETE: &str = "DELETE FROM pending WHERE user = ?1";

/// The notification is done, but the mailbox is failing.
const EMPTY: &str = "
    UPDATE pending SET message_id = NULL, history_id = NULL, address = NULL, published_at = NULL,
        body = NULL, accepted_at = NULL, waiting_since = NULL, merged_ids = '', due_at = NULL,
        cooldown_until = ?2, attempt = 0, leased_until = 0, parked_for = NULL
    WHERE user = ?1";

/// The row of a claim that has the lease.
struct Leased {
    message_id: String,
    history_id: HistoryId,
    published_at: Option<Timestamp>,
    merged: MessageIds,
    cooldown_until: Timestamp,
    attempt: u32,
    consecutive_failures: u32,
    parked_for: Option<String>,
    /// When the machine last checked in without a problem during a delivery.
    checked_in_at: Timestamp,
}

/// What remains of a mailbox when its claim is settled.
enum Next {
    Pending(Schedule),
    Failing { cooldown_until: Timestamp },
    Nothing,
}

struct Schedule {
    due: Timestamp,
    cooldown_until: Timestamp,
    attempt: u32,
    parked_for: Option<String>,
}

/// Settles a claim, and returns whether it had the lease.
pub(in crate::sqlite) fn settle(
    db: &Connection,
    claim: &Claim,
    settlement: &Settlement,
    now: Timestamp,
) -> Result<bool> {
    let user = &claim.notification.user;
    let Some(leased) = find(db, claim)? else {
        return Ok(false);
    };
    clock::mark(db, now)?;
    delivery::record(db, claim, settlement, now)?;
    if settlement.is_final() {
        cursor::raise(db, &claim.notification, leased.cursor(claim, now))?;
    }
    let has_newer = leased.has_newer_than(claim);
    if let Settlement::DeadLetter {
        reason, failure, ..
    } = settlement
        && !has_newer
    {
        dead_letter::add(db, &claim.notification, *reason, failure, now)?;
    }
    let failures = leased.consecutive_failures;
    let next = leased.after(claim, settlement, now);
    if has_newer && matches!(settlement, Settlement::Delivered | Settlement::Unwanted) {
        db.prepare_cached(BEGIN_TO_WAIT)?.execute([user.as_str()])?;
    }
    if !matches!(next, Next::Nothing) {
        count_failures(db, user, settlement, failures, now)?;
    }
    write(db, user, &next)?;
    Ok(true)
}

fn write(db: &Connection, user: &UserId, next: &Next) -> Result<()> {
    match next {
        Next::Pending(schedule) => {
            let values = params![
                user.as_str(),
                schedule.due.as_millis(),
                schedule.cooldown_until.as_millis(),
                schedule.attempt,
                schedule.parked_for,
            ];
            db.prepare_cached(RELEASE)?.execute(values)?;
        }
        Next::Failing { cooldown_until } => {
            let values = params![user.as_str(), cooldown_until.as_millis()];
            db.prepare_cached(EMPTY)?.execute(values)?;
        }
        Next::Nothing => {
            db.prepare_cached(DELETE)?.execute([user.as_str()])?;
        }
    }
    Ok(())
}

fn find(db: &Connection, claim: &Claim) -> Result<Option<Leased>> {
    let mut statement = db.prepare_cached(LEASED)?;
    let values = params![claim.notification.user.as_str(), claim.lease];
    let mut rows = statement.query(values)?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(Leased {
        message_id: row.get("message_id")?,
        history_id: parsed(row, "history_id")?,
        published_at: time_if_any(row, "published_at")?,
        merged: parsed(row, "merged_ids")?,
        cooldown_until: time(row, "cooldown_until")?,
        attempt: row.get("attempt")?,
        consecutive_failures: row.get("consecutive_failures")?,
        parked_for: row.get("parked_for")?,
        checked_in_at: time(row, "checked_in_at")?,
    }))
}

/// Counts consecutive failures, of which there were `failures`. Most deliveries write nothing here.
fn count_failures(
    db: &Connection,
    user: &UserId,
    settlement: &Settlement,
    failures: u32,
    now: Timestamp,
) -> Result<()> {
    match settlement {
        Settlement::Delivered | Settlement::Unwanted if failures > 0 => {
            db.prepare_cached(CLEAR_FAILURES)?
                .execute([user.as_str()])?;
        }
        Settlement::Retry { .. } | Settlement::DeadLetter { .. } | Settlement::Park { .. } => {
            let values = params![user.as_str(), now.as_millis()];
            db.prepare_cached(COUNT_FAILURE)?.execute(values)?;
        }
        Settlement::Delivered | Settlement::Unwanted | Settlement::Release => (),
    }
    Ok(())
}

impl Schedule {
    fn unparked(due: Timestamp, cooldown_until: Timestamp, attempt: u32) -> Next {
        Next::Pending(Self {
            due,
            cooldown_until,
            attempt,
            parked_for: None,
        })
    }
}

impl Leased {
    /// Returns whether a newer notification replaced the claimed one, or a message has arrived that the
    /// claim may not cover.
    fn has_newer_than(&self, claim: &Claim) -> bool {
        self.message_id != claim.notification.message_id.as_str()
            || self.history_id != claim.notification.history_id
            || self.published_at > claim.notification.published_at
    }

    /// Returns the cursor after this claim. The messages that were merged into a newer notification
    /// with another history id are not those of the claim.
    fn cursor(&self, claim: &Claim, now: Timestamp) -> QueueCursor {
        let has_same = self.history_id == claim.notification.history_id;
        let merged = has_same.then(|| self.merged.clone());
        claim.cursor(merged.unwrap_or_default(), now)
    }

    fn after(self, claim: &Claim, settlement: &Settlement, now: Timestamp) -> Next {
        let has_newer = self.has_newer_than(claim);
        match settlement {
            Settlement::Release => Next::Pending(Schedule {
                due: now,
                cooldown_until: self.cooldown_until,
                attempt: self.attempt,
                parked_for: self.parked_for,
            }),
            Settlement::Delivered | Settlement::Unwanted if has_newer => {
                Schedule::unparked(now, now, 0)
            }
            Settlement::Delivered | Settlement::Unwanted => Next::Nothing,
            // The problem is over since the attempt began.
            Settlement::Park { .. } if self.checked_in_at >= claim.claimed_at => {
                Schedule::unparked(now, now, self.attempt)
            }
            Settlement::Park { failure, until } => Next::Pending(Schedule {
                due: *until,
                cooldown_until: *until,
                attempt: self.attempt,
                parked_for: failure.kind.problem().map(|code| code.to_string()),
            }),
            Settlement::Retry { cooldown, .. } | Settlement::DeadLetter { cooldown, .. }
                if has_newer =>
            {
                Schedule::unparked(now + *cooldown, now + *cooldown, 0)
            }
            Settlement::Retry { wait, cooldown, .. } => {
                let attempt = claim.attempt.saturating_add(1);
                Schedule::unparked(now + *wait, now + *cooldown, attempt)
            }
            Settlement::DeadLetter { cooldown, .. } => Next::Failing {
                cooldown_until: now + *cooldown,
            },
        }
    }
}
