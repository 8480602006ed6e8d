//! What opens the users' Google accounts, encrypted.

use postbell_core::UserId;
use rusqlite::{Connection, TransactionBehavior, params};

use super::failure::Failure;
use crate::at_rest::{KeyRing, Reencrypted, Sealed};
use crate::columns::{parsed, sealed};

const PUT: &str = "
    INSERT INTO credential (user, key_id, ciphertext) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET key_id = ?2, ciphertext = ?3";

const FIND: &str = "SELECT key_id, ciphertext FROM credential WHERE user = ?1";

const DROP: &str = "DELETE FROM credential WHERE user = ?1";

/// Two ranges of the index: next to nothing is read where all are of the current key.
const COUNT_OLD: &str = "
    SELECT (SELECT count(*) FROM credential WHERE key_id < ?1)
        + (SELECT count(*) FROM credential WHERE key_id > ?1)";

const OF_OLD_KEYS: &str = "
    SELECT user, key_id, ciphertext FROM credential
    WHERE key_id <> ?1 AND user > ?2 ORDER BY user LIMIT 100";

pub(super) fn put(db: &Connection, user: &UserId, sealed: &Sealed) -> rusqlite::Result<()> {
    let values = params![user.as_str(), sealed.with, sealed.bytes];
    db.prepare_cached(PUT)?.execute(values).map(drop)
}

pub(super) fn find(db: &Connection, user: &UserId) -> Result<Option<Sealed>, Failure> {
    let mut statement = db.prepare_cached(FIND)?;
    let mut rows = statement.query([user.as_str()])?;
    rows.next()?.map(sealed).transpose()
}

pub(super) fn forget(db: &Connection, user: &UserId) -> rusqlite::Result<()> {
    db.prepare_cached(DROP)?.execute([user.as_str()]).map(drop)
}

/// Encrypts what older keys have encrypted with the current one, a batch at a time, so that those
/// keys can be thrown away. What no key opens stays as it is.
pub(super) fn encrypt_again(db: &mut Connection, keys: &KeyRing) -> Result<(), Failure> {
    // If there are none, no process that writes has to be waited for.
    let old = db.query_row(COUNT_OLD, [keys.current()], |row| row.get::<_, i64>(0))?;
    if old == 0 {
        return Ok(());
    }
    let mut again = Reencrypted::begin("credentials", old.unsigned_abs());
    let mut last = String::new();
    loop {
        // No other process may write in between: it could be newer.
        let batch = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = of_old_keys(&batch, keys.current(), &last)?;
        let Some((user, _)) = found.last() else { break };
        last = user.to_string();
        for (user, sealed) in &found {
            if let Some(sealed) = again.reencrypt(keys, user, sealed) {
                put(&batch, user, &sealed)?;
            }
        }
        batch.commit()?;
        again.log_progress(found.len());
    }
    again.log();
    Ok(())
}

fn of_old_keys(
    db: &Connection,
    current: &str,
    after: &str,
) -> Result<Vec<(UserId, Sealed)>, Failure> {
    let mut statement = db.prepare_cached(OF_OLD_KEYS)?;
    let mut rows = statement.query([current, after])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((parsed(row, "user")?, sealed(row)?));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema;

    #[test]
    fn a_look_for_old_keys_reads_an_index_and_no_credentials() {
        let db = schema::in_memory();
        let mut explain = db
            .prepare(&format!("EXPLAIN QUERY PLAN {COUNT_OLD}"))
            .unwrap();
        let steps = explain.query_map(["key"], |row| row.get::<_, String>("detail"));
        let steps: Vec<_> = steps.unwrap().map(|step| step.unwrap()).collect();
        let searches = steps.iter().filter(|step| step.starts_with("SEARCH"));
        let covered = "SEARCH credential USING COVERING INDEX credential_by_key";
        assert!(
            searches.clone().all(|step| step.starts_with(covered)),
            "{steps:?}"
        );
        assert_eq!(searches.count(), 2);
        assert!(!steps.iter().any(|step| step.starts_with("SCAN credential")));
    }
}
