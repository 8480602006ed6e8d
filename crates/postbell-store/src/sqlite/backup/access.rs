//! What a restored store would give access to again.

use postbell_core::{AccessToken, AuditAction, AuditEntry, Principal, Timestamp};
use rusqlite::{Connection, params};

use crate::columns::{access_token, audit_entry};
use crate::sqlite::failure::Failure;

/// The changes that may have ended access. Links and sessions need none: a restore ends them all.
const ENDED: [AuditAction; 5] = [
    AuditAction::RevokeToken,
    AuditAction::ChangeUser,
    AuditAction::RemoveUser,
    AuditAction::EndMachine,
    AuditAction::RemoveAlertTarget,
];

const SINCE: &str = "SELECT * FROM audit WHERE at > ?1 ORDER BY number";

const TOKENS: &str = "SELECT * FROM access_token WHERE expires_at > ?1 ORDER BY id";

const DROP_LINKS: &str = "DELETE FROM sign_in_link";

/// The time is an epoch that no session has: otherwise an epoch counts ends of sessions.
const END_SESSIONS: &str = "
    INSERT INTO session_epoch (subject, epoch)
    SELECT user, ?1 FROM user_record
    UNION SELECT subject, ?1 FROM session_epoch
    UNION SELECT ?2, ?1 WHERE true
    ON CONFLICT DO UPDATE SET epoch = max(epoch + 1, excluded.epoch)";

/// Whether the tables are there: a backup may be of a version that had none of them.
const HAS_TABLES: &str = "
    SELECT count(*) = 4 FROM sqlite_master
    WHERE type = 'table' AND name IN ('audit', 'access_token', 'sign_in_link', 'session_epoch')";

/// Ends every session and drops every sign-in link. Returns the tokens that are valid.
pub(super) fn end(db: &Connection, now: Timestamp) -> Result<Vec<AccessToken>, Failure> {
    if !has_tables(db)? {
        return Ok(Vec::new());
    }
    db.execute(DROP_LINKS, [])?;
    db.execute(
        END_SESSIONS,
        params![now.as_secs(), Principal::ALL_OPERATORS],
    )?;
    let mut statement = db.prepare(TOKENS)?;
    let mut rows = statement.query([now.as_millis()])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        tokens.push(access_token(row)?);
    }
    Ok(tokens)
}

/// Lists what may have ended access in a store since a time.
pub(super) fn ended_since(db: &Connection, since: Timestamp) -> Result<Vec<AuditEntry>, Failure> {
    if !has_tables(db)? {
        return Ok(Vec::new());
    }
    let mut statement = db.prepare(SINCE)?;
    let mut rows = statement.query([since.as_millis()])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let entry = audit_entry(row)?;
        if ENDED.iter().any(|action| action.as_str() == entry.action) {
            entries.push(entry);
        }
    }
    Ok(entries)
}

fn has_tables(db: &Connection) -> Result<bool, Failure> {
    Ok(db.query_row(HAS_TABLES, [], |row| row.get(0))?)
}
