//! Permissions at Google that are to be revoked.

use std::sync::Arc;

use async_trait::async_trait;
use postbell_core::{PendingRevocation, PendingRevocations, RevocationId, StoreError, Timestamp};
use rusqlite::{Connection, TransactionBehavior, params};

use super::database::Database;
use super::failure::Failure;
use crate::at_rest::{KeyRing, Reencrypted, Secrets};
use crate::columns::limit as row_limit;
use crate::revocation::{SealedRevocation, bound_to, open_all, sealed_revocation};

const ADD: &str = "
    INSERT INTO revocation (id, key_id, ciphertext, added_at, due_at) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT DO UPDATE SET due_at = excluded.due_at";

const CLAIM: &str = "
    UPDATE revocation SET due_at = ?2
    WHERE id IN (SELECT id FROM revocation WHERE due_at <= ?1 ORDER BY due_at, id LIMIT ?3)
    RETURNING id, key_id, ciphertext, added_at";

const REMOVE: &str = "DELETE FROM revocation WHERE id = ?1";

const COUNT: &str = "SELECT count(*) FROM revocation";

const COUNT_OLD: &str = "SELECT count(*) FROM revocation WHERE key_id <> ?1";

const OF_OLD_KEYS: &str = "
    SELECT id, key_id, ciphertext, added_at FROM revocation
    WHERE key_id <> ?1 AND id > ?2 ORDER BY id LIMIT 100";

const PUT: &str = "UPDATE revocation SET key_id = ?2, ciphertext = ?3 WHERE id = ?1";

/// Permissions at Google that are to be revoked, in one SQLite file.
pub(crate) struct SqliteRevocations {
    pub(crate) database: Arc<Database>,
    pub(crate) secrets: Secrets,
}

#[async_trait]
impl PendingRevocations for SqliteRevocations {
    async fn add_revocation(
        &self,
        revocation: &PendingRevocation,
        due_at: Timestamp,
    ) -> Result<(), StoreError> {
        let sealed = SealedRevocation::seal(revocation, &self.secrets)?;
        let added = self.database.write(move |db| {
            db.prepare_cached(ADD)?.execute(params![
                sealed.id.0,
                sealed.secret.with,
                sealed.secret.bytes,
                sealed.added_at.as_millis(),
                due_at.as_millis(),
            ])?;
            Ok(())
        });
        added.await
    }

    async fn claim_revocations(
        &self,
        now: Timestamp,
        again_at: Timestamp,
        limit: usize,
    ) -> Result<Vec<PendingRevocation>, StoreError> {
        let claimed = self.database.write::<_, StoreError>(move |db| {
            let mut statement = db.prepare_cached(CLAIM)?;
            let values = params![now.as_millis(), again_at.as_millis(), row_limit(limit)];
            let mut rows = statement.query(values)?;
            let mut claimed = Vec::new();
            while let Some(row) = rows.next()? {
                claimed.push(sealed_revocation(row)?);
            }
            Ok(claimed)
        });
        Ok(open_all(claimed.await?, &self.secrets))
    }

    async fn remove_revocation(&self, id: RevocationId) -> Result<bool, StoreError> {
        self.database
            .write(move |db| Ok(db.prepare_cached(REMOVE)?.execute([id.0])? > 0))
            .await
    }

    async fn count_revocations(&self) -> Result<u64, StoreError> {
        let count = self.database.read(|db| {
            let count: i64 = db.query_row(COUNT, [], |row| row.get(0))?;
            Ok(count.unsigned_abs())
        });
        count.await
    }
}

/// Encrypts what older keys have encrypted with the current one, as `credential::encrypt_again` does.
pub(super) fn encrypt_again(db: &mut Connection, keys: &KeyRing) -> Result<(), Failure> {
    let old = db.query_row(COUNT_OLD, [keys.current()], |row| row.get::<_, i64>(0))?;
    if old == 0 {
        return Ok(());
    }
    let mut again = Reencrypted::begin("permissions to revoke", old.unsigned_abs());
    let mut last = Vec::new();
    loop {
        let batch = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = of_old_keys(&batch, keys.current(), &last)?;
        let Some(end) = found.last() else {
            break;
        };
        last = end.id.0.to_vec();
        let number = found.len();
        for SealedRevocation { id, secret, .. } in found {
            if let Ok(bound_to) = bound_to(id)
                && let Some(sealed) = again.reencrypt(keys, &bound_to, &secret)
            {
                let values = params![id.0, sealed.with, sealed.bytes];
                batch.prepare_cached(PUT)?.execute(values)?;
            }
        }
        batch.commit()?;
        again.log_progress(number);
    }
    again.log();
    Ok(())
}

fn of_old_keys(
    db: &Connection,
    current: &str,
    after: &[u8],
) -> Result<Vec<SealedRevocation>, Failure> {
    let mut statement = db.prepare_cached(OF_OLD_KEYS)?;
    let mut rows = statement.query(params![current, after])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(sealed_revocation(row)?);
    }
    Ok(found)
}
