//! The users' alert targets, encrypted.

use async_trait::async_trait;
use postbell_core::{AlertTargets, AuditAction, StoreError, StoredTarget, TargetId, UserId};
use secrecy::ExposeSecret;

use super::alert_outbox::{self, PostgresAlerts};
use super::failure::Failure;
use super::session::Session;
use super::{advisory_locks, audit};
use crate::at_rest::Sealed;
use crate::columns::{limit, sealed_target};

const LIST: &str = "
    SELECT id, key_id, ciphertext, added_at FROM alert_target
    WHERE user_id = $1 ORDER BY added_at, id";

const PUT: &str = "
    UPDATE alert_target SET key_id = $3, ciphertext = $4 WHERE user_id = $1 AND id = $2";

const ADD: &str = "
    INSERT INTO alert_target (user_id, id, key_id, ciphertext, added_at)
    SELECT $1, $2, $3, $4, $5 WHERE (SELECT count(*) FROM alert_target WHERE user_id = $1) < $6";

const REMOVE: &str = "DELETE FROM alert_target WHERE user_id = $1 AND id = $2";

const REMOVE_OF_USER: &str = "DELETE FROM alert_target WHERE user_id = $1";

#[async_trait]
impl AlertTargets for PostgresAlerts {
    async fn targets(&self, user: &UserId) -> Result<Vec<StoredTarget>, StoreError> {
        let stored = self.database.read::<_, StoreError, _>(|db| async move {
            let rows = db.query(LIST, &[&user.as_str()]).await?;
            rows.iter()
                .map(sealed_target)
                .collect::<Result<Vec<_>, _>>()
        });
        let stored = stored.await?.into_iter();
        stored
            .map(|target| target.open(&self.secrets, user))
            .collect()
    }

    async fn add_target(
        &self,
        user: &UserId,
        target: &StoredTarget,
        most: usize,
    ) -> Result<bool, StoreError> {
        let text = &self.secrets.encrypt(user, target.text.expose_secret())?;
        let added = self.database.write(|db| async move {
            db.changed(user);
            let is_added = add(&db, user, target, text, most).await?;
            if is_added {
                let (action, id) = (AuditAction::AddAlertTarget, target.id.as_str());
                audit::record(&db, self.by.as_ref(), action, Some(user), id).await?;
            }
            Ok(is_added)
        });
        added.await
    }

    async fn remove_target(&self, user: &UserId, target: &TargetId) -> Result<bool, StoreError> {
        let removed = self.database.write(|db| async move {
            db.changed(user);
            alert_outbox::remove_of_target(&db, user, target).await?;
            let removed = db
                .execute(REMOVE, &[&user.as_str(), &target.as_str()])
                .await?;
            if removed > 0 {
                let (action, id) = (AuditAction::RemoveAlertTarget, target.as_str());
                audit::record(&db, self.by.as_ref(), action, Some(user), id).await?;
            }
            Ok(removed > 0)
        });
        removed.await
    }
}

async fn add(
    db: &Session,
    user: &UserId,
    target: &StoredTarget,
    text: &Sealed,
    most: usize,
) -> Result<bool, Failure> {
    // Two requests of a user are counted one after the other.
    db.query(advisory_locks::ALERT_TARGETS, &[&user.as_str()])
        .await?;
    if put(db, user, &target.id, text).await? {
        return Ok(true);
    }
    let added = db
        .execute(
            ADD,
            &[
                &user.as_str(),
                &target.id.as_str(),
                &&*text.with,
                &&*text.bytes,
                &target.added_at.as_millis(),
                &limit(most),
            ],
        )
        .await?;
    Ok(added > 0)
}

/// Replaces the text of a target, and returns whether it exists.
async fn put(
    db: &Session,
    user: &UserId,
    target: &TargetId,
    text: &Sealed,
) -> Result<bool, Failure> {
    let Sealed { with, bytes } = text;
    let put = db
        .execute(
            PUT,
            &[&user.as_str(), &target.as_str(), &&**with, &&**bytes],
        )
        .await?;
    Ok(put > 0)
}

/// Removes a user's targets.
pub(super) async fn remove_of_user(db: &Session, user: &UserId) -> Result<(), Failure> {
    db.execute(REMOVE_OF_USER, &[&user.as_str()])
        .await
        .map(drop)
}
