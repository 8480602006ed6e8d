//! Alerts that wait to be sent, and the last report about each subject.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{
    Actor, AlertClaim, AlertMark, AlertOutbox, AlertRecipient, AlertScope, AlertSettlement,
    NewAlert, StoreError, TargetId, Timestamp, UserId,
};

use super::alert_targets;
use super::database::Database;
use super::failure::Failure;
use super::session::Session;
use crate::at_rest::Secrets;
use crate::columns::{claimed, limit, mark, no_mark, number, recipient_column};

const MARK: &str = "SELECT subject, state, due_at, version FROM alert_mark WHERE subject = $1";

const DUE_MARKS: &str = "
    SELECT subject, state, due_at, version FROM alert_mark
    WHERE due_at <= $1 ORDER BY due_at, subject LIMIT $2";

const ADD_MARK: &str = "
    INSERT INTO alert_mark (subject, state, due_at, version) VALUES ($1, $2, $3, 1)
    ON CONFLICT (subject) DO NOTHING";

const REPLACE_MARK: &str = "
    UPDATE alert_mark SET state = $2, due_at = $3, version = version + 1
    WHERE subject = $1 AND version = $4";

const REMOVE_MARK: &str = "DELETE FROM alert_mark WHERE subject = $1";

/// In one order, so that two transactions do not wait for each other.
const ADD: &str = "
    INSERT INTO alert (id, user_id, target, event, added_at, due_at)
    SELECT id, user_id, target, event, $5, $5
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS new (id, user_id, target, event)
    ORDER BY id, user_id, target
    ON CONFLICT DO NOTHING";

/// Of two processes, each claims what the other does not. The query of the due rows runs first and once:
/// without MATERIALIZED, a plan may update more rows than its limit.
const CLAIM: &str = "
    WITH due AS MATERIALIZED (
        SELECT id, user_id, target, due_at FROM alert
        WHERE due_at <= $1 AND CASE WHEN user_id = '' THEN target = ANY ($2) ELSE $3 END
        ORDER BY due_at, id, user_id, target LIMIT $4 FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE alert a SET due_at = $5, lease = a.lease + 1 FROM due
        WHERE (a.id, a.user_id, a.target) = (due.id, due.user_id, due.target)
        RETURNING a.*, due.due_at AS was_due_at
    )
    SELECT * FROM claimed ORDER BY was_due_at, id, user_id, target";

const DONE: &str = "
    DELETE FROM alert WHERE id = $1 AND user_id = $2 AND target = $3 AND lease = $4";

const RETRY: &str = "
    UPDATE alert SET due_at = $5, attempt = attempt + 1, lease = lease + 1
    WHERE id = $1 AND user_id = $2 AND target = $3 AND lease = $4";

const PRUNE: &str = "DELETE FROM alert WHERE added_at < $1";

const COUNT: &str = "SELECT count(*) AS number FROM alert";

const REMOVE_OF_USER: &str = "DELETE FROM alert WHERE user_id = $1";

const REMOVE_OF_TARGET: &str = "DELETE FROM alert WHERE user_id = $1 AND target = $2";

/// The outbox of alerts and the users' targets in one PostgreSQL database.
pub(crate) struct PostgresAlerts {
    pub(super) database: Arc<Database>,
    pub(super) secrets: Secrets,
    /// Whose changes of targets are recorded.
    pub(super) by: Option<Actor>,
}

impl PostgresAlerts {
    pub(crate) fn new(database: Arc<Database>, secrets: Secrets, by: Option<Actor>) -> Self {
        Self {
            database,
            secrets,
            by,
        }
    }
}

#[async_trait]
impl AlertOutbox for PostgresAlerts {
    async fn mark(&self, subject: &str) -> Result<AlertMark, StoreError> {
        let found = self.database.read::<_, StoreError, _>(|db| async move {
            let row = db.query_opt(MARK, &[&subject]).await?;
            row.as_ref().map(mark).transpose()
        });
        Ok(found.await?.unwrap_or_else(|| no_mark(subject)))
    }

    async fn due_marks(&self, now: Timestamp, most: usize) -> Result<Vec<AlertMark>, StoreError> {
        let due = self.database.read(|db| async move {
            let rows = db
                .query(DUE_MARKS, &[&now.as_millis(), &limit(most)])
                .await?;
            rows.iter().map(mark).collect()
        });
        due.await
    }

    async fn observe(
        &self,
        mark: &AlertMark,
        alerts: &[NewAlert],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let observed = self.database.write(|db| async move {
            let is_written = write_mark(&db, mark).await?;
            if is_written {
                add(&db, alerts, now).await?;
            }
            Ok(is_written)
        });
        observed.await
    }

    async fn claim(
        &self,
        scope: &AlertScope,
        now: Timestamp,
        lease: Duration,
        most: usize,
    ) -> Result<Vec<AlertClaim>, StoreError> {
        let targets: &Vec<_> = &scope.operator.iter().map(TargetId::as_str).collect();
        let claims = self.database.write(|db| async move {
            let (until, now) = ((now + lease).as_millis(), now.as_millis());
            let values = [
                &now as _,
                targets as _,
                &scope.users as _,
                &limit(most) as _,
                &until as _,
            ];
            let rows = db.query(CLAIM, &values).await?;
            rows.iter().map(claimed).collect()
        });
        claims.await
    }

    async fn settle(
        &self,
        claim: &AlertClaim,
        settlement: AlertSettlement,
    ) -> Result<bool, StoreError> {
        let settled = self
            .database
            .write(|db| async move { settle(&db, claim, settlement).await });
        settled.await
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        let pruned = self
            .database
            .write(|db| async move { db.execute(PRUNE, &[&before.as_millis()]).await });
        pruned.await
    }

    async fn waiting(&self) -> Result<u64, StoreError> {
        let waiting = self.database.read(|db| async move {
            let row = db.query_one(COUNT, &[]).await?;
            Ok(number(&row, "number")?.unsigned_abs())
        });
        waiting.await
    }

    async fn remove_user(&self, user: &UserId) -> Result<(), StoreError> {
        let removed = self.database.write(|db| async move {
            remove_of_user(&db, user).await?;
            alert_targets::remove_of_user(&db, user).await
        });
        removed.await
    }
}

/// Writes a mark, and returns whether it had not changed.
async fn write_mark(db: &Session, mark: &AlertMark) -> Result<bool, Failure> {
    let AlertMark {
        subject,
        state,
        due_at,
        version,
    } = mark;
    let due_at = due_at.map(Timestamp::as_millis);
    let written = if *version == 0 {
        db.execute(ADD_MARK, &[&&**subject, &&**state, &due_at])
            .await?
    } else {
        let values = [&&**subject as _, &&**state as _, &due_at as _, version as _];
        db.execute(REPLACE_MARK, &values).await?
    };
    Ok(written > 0)
}

async fn add<'a>(db: &Session, alerts: &'a [NewAlert], now: Timestamp) -> Result<(), Failure> {
    let mut recipients = Vec::new();
    for alert in alerts {
        recipients.extend(alert.recipients.iter().map(|recipient| (alert, recipient)));
    }
    let of = |value: fn(&'a NewAlert, &'a AlertRecipient) -> &'a str| -> Vec<&'a str> {
        recipients
            .iter()
            .map(|(alert, to)| value(alert, to))
            .collect()
    };
    let ids = of(|alert, _| alert.id.as_str());
    let users = of(|_, to| recipient_column(to));
    let targets = of(|_, to| to.target.as_str());
    let events = of(|alert, _| &alert.event);
    if ids.is_empty() {
        return Ok(());
    }
    let values = [
        &ids as _,
        &users as _,
        &targets as _,
        &events as _,
        &now.as_millis() as _,
    ];
    db.execute(ADD, &values).await.map(drop)
}

async fn settle(
    db: &Session,
    claim: &AlertClaim,
    settlement: AlertSettlement,
) -> Result<bool, Failure> {
    let (id, target) = (claim.id.as_str(), claim.recipient.target.as_str());
    let user = recipient_column(&claim.recipient);
    let changed = match settlement {
        AlertSettlement::Done => {
            db.execute(DONE, &[&id, &user, &target, &claim.lease])
                .await?
        }
        AlertSettlement::Retry(at) => {
            let at = at.as_millis();
            db.execute(RETRY, &[&id, &user, &target, &claim.lease, &at])
                .await?
        }
    };
    Ok(changed > 0)
}

/// Removes a user's waiting alerts and mark.
pub(super) async fn remove_of_user(db: &Session, user: &UserId) -> Result<(), Failure> {
    db.execute(REMOVE_OF_USER, &[&user.as_str()]).await?;
    db.execute(REMOVE_MARK, &[&user.as_str()]).await.map(drop)
}

/// Removes the alerts that wait for a user's target.
pub(super) async fn remove_of_target(
    db: &Session,
    user: &UserId,
    target: &TargetId,
) -> Result<(), Failure> {
    db.execute(REMOVE_OF_TARGET, &[&user.as_str(), &target.as_str()])
        .await
        .map(drop)
}
