//! API keys and users' tokens.

use std::sync::Arc;

use async_trait::async_trait;
use postbell_core::{
    AccessToken, AccessTokens, Actor, AuditAction, StoreError, Timestamp, TokenDigest, TokenId,
    UserId,
};
use tracing::warn;

use super::audit::record;
use super::database::Database;
use super::failure::Failure;
use super::session::{Session, Transaction};
use crate::audited::token_detail;
use crate::columns::{access_token, limit, parsed_if_any, text, without_nul};

const ADD: &str = "
    INSERT INTO access_token (id, digest, name, scope, user_id, created_at, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)";

const DELETE_EXPIRED: &str = "DELETE FROM access_token WHERE expires_at <= $1";

const FIND: &str = "SELECT * FROM access_token WHERE digest = $1 AND expires_at > $2";

const RECORD_USE: &str = "UPDATE access_token SET last_used_at = $2 WHERE digest = $1";

const OF_ALL: &str = "SELECT * FROM access_token WHERE id > $1 ORDER BY id LIMIT $2";
const OF_USER: &str = "
    SELECT * FROM access_token WHERE user_id = $3 AND id > $1 ORDER BY id LIMIT $2";

const REVOKE: &str = "DELETE FROM access_token WHERE id = $1 RETURNING user_id, name";

const REVOKE_OF_USER: &str = "DELETE FROM access_token WHERE user_id = $1";

/// API keys and users' tokens in one PostgreSQL database.
pub(crate) struct PostgresTokens {
    pub(crate) database: Arc<Database>,
    /// Whose changes are recorded.
    pub(crate) by: Option<Actor>,
}

#[async_trait]
impl AccessTokens for PostgresTokens {
    async fn add(&self, token: &AccessToken, digest: TokenDigest) -> Result<(), StoreError> {
        let by = self.by.as_ref();
        let added = self
            .database
            .write(|db| async move { add(&db, token, digest, by).await });
        added.await
    }

    async fn find(
        &self,
        digest: TokenDigest,
        now: Timestamp,
    ) -> Result<Option<AccessToken>, StoreError> {
        let found = self.database.read::<_, StoreError, _>(|db| async move {
            let row = db
                .query_opt(FIND, &[&&digest.0[..], &now.as_millis()])
                .await?;
            row.as_ref().map(access_token).transpose()
        });
        let found = found.await?;
        if found.as_ref().is_some_and(|token| token.is_use_due(now)) {
            let recorded = self.database.write::<_, StoreError, _>(|db| async move {
                db.execute(RECORD_USE, &[&&digest.0[..], &now.as_millis()])
                    .await
            });
            // While the store takes no writes, a key still reads.
            if let Err(error) = recorded.await {
                let error = &error as &dyn std::error::Error;
                warn!(error, "Could not record the last use of a token");
            }
        }
        Ok(found)
    }

    async fn list(
        &self,
        user: Option<&UserId>,
        after: Option<&TokenId>,
        most: usize,
    ) -> Result<Vec<AccessToken>, StoreError> {
        let (after, most) = (after.map_or("", TokenId::as_str), limit(most));
        let listed = self.database.read(|db| async move {
            let rows = match user {
                Some(user) => {
                    let user = user.as_str();
                    db.query(OF_USER, &[&after, &most, &user]).await?
                }
                None => db.query(OF_ALL, &[&after, &most]).await?,
            };
            rows.iter().map(access_token).collect()
        });
        listed.await
    }

    async fn revoke(&self, id: &TokenId) -> Result<bool, StoreError> {
        let by = self.by.as_ref();
        let revoked = self.database.write(|db| async move {
            let Some(row) = db.query_opt(REVOKE, &[&id.as_str()]).await? else {
                return Ok(false);
            };
            let user: Option<UserId> = parsed_if_any(&row, "user_id")?;
            let detail = format!("{id} {}", text(&row, "name")?);
            record(&db, by, AuditAction::RevokeToken, user.as_ref(), &detail).await?;
            Ok(true)
        });
        revoked.await
    }

    async fn revoke_user(&self, user: &UserId) -> Result<u64, StoreError> {
        let by = self.by.as_ref();
        let revoked = self.database.write(|db| async move {
            let revoked = remove_of_user(&db, user).await?;
            if revoked > 0 {
                let detail = format!("{revoked} tokens");
                record(&db, by, AuditAction::RevokeToken, Some(user), &detail).await?;
            }
            Ok(revoked)
        });
        revoked.await
    }
}

async fn add(
    db: &Transaction,
    token: &AccessToken,
    digest: TokenDigest,
    by: Option<&Actor>,
) -> Result<(), Failure> {
    let user = token.user.as_ref();
    let (now, end) = (token.created_at.as_millis(), token.expires_at.as_millis());
    db.execute(DELETE_EXPIRED, &[&now]).await?;
    db.execute(
        ADD,
        &[
            &token.id.as_str(),
            &&digest.0[..],
            &without_nul(&token.name),
            &token.scope.as_str(),
            &user.map(UserId::as_str),
            &now,
            &end,
        ],
    )
    .await?;
    let detail = token_detail(token);
    record(db, by, AuditAction::IssueToken, user, &detail).await
}

/// Deletes the tokens of a user, and returns how many.
pub(super) async fn remove_of_user(db: &Session, user: &UserId) -> Result<u64, Failure> {
    db.execute(REVOKE_OF_USER, &[&user.as_str()]).await
}
