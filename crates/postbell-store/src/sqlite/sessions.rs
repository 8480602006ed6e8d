//! Sign-in links and session epochs.

use std::sync::Arc;

use async_trait::async_trait;
use postbell_core::{
    Actor, AuditAction, LinkDigest, Principal, Sessions, SignInLink, StoreError, Timestamp, UserId,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::audit::record;
use super::database::Database;
use super::failure::Failure;
use crate::audited::link_detail;
use crate::columns::{limit, parsed_if_any, principal, sign_in_link, time};

const ADD: &str = "
    INSERT INTO sign_in_link (digest, user, operator, viewer, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)";

const DELETE_EXPIRED: &str = "DELETE FROM sign_in_link WHERE expires_at <= ?1";

const FIND: &str = "SELECT * FROM sign_in_link WHERE digest = ?1";

const LIST: &str = "
    SELECT * FROM sign_in_link WHERE digest > ?1 AND expires_at > ?2 ORDER BY digest LIMIT ?3";

const REVOKE: &str = "DELETE FROM sign_in_link WHERE digest = ?1 RETURNING user";

const DELETE: &str = "DELETE FROM sign_in_link WHERE digest = ?1";

const DELETE_OF_USER: &str = "DELETE FROM sign_in_link WHERE user = ?1";

const DELETE_OF_OPERATORS: &str = "DELETE FROM sign_in_link WHERE operator IS NOT NULL";

const EPOCH: &str = "SELECT epoch FROM session_epoch WHERE subject = ?1";

const END_SESSIONS: &str = "
    INSERT INTO session_epoch (subject, epoch) VALUES (?1, 1)
    ON CONFLICT DO UPDATE SET epoch = epoch + 1";

/// Sign-in links and session epochs in one SQLite file.
pub(crate) struct SqliteSessions {
    database: Arc<Database>,
    /// Whose changes are recorded.
    by: Option<Actor>,
}

impl SqliteSessions {
    pub(crate) fn new(database: Arc<Database>, by: Option<Actor>) -> Self {
        Self { database, by }
    }
}

#[async_trait]
impl Sessions for SqliteSessions {
    async fn add_link(
        &self,
        link: LinkDigest,
        principal: &Principal,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (principal, by) = (principal.clone(), self.by.clone());
        self.database
            .write(move |db| {
                add(db, link, &principal, expires_at, now)?;
                let detail = link_detail(&principal, expires_at, now);
                let user = principal.user.as_ref();
                record(db, by.as_ref(), AuditAction::IssueLink, user, &detail)
            })
            .await
    }

    async fn redeem_link(
        &self,
        link: LinkDigest,
        now: Timestamp,
    ) -> Result<Option<Principal>, StoreError> {
        self.database.write(move |db| redeem(db, link, now)).await
    }

    async fn find_link(
        &self,
        link: LinkDigest,
        now: Timestamp,
    ) -> Result<Option<SignInLink>, StoreError> {
        let found = self.database.read::<_, StoreError>(move |db| {
            let mut statement = db.prepare_cached(FIND)?;
            let mut rows = statement.query([link.0])?;
            rows.next()?.map(sign_in_link).transpose()
        });
        Ok(found.await?.filter(|link| now < link.expires_at))
    }

    async fn links(
        &self,
        after: Option<LinkDigest>,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<SignInLink>, StoreError> {
        self.database
            .read(move |db| {
                let after = after.map_or(Vec::new(), |link| link.0.to_vec());
                let mut statement = db.prepare_cached(LIST)?;
                let mut rows = statement.query(params![after, now.as_millis(), limit(most)])?;
                let mut links = Vec::new();
                while let Some(row) = rows.next()? {
                    links.push(sign_in_link(row)?);
                }
                Ok(links)
            })
            .await
    }

    async fn revoke_link(&self, link: LinkDigest) -> Result<bool, StoreError> {
        let by = self.by.clone();
        self.database
            .write(move |db| {
                let mut statement = db.prepare_cached(REVOKE)?;
                let mut rows = statement.query([link.0])?;
                let Some(row) = rows.next()? else {
                    return Ok(false);
                };
                let user: Option<UserId> = parsed_if_any(row, "user")?;
                // A statement takes effect only once all its rows are read.
                rows.next()?;
                record(db, by.as_ref(), AuditAction::RevokeLink, user.as_ref(), "")?;
                Ok(true)
            })
            .await
    }

    async fn epoch(&self, subject: &str) -> Result<i64, StoreError> {
        let subject = subject.to_owned();
        self.database
            .read(move |db| {
                let mut statement = db.prepare_cached(EPOCH)?;
                let epoch = statement.query_row([subject], |row| row.get(0));
                Ok(epoch.optional()?.unwrap_or(0))
            })
            .await
    }

    async fn end_sessions(&self, subject: &str) -> Result<(), StoreError> {
        let subject = subject.to_owned();
        self.database
            .write(move |db| {
                db.prepare_cached(END_SESSIONS)?.execute([&subject])?;
                // An operator's subject is not a user id.
                if let Ok(user) = subject.parse() {
                    db.changed(&user);
                }
                Ok(())
            })
            .await
    }

    async fn revoke_user(&self, user: &UserId) -> Result<(), StoreError> {
        let (user, by) = (user.clone(), self.by.clone());
        self.database
            .write(move |db| {
                db.changed(&user);
                revoke_user(db, &user)?;
                record(db, by.as_ref(), AuditAction::SignOut, Some(&user), "")
            })
            .await
    }

    async fn revoke_operators(&self) -> Result<(), StoreError> {
        let by = self.by.clone();
        self.database
            .write(move |db| {
                db.prepare_cached(DELETE_OF_OPERATORS)?.execute([])?;
                db.prepare_cached(END_SESSIONS)?
                    .execute([Principal::ALL_OPERATORS])?;
                let whose = Principal::ALL_OPERATORS;
                record(db, by.as_ref(), AuditAction::SignOut, None, whose)
            })
            .await
    }
}

fn revoke_user(db: &Connection, user: &UserId) -> Result<(), Failure> {
    db.prepare_cached(DELETE_OF_USER)?
        .execute([user.as_str()])?;
    db.prepare_cached(END_SESSIONS)?.execute([user.as_str()])?;
    Ok(())
}

fn add(
    db: &Connection,
    link: LinkDigest,
    principal: &Principal,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), Failure> {
    db.prepare_cached(DELETE_EXPIRED)?
        .execute([now.as_millis()])?;
    db.prepare_cached(ADD)?.execute(params![
        link.0,
        principal.user.as_ref().map(|user| user.as_str()),
        principal.operator,
        principal.is_viewer,
        expires_at.as_millis(),
    ])?;
    Ok(())
}

fn redeem(db: &Connection, link: LinkDigest, now: Timestamp) -> Result<Option<Principal>, Failure> {
    let mut statement = db.prepare_cached(FIND)?;
    let mut rows = statement.query([link.0])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let principal = principal(row)?;
    let is_valid = now < time(row, "expires_at")?;
    db.prepare_cached(DELETE)?.execute([link.0])?;
    Ok(is_valid.then_some(principal))
}
