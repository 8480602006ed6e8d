//! The users' alert targets, encrypted.

use postbell_core::{TargetId, UserId};
use rusqlite::{Connection, TransactionBehavior, params};

use super::failure::Failure;
use crate::at_rest::{KeyRing, Reencrypted};
use crate::columns::{SealedTarget, parsed, sealed_target};

type Result<T> = std::result::Result<T, Failure>;

const LIST: &str = "
    SELECT id, key_id, ciphertext, added_at FROM alert_target
    WHERE user = ?1 ORDER BY added_at, id";

const HAS: &str = "SELECT EXISTS (SELECT 1 FROM alert_target WHERE user = ?1 AND id = ?2)";

const COUNT: &str = "SELECT count(*) FROM alert_target WHERE user = ?1";

const ADD: &str = "
    INSERT INTO alert_target (user, id, key_id, ciphertext, added_at) VALUES (?1, ?2, ?3, ?4, ?5)";

const REMOVE: &str = "DELETE FROM alert_target WHERE user = ?1 AND id = ?2";

const REMOVE_OF_USER: &str = "DELETE FROM alert_target WHERE user = ?1";

const COUNT_OLD: &str = "SELECT count(*) FROM alert_target WHERE key_id <> ?1";

const OF_OLD_KEYS: &str = "
    SELECT user, id, key_id, ciphertext, added_at FROM alert_target
    WHERE key_id <> ?1 AND (user, id) > (?2, ?3) ORDER BY user, id LIMIT 100";

const PUT: &str = "
    UPDATE alert_target SET key_id = ?3, ciphertext = ?4 WHERE user = ?1 AND id = ?2";

pub(super) fn list(db: &Connection, user: &UserId) -> Result<Vec<SealedTarget>> {
    let mut statement = db.prepare_cached(LIST)?;
    let mut rows = statement.query([user.as_str()])?;
    let mut targets = Vec::new();
    while let Some(row) = rows.next()? {
        targets.push(sealed_target(row)?);
    }
    Ok(targets)
}

/// Encrypts what older keys have encrypted with the current one, as `credential::encrypt_again` does.
pub(super) fn encrypt_again(db: &mut Connection, keys: &KeyRing) -> Result<()> {
    let old = db.query_row(COUNT_OLD, [keys.current()], |row| row.get::<_, i64>(0))?;
    if old == 0 {
        return Ok(());
    }
    let mut again = Reencrypted::begin("alert targets", old.unsigned_abs());
    let mut last = (String::new(), String::new());
    loop {
        let found = of_old_keys(db, keys.current(), &last)?;
        let Some((user, target)) = found.last() else {
            break;
        };
        last = (user.to_string(), target.id.to_string());
        let batch = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let targets = found.len();
        for (user, target) in found {
            if let Some(text) = again.reencrypt(keys, &user, &target.text) {
                put(&batch, &user, &SealedTarget { text, ..target })?;
            }
        }
        batch.commit()?;
        again.log_progress(targets);
    }
    again.log();
    Ok(())
}

fn put(db: &Connection, user: &UserId, target: &SealedTarget) -> Result<()> {
    let SealedTarget { id, text, .. } = target;
    let values = params![user.as_str(), id.as_str(), text.with, text.bytes];
    db.prepare_cached(PUT)?.execute(values)?;
    Ok(())
}

fn of_old_keys(
    db: &Connection,
    current: &str,
    (user, id): &(String, String),
) -> Result<Vec<(UserId, SealedTarget)>> {
    let mut statement = db.prepare_cached(OF_OLD_KEYS)?;
    let mut rows = statement.query([current, user, id])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((parsed(row, "user")?, sealed_target(row)?));
    }
    Ok(found)
}

pub(super) fn add(
    db: &Connection,
    user: &UserId,
    target: &SealedTarget,
    most: usize,
) -> Result<bool> {
    let key = params![user.as_str(), target.id.as_str()];
    let exists = db.prepare_cached(HAS)?.query_row(key, |row| row.get(0))?;
    if exists {
        put(db, user, target)?;
        return Ok(true);
    }
    let mut count = db.prepare_cached(COUNT)?;
    let count: i64 = count.query_row([user.as_str()], |row| row.get(0))?;
    if usize::try_from(count).is_ok_and(|count| count >= most) {
        return Ok(false);
    }
    db.prepare_cached(ADD)?.execute(params![
        user.as_str(),
        target.id.as_str(),
        target.text.with,
        target.text.bytes,
        target.added_at.as_millis(),
    ])?;
    Ok(true)
}

pub(super) fn remove(db: &Connection, user: &UserId, target: &TargetId) -> Result<bool> {
    let values = [user.as_str(), target.as_str()];
    Ok(db.prepare_cached(REMOVE)?.execute(values)? > 0)
}

pub(super) fn remove_of_user(db: &Connection, user: &UserId) -> rusqlite::Result<()> {
    let removed = db.prepare_cached(REMOVE_OF_USER)?.execute([user.as_str()]);
    removed.map(drop)
}
