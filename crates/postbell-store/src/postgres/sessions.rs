//! Sign-in links and session epochs.

use std::sync::Arc;

use async_trait::async_trait;
use postbell_core::{LinkDigest, Principal, Sessions, StoreError, Timestamp, UserId};

use super::database::Database;
use super::failure::Failure;
use super::session::Session;
use crate::columns::{number, principal, time};

const ADD: &str = "
    INSERT INTO sign_in_link (digest, user_id, operator, expires_at) VALUES ($1, $2, $3, $4)";

const DELETE_EXPIRED: &str = "DELETE FROM sign_in_link WHERE expires_at <= $1";

/// Of two requests with the same link, one gets the row.
const REDEEM: &str = "
    DELETE FROM sign_in_link WHERE digest = $1 RETURNING user_id, operator, expires_at";

const DELETE_OF_USER: &str = "DELETE FROM sign_in_link WHERE user_id = $1";

const DELETE_OF_OPERATORS: &str = "DELETE FROM sign_in_link WHERE operator IS NOT NULL";

const EPOCH: &str = "SELECT epoch FROM session_epoch WHERE subject = $1";

const END_SESSIONS: &str = "
    INSERT INTO session_epoch AS s (subject, epoch) VALUES ($1, 1)
    ON CONFLICT (subject) DO UPDATE SET epoch = s.epoch + 1";

/// Sign-in links and session epochs in one PostgreSQL database.
pub(crate) struct PostgresSessions {
    database: Arc<Database>,
}

impl PostgresSessions {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }
}

#[async_trait]
impl Sessions for PostgresSessions {
    async fn add_link(
        &self,
        link: LinkDigest,
        principal: &Principal,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let user = principal.user.as_ref().map(|user| user.as_str());
        let operator = principal.operator.as_deref();
        let added = self.database.write(|db| async move {
            db.execute(DELETE_EXPIRED, &[&now.as_millis()]).await?;
            let digest = &link.0[..];
            db.execute(ADD, &[&digest, &user, &operator, &expires_at.as_millis()])
                .await
                .map(drop)
        });
        added.await
    }

    async fn redeem_link(
        &self,
        link: LinkDigest,
        now: Timestamp,
    ) -> Result<Option<Principal>, StoreError> {
        let redeemed = self.database.write(|db| async move {
            let digest = &link.0[..];
            let Some(row) = db.query_opt(REDEEM, &[&digest]).await? else {
                return Ok(None);
            };
            let is_valid = now < time(&row, "expires_at")?;
            Ok(Some(principal(&row)?).filter(|_| is_valid))
        });
        redeemed.await
    }

    async fn epoch(&self, subject: &str) -> Result<i64, StoreError> {
        let epoch = self.database.read(|db| async move {
            let row = db.query_opt(EPOCH, &[&subject]).await?;
            row.map_or(Ok(0), |row| number(&row, "epoch"))
        });
        epoch.await
    }

    async fn end_sessions(&self, subject: &str) -> Result<(), StoreError> {
        let ended = self.database.write(|db| async move {
            end_sessions(&db, subject).await?;
            // An operator's subject is not a user id.
            if let Ok(user) = subject.parse() {
                db.changed(&user);
            }
            Ok(())
        });
        ended.await
    }

    async fn revoke_user(&self, user: &UserId) -> Result<(), StoreError> {
        let revoked = self.database.write(|db| async move {
            db.changed(user);
            db.execute(DELETE_OF_USER, &[&user.as_str()]).await?;
            end_sessions(&db, user.as_str()).await
        });
        revoked.await
    }

    async fn revoke_operators(&self) -> Result<(), StoreError> {
        let revoked = self.database.write(|db| async move {
            db.execute(DELETE_OF_OPERATORS, &[]).await?;
            end_sessions(&db, Principal::ALL_OPERATORS).await
        });
        revoked.await
    }
}

async fn end_sessions(db: &Session, subject: &str) -> Result<(), Failure> {
    db.execute(END_SESSIONS, &[&subject]).await.map(drop)
}
