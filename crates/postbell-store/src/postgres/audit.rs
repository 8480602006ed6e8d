//! The audit log.

use std::sync::Arc;

use async_trait::async_trait;
use postbell_core::{AUDIT_KEPT, Actor, AuditAction, AuditEntry, AuditLog, StoreError, UserId};

use super::advisory_locks;
use super::database::Database;
use super::failure::Failure;
use super::session::Session;
use crate::columns::{audit_entry, limit, without_nul};

const APPEND: &str = "
    INSERT INTO audit (number, at, actor, origin, action, user_id, detail)
    SELECT coalesce(max(number), 0) + 1, $1, $2, $3, $4, $5, $6 FROM audit";

/// A few at once, which are more than were appended. An entry is deleted once it is old by this entry's time, that of the
/// entry before and the server's clock, so a clock that was ahead for one entry deletes nothing.
const DELETE_OLD: &str = "
    DELETE FROM audit WHERE number IN (
        SELECT number FROM audit
        WHERE at <= least(
            $1,
            (SELECT at FROM audit ORDER BY number DESC LIMIT 1 OFFSET 1),
            (extract(epoch FROM now()) * 1000)::int8
        ) - $2
        ORDER BY at LIMIT 16
    ) AND number < (SELECT max(number) FROM audit)";

/// Both lists walk an index backwards from a number.
const OF_ALL: &str = "SELECT * FROM audit WHERE number < $1 ORDER BY number DESC LIMIT $2";
const OF_USER: &str = "
    SELECT * FROM audit WHERE user_id = $3 AND number < $1 ORDER BY number DESC LIMIT $2";

/// The audit log in one PostgreSQL database.
pub(crate) struct PostgresAudit {
    pub(crate) database: Arc<Database>,
}

#[async_trait]
impl AuditLog for PostgresAudit {
    async fn entries(
        &self,
        user: Option<&UserId>,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let (before, most) = (before.unwrap_or(i64::MAX), limit(most));
        let entries = self.database.read(|db| async move {
            let rows = match user {
                Some(user) => {
                    let user = user.as_str();
                    db.query(OF_USER, &[&before, &most, &user]).await?
                }
                None => db.query(OF_ALL, &[&before, &most]).await?,
            };
            rows.iter().map(audit_entry).collect()
        });
        entries.await
    }

    async fn append(
        &self,
        by: &Actor,
        action: AuditAction,
        user: Option<&UserId>,
        detail: &str,
    ) -> Result<(), StoreError> {
        let appended = self
            .database
            .write(|db| async move { record(&db, Some(by), action, user, detail).await });
        appended.await
    }
}

/// Appends an entry in the transaction of the change, if the change has an actor.
///
/// Called last in a transaction: the holder of the lock waits for no other one.
pub(super) async fn record(
    db: &Session,
    by: Option<&Actor>,
    action: AuditAction,
    user: Option<&UserId>,
    detail: &str,
) -> Result<(), Failure> {
    let Some(by) = by else {
        return Ok(());
    };
    db.query(advisory_locks::AUDIT, &[]).await?;
    let user = user.map(UserId::as_str);
    db.execute(
        APPEND,
        &[
            &by.at.as_millis(),
            &without_nul(&by.name),
            &without_nul(&by.origin),
            &action.as_str(),
            &user,
            &without_nul(detail),
        ],
    )
    .await?;
    let kept = i64::try_from(AUDIT_KEPT.as_millis()).unwrap_or(i64::MAX);
    db.execute(DELETE_OLD, &[&by.at.as_millis(), &kept])
        .await
        .map(drop)
}
