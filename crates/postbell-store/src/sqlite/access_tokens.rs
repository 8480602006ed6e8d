//! API keys and users' tokens.

use std::sync::Arc;

use async_trait::async_trait;
use postbell_core::{
    AccessToken, AccessTokens, Actor, AuditAction, StoreError, Timestamp, TokenDigest, TokenId,
    UserId,
};
use rusqlite::{Connection, params};
use tracing::warn;

use super::audit::record;
use super::database::Database;
use super::failure::Failure;
use crate::audited::token_detail;
use crate::columns::{access_token, limit, parsed_if_any, text};

const ADD: &str = "
    INSERT INTO access_token (id, digest, name, scope, user, created_at, expires_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

const DELETE_EXPIRED: &str = "DELETE FROM access_token WHERE expires_at <= ?1";

const FIND: &str = "SELECT * FROM access_token WHERE digest = ?1 AND expires_at > ?2";

const RECORD_USE: &str = "UPDATE access_token SET last_used_at = ?2 WHERE digest = ?1";

const OF_ALL: &str = "SELECT * FROM access_token WHERE id > ?1 ORDER BY id LIMIT ?2";
const OF_USER: &str = "
    SELECT * FROM access_token WHERE user = ?3 AND id > ?1 ORDER BY id LIMIT ?2";

const REVOKE: &str = "DELETE FROM access_token WHERE id = ?1 RETURNING user, name";

const REVOKE_OF_USER: &str = "DELETE FROM access_token WHERE user = ?1";

/// API keys and users' tokens in one SQLite file.
pub(crate) struct SqliteTokens {
    pub(crate) database: Arc<Database>,
    /// Whose changes are recorded.
    pub(crate) by: Option<Actor>,
}

#[async_trait]
impl AccessTokens for SqliteTokens {
    async fn add(&self, token: &AccessToken, digest: TokenDigest) -> Result<(), StoreError> {
        let (token, by) = (token.clone(), self.by.clone());
        self.database
            .write(move |db| {
                let (now, end) = (token.created_at.as_millis(), token.expires_at.as_millis());
                let user = token.user.as_ref();
                db.prepare_cached(DELETE_EXPIRED)?.execute([now])?;
                db.prepare_cached(ADD)?.execute(params![
                    token.id.as_str(),
                    digest.0,
                    token.name,
                    token.scope.as_str(),
                    user.map(UserId::as_str),
                    now,
                    end,
                ])?;
                let detail = token_detail(&token);
                record(db, by.as_ref(), AuditAction::IssueToken, user, &detail)
            })
            .await
    }

    async fn find(
        &self,
        digest: TokenDigest,
        now: Timestamp,
    ) -> Result<Option<AccessToken>, StoreError> {
        let found = self
            .database
            .read::<_, StoreError>(move |db| find(db, digest, now))
            .await?;
        if found.as_ref().is_some_and(|token| token.is_use_due(now)) {
            let recorded = self.database.write::<_, StoreError>(move |db| {
                let values = params![digest.0, now.as_millis()];
                Ok(db.prepare_cached(RECORD_USE)?.execute(values)?)
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
        let user = user.cloned();
        let after = after.map_or(String::new(), TokenId::to_string);
        self.database
            .read(move |db| {
                let mut statement =
                    db.prepare_cached(if user.is_some() { OF_USER } else { OF_ALL })?;
                let mut rows = match &user {
                    Some(user) => statement.query(params![after, limit(most), user.as_str()])?,
                    None => statement.query(params![after, limit(most)])?,
                };
                let mut tokens = Vec::new();
                while let Some(row) = rows.next()? {
                    tokens.push(access_token(row)?);
                }
                Ok(tokens)
            })
            .await
    }

    async fn revoke(&self, id: &TokenId) -> Result<bool, StoreError> {
        let (id, by) = (id.clone(), self.by.clone());
        self.database
            .write(move |db| {
                let mut statement = db.prepare_cached(REVOKE)?;
                let mut rows = statement.query([id.as_str()])?;
                let Some(row) = rows.next()? else {
                    return Ok(false);
                };
                let user: Option<UserId> = parsed_if_any(row, "user")?;
                let detail = format!("{id} {}", text(row, "name")?);
                // A statement takes effect only once all its rows are read.
                rows.next()?;
                record(
                    db,
                    by.as_ref(),
                    AuditAction::RevokeToken,
                    user.as_ref(),
                    &detail,
                )?;
                Ok(true)
            })
            .await
    }

    async fn revoke_user(&self, user: &UserId) -> Result<u64, StoreError> {
        let (user, by) = (user.clone(), self.by.clone());
        self.database
            .write(move |db| {
                let revoked = remove_of_user(db, &user)?;
                if revoked > 0 {
                    let detail = format!("{revoked} tokens");
                    record(
                        db,
                        by.as_ref(),
                        AuditAction::RevokeToken,
                        Some(&user),
                        &detail,
                    )?;
                }
                Ok(revoked)
            })
            .await
    }
}

fn find(
    db: &Connection,
    digest: TokenDigest,
    now: Timestamp,
) -> Result<Option<AccessToken>, Failure> {
    let mut statement = db.prepare_cached(FIND)?;
    let mut rows = statement.query(params![digest.0, now.as_millis()])?;
    rows.next()?.map(access_token).transpose()
}

/// Deletes the tokens of a user, and returns how many.
pub(super) fn remove_of_user(db: &Connection, user: &UserId) -> Result<u64, Failure> {
    let mut statement = db.prepare_cached(REVOKE_OF_USER)?;
    Ok(statement.execute([user.as_str()])? as u64)
}
