//! The audit log.

use std::sync::Arc;

use async_trait::async_trait;
use postbell_core::{AUDIT_KEPT, Actor, AuditAction, AuditEntry, AuditLog, StoreError, UserId};
use rusqlite::{Connection, params};

use super::database::Database;
use super::failure::Failure;
use crate::columns::{audit_entry, limit};

/// Writes are serialized, so no two entries get the same number.
const APPEND: &str = "
    INSERT INTO audit (number, at, actor, origin, action, user, detail)
    SELECT coalesce(max(number), 0) + 1, ?1, ?2, ?3, ?4, ?5, ?6 FROM audit";

/// A few at once, which are more than were appended. An entry is deleted once it is old by this entry's time, that of the
/// entry before and the machine's clock, so a clock that was ahead for one entry deletes nothing.
const DELETE_OLD: &str = "
    DELETE FROM audit WHERE number IN (
        SELECT number FROM audit
        WHERE at <= min(
            ?1,
            (SELECT at FROM audit ORDER BY number DESC LIMIT 1 OFFSET 1),
            unixepoch() * 1000
        ) - ?2
        ORDER BY at LIMIT 16
    ) AND number < (SELECT max(number) FROM audit)";

/// Both lists walk an index backwards from a number.
const OF_ALL: &str = "SELECT * FROM audit WHERE number < ?1 ORDER BY number DESC LIMIT ?2";
const OF_USER: &str = "
    SELECT * FROM audit WHERE user = ?3 AND number < ?1 ORDER BY number DESC LIMIT ?2";

/// The audit log in one SQLite file.
pub(crate) struct SqliteAudit {
    pub(crate) database: Arc<Database>,
}

#[async_trait]
impl AuditLog for SqliteAudit {
    async fn entries(
        &self,
        user: Option<&UserId>,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let user = user.cloned();
        let before = before.unwrap_or(i64::MAX);
        self.database
            .read(move |db| {
                let mut statement =
                    db.prepare_cached(if user.is_some() { OF_USER } else { OF_ALL })?;
                let mut rows = match &user {
                    Some(user) => statement.query(params![before, limit(most), user.as_str()])?,
                    None => statement.query(params![before, limit(most)])?,
                };
                let mut entries = Vec::new();
                while let Some(row) = rows.next()? {
                    entries.push(audit_entry(row)?);
                }
                Ok(entries)
            })
            .await
    }

    async fn append(
        &self,
        by: &Actor,
        action: AuditAction,
        user: Option<&UserId>,
        detail: &str,
    ) -> Result<(), StoreError> {
        let (by, user, detail) = (by.clone(), user.cloned(), detail.to_owned());
        self.database
            .write(move |db| record(db, Some(&by), action, user.as_ref(), &detail))
            .await
    }
}

/// Appends an entry in the transaction of the change, if the change has an actor.
pub(super) fn record(
    db: &Connection,
    by: Option<&Actor>,
    action: AuditAction,
    user: Option<&UserId>,
    detail: &str,
) -> Result<(), Failure> {
    let Some(by) = by else {
        return Ok(());
    };
    db.prepare_cached(APPEND)?.execute(params![
        by.at.as_millis(),
        by.name,
        by.origin,
        action.as_str(),
        user.map(UserId::as_str),
        detail,
    ])?;
    let kept = i64::try_from(AUDIT_KEPT.as_millis()).unwrap_or(i64::MAX);
    db.prepare_cached(DELETE_OLD)?
        .execute([by.at.as_millis(), kept])?;
    Ok(())
}
