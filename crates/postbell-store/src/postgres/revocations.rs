//! Permissions at Google that are to be revoked.

use std::sync::Arc;

use async_trait::async_trait;
use postbell_core::{PendingRevocation, PendingRevocations, RevocationId, StoreError, Timestamp};

use super::database::Database;
use super::parameter::Parameter;
use crate::at_rest::Secrets;
use crate::columns::{limit as row_limit, number};
use crate::revocation::{SealedRevocation, open_all, sealed_revocation};

const ADD: &str = "
    INSERT INTO revocation (id, key_id, ciphertext, added_at, due_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (id) DO UPDATE SET due_at = excluded.due_at";

/// Another process gets others at the same time.
const CLAIM: &str = "
    UPDATE revocation SET due_at = $2
    WHERE id IN (
        SELECT id FROM revocation WHERE due_at <= $1 ORDER BY due_at, id LIMIT $3
        FOR UPDATE SKIP LOCKED
    )
    RETURNING id, key_id, ciphertext, added_at";

const REMOVE: &str = "DELETE FROM revocation WHERE id = $1";

const COUNT: &str = "SELECT count(*) AS number FROM revocation";

/// Permissions at Google that are to be revoked, in one PostgreSQL database.
pub(crate) struct PostgresRevocations {
    pub(crate) database: Arc<Database>,
    pub(crate) secrets: Secrets,
}

#[async_trait]
impl PendingRevocations for PostgresRevocations {
    async fn add_revocation(
        &self,
        revocation: &PendingRevocation,
        due_at: Timestamp,
    ) -> Result<(), StoreError> {
        let sealed = &SealedRevocation::seal(revocation, &self.secrets)?;
        let added = self.database.write(|db| async move {
            let values: [&dyn Parameter; 5] = [
                &&sealed.id.0[..],
                &&*sealed.secret.with,
                &&*sealed.secret.bytes,
                &sealed.added_at.as_millis(),
                &due_at.as_millis(),
            ];
            db.execute(ADD, &values).await.map(drop)
        });
        added.await
    }

    async fn claim_revocations(
        &self,
        now: Timestamp,
        again_at: Timestamp,
        limit: usize,
    ) -> Result<Vec<PendingRevocation>, StoreError> {
        let claimed = self.database.write::<_, StoreError, _>(|db| async move {
            let values: [&dyn Parameter; 3] =
                [&now.as_millis(), &again_at.as_millis(), &row_limit(limit)];
            let rows = db.query(CLAIM, &values).await?;
            rows.iter()
                .map(sealed_revocation)
                .collect::<Result<Vec<_>, _>>()
        });
        Ok(open_all(claimed.await?, &self.secrets))
    }

    async fn remove_revocation(&self, id: RevocationId) -> Result<bool, StoreError> {
        let id = &id;
        let removed = self.database.write(|db| async move {
            let removed = db.execute(REMOVE, &[&&id.0[..]]).await?;
            Ok(removed > 0)
        });
        removed.await
    }

    async fn count_revocations(&self) -> Result<u64, StoreError> {
        let count = self.database.read(|db| async move {
            let row = db.query_one(COUNT, &[]).await?;
            number(&row, "number").map(i64::unsigned_abs)
        });
        count.await
    }
}
