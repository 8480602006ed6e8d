//! Sign-in links and session epochs.

use std::sync::Arc;

use async_trait::async_trait;
use postbell_core::{
    Actor, AuditAction, LinkDigest, Principal, Sessions, SignInLink, StoreError, Timestamp, UserId,
};

use super::audit::record;
use super::database::Database;
use super::failure::Failure;
use super::parameter::Parameter;
use super::session::Session;
use crate::audited::link_detail;
use crate::columns::{limit, number, parsed_if_any, principal, sign_in_link, time};

const ADD: &str = "
    INSERT INTO sign_in_link (digest, user_id, operator, viewer, expires_at)
    VALUES ($1, $2, $3, $4, $5)";

const DELETE_EXPIRED: &str = "DELETE FROM sign_in_link WHERE expires_at <= $1";

/// Of two requests with the same link, one gets the row.
const REDEEM: &str = "
    DELETE FROM sign_in_link WHERE digest = $1 RETURNING *";

const FIND: &str = "SELECT * FROM sign_in_link WHERE digest = $1";

const LIST: &str = "
    SELECT * FROM sign_in_link WHERE digest > $1 AND expires_at > $2 ORDER BY digest LIMIT $3";

const REVOKE: &str = "DELETE FROM sign_in_link WHERE digest = $1 RETURNING user_id";

const DELETE_OF_USER: &str = "DELETE FROM sign_in_link WHERE user_id = $1";

const DELETE_OF_OPERATORS: &str = "DELETE FROM sign_in_link WHERE operator IS NOT NULL";

const EPOCH: &str = "SELECT epoch FROM session_epoch WHERE subject = $1";

const END_SESSIONS: &str = "
    INSERT INTO session_epoch AS s (subject, epoch) VALUES ($1, 1)
    ON CONFLICT (subject) DO UPDATE SET epoch = s.epoch + 1";

/// Sign-in links and session epochs in one PostgreSQL database.
pub(crate) struct PostgresSessions {
    database: Arc<Database>,
    /// Whose changes are recorded.
    by: Option<Actor>,
}

impl PostgresSessions {
    pub(crate) fn new(database: Arc<Database>, by: Option<Actor>) -> Self {
        Self { database, by }
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
        let by = self.by.as_ref();
        let added = self.database.write(|db| async move {
            db.execute(DELETE_EXPIRED, &[&now.as_millis()]).await?;
            let digest = &link.0[..];
            let end = expires_at.as_millis();
            let values: [&dyn Parameter; 5] =
                [&digest, &user, &operator, &principal.is_viewer, &end];
            db.execute(ADD, &values).await?;
            let detail = link_detail(principal, expires_at, now);
            let user = principal.user.as_ref();
            record(&db, by, AuditAction::IssueLink, user, &detail).await
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

    async fn find_link(
        &self,
        link: LinkDigest,
        now: Timestamp,
    ) -> Result<Option<SignInLink>, StoreError> {
        let found = self.database.read::<_, StoreError, _>(|db| async move {
            let row = db.query_opt(FIND, &[&&link.0[..]]).await?;
            row.as_ref().map(sign_in_link).transpose()
        });
        Ok(found.await?.filter(|link| now < link.expires_at))
    }

    async fn links(
        &self,
        after: Option<LinkDigest>,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<SignInLink>, StoreError> {
        let after = after.map_or(Vec::new(), |link| link.0.to_vec());
        let after = &after;
        let links = self.database.read(|db| async move {
            let values: [&dyn Parameter; 3] = [&&after[..], &now.as_millis(), &limit(most)];
            let rows = db.query(LIST, &values).await?;
            rows.iter().map(sign_in_link).collect()
        });
        links.await
    }

    async fn revoke_link(&self, link: LinkDigest) -> Result<bool, StoreError> {
        let by = self.by.as_ref();
        let revoked = self.database.write(|db| async move {
            let Some(row) = db.query_opt(REVOKE, &[&&link.0[..]]).await? else {
                return Ok(false);
            };
            let user: Option<UserId> = parsed_if_any(&row, "user_id")?;
            record(&db, by, AuditAction::RevokeLink, user.as_ref(), "").await?;
            Ok(true)
        });
        revoked.await
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
        let by = self.by.as_ref();
        let revoked = self.database.write(|db| async move {
            db.changed(user);
            db.execute(DELETE_OF_USER, &[&user.as_str()]).await?;
            end_sessions(&db, user.as_str()).await?;
            record(&db, by, AuditAction::SignOut, Some(user), "").await
        });
        revoked.await
    }

    async fn revoke_operators(&self) -> Result<(), StoreError> {
        let by = self.by.as_ref();
        let revoked = self.database.write(|db| async move {
            db.execute(DELETE_OF_OPERATORS, &[]).await?;
            end_sessions(&db, Principal::ALL_OPERATORS).await?;
            let whose = Principal::ALL_OPERATORS;
            record(&db, by, AuditAction::SignOut, None, whose).await
        });
        revoked.await
    }
}

async fn end_sessions(db: &Session, subject: &str) -> Result<(), Failure> {
    db.execute(END_SESSIONS, &[&subject]).await.map(drop)
}
