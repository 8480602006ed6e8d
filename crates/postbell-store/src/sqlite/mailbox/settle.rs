//! The end of a claim.

use postbell_core::{Claim, Settlement, Timestamp, UserId};
use rusqlite::{Connection, OptionalExtension, params};

use super::{EMPTY, Result};
use crate::sqlite::columns::time;
use crate::sqlite::{clock, dead_letter, delivery};

/// Finds the mailbox of a claim, unless the claim lost its lease or was settled.
const LEASED: &str = "
    SELECT message_id, cooldown_until, attempt, consecutive_failures, parked_for, checked_in_at
    FROM mailbox WHERE user = ?1 AND lease = ?2 AND leased_until > 0";

const COUNT_FAILURE: &str = "
    UPDATE mailbox SET consecutive_failures = consecutive_failures + 1,
        failing_since = coalesce(failing_since, ?2)
    WHERE user = ?1";

const CLEAR_FAILURES: &str = "
    UPDATE mailbox SET consecutive_failures = 0, failing_since = NULL WHERE user = ?1";

const RELEASE: &str = "
    UPDATE mailbox SET due_at = ?2, cooldown_until = ?3, attempt = ?4, leased_until = 0,
        parked_for = ?5
    WHERE user = ?1";

/// The row of a claim that has the lease.
struct Leased {
    pending: String,
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
    Empty { cooldown_until: Timestamp },
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
    count_failures(db, user, settlement, leased.consecutive_failures, now)?;
    if let Settlement::DeadLetter {
        reason, failure, ..
    } = settlement
        && !leased.has_newer_than(claim)
    {
        dead_letter::add(db, &claim.notification, *reason, failure, now)?;
    }
    match leased.after(claim, settlement, now) {
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
        Next::Empty { cooldown_until } => {
            let values = params![user.as_str(), cooldown_until.as_millis()];
            db.prepare_cached(EMPTY)?.execute(values)?;
        }
    }
    Ok(true)
}

fn find(db: &Connection, claim: &Claim) -> Result<Option<Leased>> {
    let mut statement = db.prepare_cached(LEASED)?;
    let values = params![claim.notification.user.as_str(), claim.lease];
    let leased = statement.query_row(values, |row| {
        Ok(Leased {
            pending: row.get("message_id")?,
            cooldown_until: time(row, "cooldown_until")?,
            attempt: row.get("attempt")?,
            consecutive_failures: row.get("consecutive_failures")?,
            parked_for: row.get("parked_for")?,
            checked_in_at: time(row, "checked_in_at")?,
        })
    });
    Ok(leased.optional()?)
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
    /// Returns whether a newer notification replaced the claimed one.
    fn has_newer_than(&self, claim: &Claim) -> bool {
        self.pending != claim.notification.message_id.as_str()
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
            Settlement::Delivered | Settlement::Unwanted => Next::Empty {
                cooldown_until: now,
            },
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
            Settlement::DeadLetter { cooldown, .. } => Next::Empty {
                cooldown_until: now + *cooldown,
            },
        }
    }
}
