//! What a restored store would give access to again.

use postbell_core::{AccessToken, AuditAction, AuditEntry, Principal, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

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

const LAST: &str = "SELECT number, at FROM audit ORDER BY number DESC LIMIT 1";

const HAS: &str = "SELECT EXISTS (SELECT 1 FROM audit WHERE number = ?1 AND at = ?2)";

const SINCE: &str = "SELECT * FROM audit WHERE number > ?1 ORDER BY number";

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

/// An entry of an audit log.
pub(super) struct Entry {
    number: i64,
    at: i64,
}

/// Returns the last entry of a store's audit log, if there is one.
pub(super) fn last_entry(db: &Connection) -> Result<Option<Entry>, Failure> {
    if !has_tables(db)? {
        return Ok(None);
    }
    let last = db.query_row(LAST, [], |row| {
        let (number, at) = (row.get(0)?, row.get(1)?);
        Ok(Entry { number, at })
    });
    Ok(last.optional()?)
}

/// Lists what may have ended access in a store since the last entry of a backup. `None` if the store does not have that
/// entry: its log is another one, such as that of a store that was created after the loss of a disk, or has a gap.
pub(super) fn ended_since(
    db: &Connection,
    last: &Entry,
) -> Result<Option<Vec<AuditEntry>>, Failure> {
    if !has_tables(db)? || !db.query_row(HAS, [last.number, last.at], |row| row.get(0))? {
        return Ok(None);
    }
    let mut statement = db.prepare(SINCE)?;
    let mut rows = statement.query([last.number])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let entry = audit_entry(row)?;
        if ENDED.iter().any(|action| action.as_str() == entry.action) {
            entries.push(entry);
        }
    }
    Ok(Some(entries))
}

fn has_tables(db: &Connection) -> Result<bool, Failure> {
    Ok(db.query_row(HAS_TABLES, [], |row| row.get(0))?)
}
