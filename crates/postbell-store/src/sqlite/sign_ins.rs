//! Links that sign somebody in, and the epochs of sessions.

use std::sync::Arc;

use async_trait::async_trait;
use postbell_core::{LinkDigest, Principal, Sessions, SessionsError, Timestamp, UserId};
use rusqlite::{Connection, OptionalExtension, params};

use super::columns::{parsed_if_any, time};
use super::database::Database;
use super::failure::Failure;

const ADD: &str = "
    INSERT INTO sign_in_link (digest, user, operator, expires_at) VALUES (?1, ?2, ?3, ?4)";

const FORGET_ENDED: &str = "DELETE FROM sign_in_link WHERE expires_at <= ?1";

const FIND: &str = "SELECT user, operator, expires_at FROM sign_in_link WHERE digest = ?1";

const DROP: &str = "DELETE FROM sign_in_link WHERE digest = ?1";

const DROP_OF: &str = "DELETE FROM sign_in_link WHERE user = ?1";

const DROP_OF_OPERATORS: &str = "DELETE FROM sign_in_link WHERE operator IS NOT NULL";

const EPOCH: &str = "SELECT epoch FROM session_epoch WHERE subject = ?1";

const END: &str = "
    INSERT INTO session_epoch (subject, epoch) VALUES (?1, 1)
    ON CONFLICT DO UPDATE SET epoch = epoch + 1";

/// Links and epochs in the file of the users' records.
pub(crate) struct SqliteSessions {
    file: Arc<Database>,
}

impl SqliteSessions {
    pub(crate) fn new(file: Arc<Database>) -> Self {
        Self { file }
    }
}

#[async_trait]
impl Sessions for SqliteSessions {
    async fn add_link(
        &self,
        link: LinkDigest,
        visitor: &Principal,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), SessionsError> {
        let visitor = visitor.clone();
        self.file
            .write(move |db| add(db, link, &visitor, expires_at, now))
            .await
    }

    async fn take_link(
        &self,
        link: LinkDigest,
        now: Timestamp,
    ) -> Result<Option<Principal>, SessionsError> {
        self.file.write(move |db| take(db, link, now)).await
    }

    async fn epoch(&self, subject: &str) -> Result<i64, SessionsError> {
        let subject = subject.to_owned();
        self.file
            .read(move |db| {
                let mut statement = db.prepare_cached(EPOCH)?;
                let epoch = statement.query_row([subject], |row| row.get(0));
                Ok(epoch.optional()?.unwrap_or(0))
            })
            .await
    }

    async fn end_sessions(&self, subject: &str) -> Result<(), SessionsError> {
        let subject = subject.to_owned();
        self.file
            .write(move |db| {
                db.prepare_cached(END)?.execute([&subject])?;
                Ok(())
            })
            .await
    }

    async fn forget_user(&self, user: &UserId) -> Result<(), SessionsError> {
        let user = user.clone();
        self.file.write(move |db| forget_user(db, &user)).await
    }

    async fn forget_operators(&self) -> Result<(), SessionsError> {
        self.file
            .write(|db| {
                db.prepare_cached(DROP_OF_OPERATORS)?.execute([])?;
                db.prepare_cached(END)?
                    .execute([Principal::ALL_OPERATORS])?;
                Ok(())
            })
            .await
    }
}

fn forget_user(db: &Connection, user: &UserId) -> Result<(), Failure> {
    db.prepare_cached(DROP_OF)?.execute([user.as_str()])?;
    db.prepare_cached(END)?.execute([user.as_str()])?;
    Ok(())
}

fn add(
    db: &Connection,
    link: LinkDigest,
    visitor: &Principal,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), Failure> {
    db.prepare_cached(FORGET_ENDED)?
        .execute([now.as_millis()])?;
    db.prepare_cached(ADD)?.execute(params![
        link.0,
        visitor.user.as_ref().map(|user| user.as_str()),
        visitor.operator,
        expires_at.as_millis(),
    ])?;
    Ok(())
}

fn take(db: &Connection, link: LinkDigest, now: Timestamp) -> Result<Option<Principal>, Failure> {
    let mut statement = db.prepare_cached(FIND)?;
    let mut rows = statement.query([link.0])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let visitor = Principal {
        user: parsed_if_any(row, "user")?,
        operator: row.get("operator")?,
    };
    let is_good = now < time(row, "expires_at")?;
    db.prepare_cached(DROP)?.execute([link.0])?;
    Ok(is_good.then_some(visitor))
}
