//! Alerts that wait to be sent.

use std::time::Duration;

use postbell_core::{
    AlertClaim, AlertScope, AlertSettlement, NewAlert, TargetId, Timestamp, UserId,
};
use rusqlite::{Connection, params};

use super::failure::Failure;
use crate::columns::{claimed, limit, recipient_column};

type Result<T> = std::result::Result<T, Failure>;

const ADD: &str = "
    INSERT OR IGNORE INTO alert (id, user, target, event, added_at, due_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?5)";

const DUE: &str = "
    SELECT id, user, target, event, added_at, attempt, lease FROM alert
    WHERE due_at <= ?1
        AND iif(user = '', target IN (SELECT value FROM json_each(?2)), ?3)
    ORDER BY due_at, id, user, target LIMIT ?4";

const LEASE: &str = "
    UPDATE alert SET due_at = ?4, lease = ?5 WHERE id = ?1 AND user = ?2 AND target = ?3";

const REMOVE: &str = "
    DELETE FROM alert WHERE id = ?1 AND user = ?2 AND target = ?3 AND lease = ?4";

const RETRY: &str = "
    UPDATE alert SET due_at = ?5, attempt = attempt + 1, lease = lease + 1
    WHERE id = ?1 AND user = ?2 AND target = ?3 AND lease = ?4";

const PRUNE: &str = "DELETE FROM alert WHERE added_at < ?1";

const COUNT: &str = "SELECT count(*) FROM alert";

const REMOVE_OF_USER: &str = "DELETE FROM alert WHERE user = ?1";

const REMOVE_OF_TARGET: &str = "DELETE FROM alert WHERE user = ?1 AND target = ?2";

pub(super) fn add(db: &Connection, alerts: &[NewAlert], now: Timestamp) -> Result<()> {
    let mut statement = db.prepare_cached(ADD)?;
    for alert in alerts {
        for recipient in &alert.recipients {
            statement.execute(params![
                alert.id.as_str(),
                recipient_column(recipient),
                recipient.target.as_str(),
                alert.event,
                now.as_millis(),
            ])?;
        }
    }
    Ok(())
}

pub(super) fn claim(
    db: &Connection,
    scope: &AlertScope,
    now: Timestamp,
    lease: Duration,
    most: usize,
) -> Result<Vec<AlertClaim>> {
    let targets: Vec<_> = scope.operator.iter().map(TargetId::as_str).collect();
    let targets = format!("[{}]", quoted(&targets));
    let until = now + lease;
    let mut claims = Vec::new();
    let mut statement = db.prepare_cached(DUE)?;
    let mut rows = statement.query(params![now.as_millis(), targets, scope.users, limit(most)])?;
    while let Some(row) = rows.next()? {
        let mut claim = claimed(row)?;
        claim.lease += 1;
        claims.push(claim);
    }
    let mut statement = db.prepare_cached(LEASE)?;
    for claim in &claims {
        statement.execute(params![
            claim.id.as_str(),
            recipient_column(&claim.recipient),
            claim.recipient.target.as_str(),
            until.as_millis(),
            claim.lease,
        ])?;
    }
    Ok(claims)
}

pub(super) fn settle(
    db: &Connection,
    claim: &AlertClaim,
    settlement: AlertSettlement,
) -> Result<bool> {
    let (id, target) = (claim.id.as_str(), claim.recipient.target.as_str());
    let user = recipient_column(&claim.recipient);
    let changed = match settlement {
        AlertSettlement::Done => {
            let values = params![id, user, target, claim.lease];
            db.prepare_cached(REMOVE)?.execute(values)?
        }
        AlertSettlement::Retry(at) => {
            let values = params![id, user, target, claim.lease, at.as_millis()];
            db.prepare_cached(RETRY)?.execute(values)?
        }
    };
    Ok(changed > 0)
}

pub(super) fn prune(db: &Connection, before: Timestamp) -> Result<u64> {
    let removed = db.prepare_cached(PRUNE)?.execute([before.as_millis()])?;
    Ok(removed as u64)
}

pub(super) fn count(db: &Connection) -> Result<u64> {
    let number: i64 = db.prepare_cached(COUNT)?.query_row([], |row| row.get(0))?;
    Ok(number.unsigned_abs())
}

pub(super) fn remove_of_user(db: &Connection, user: &UserId) -> rusqlite::Result<()> {
    let removed = db.prepare_cached(REMOVE_OF_USER)?.execute([user.as_str()]);
    removed.map(drop)
}

pub(super) fn remove_of_target(
    db: &Connection,
    user: &UserId,
    target: &TargetId,
) -> rusqlite::Result<()> {
    let values = [user.as_str(), target.as_str()];
    db.prepare_cached(REMOVE_OF_TARGET)?
        .execute(values)
        .map(drop)
}

/// Target ids contain nothing that JSON escapes.
fn quoted(ids: &[&str]) -> String {
    let quoted: Vec<_> = ids.iter().map(|id| format!("\"{id}\"")).collect();
    quoted.join(",")
}
