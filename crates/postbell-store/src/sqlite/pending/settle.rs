//! The end of a claim.

use std::sync::LazyLock;

use postbell_core::{Claim, Settlement, Timestamp, UserId};
use rusqlite::{Connection, params};

use super::{BEGIN_TO_WAIT, FIND, MAILBOX, Result};
use crate::mailbox::{Mailbox, Next};
use crate::sqlite::columns::InOrder;
use crate::sqlite::{clock, cursor, dead_letter, delivery};

/// Finds the mailbox of a claim, unless the claim lost its lease or was settled.
pub(super) static LEASED: LazyLock<String> =
    LazyLock::new(|| format!("{} AND lease = ?2 AND leased_until > 0", *FIND));

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
pub(super) const DELETE: &str = "DELETE FROM pending WHERE user = ?1";

/// The notification is done, but the mailbox is failing.
const EMPTY: &str = "
    UPDATE pending SET message_id = NULL, history_id = NULL, address = NULL, published_at = NULL,
        body = NULL, trace = NULL, accepted_at = NULL, waiting_since = NULL, merged_ids = '', due_at = NULL,
        cooldown_until = ?2, attempt = 0, leased_until = 0, parked_for = NULL
    WHERE user = ?1";

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

fn find(db: &Connection, claim: &Claim) -> Result<Option<Mailbox>> {
    let mut statement = db.prepare_cached(&LEASED)?;
    let values = params![claim.notification.user.as_str(), claim.lease];
    let mut rows = statement.query(values)?;
    let row = rows.next()?.map(|row| InOrder::new(row, MAILBOX));
    row.as_ref().map(Mailbox::read).transpose()
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
