//! Permissions at Google that are to be revoked, in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use postbell_core::{PendingRevocation, PendingRevocations, RevocationId, StoreError, Timestamp};

/// Permissions that are to be revoked, in memory: every promise except durability. Clones share them.
#[derive(Clone, Default)]
pub struct MemoryRevocations(Arc<Mutex<BTreeMap<RevocationId, (PendingRevocation, Timestamp)>>>);

#[async_trait]
impl PendingRevocations for MemoryRevocations {
    async fn add_revocation(
        &self,
        revocation: &PendingRevocation,
        due_at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut all = self.0.lock();
        let known = all
            .entry(revocation.id)
            .or_insert_with(|| (revocation.clone(), due_at));
        known.1 = due_at;
        Ok(())
    }

    async fn claim_revocations(
        &self,
        now: Timestamp,
        again_at: Timestamp,
        limit: usize,
    ) -> Result<Vec<PendingRevocation>, StoreError> {
        let mut all = self.0.lock();
        let mut due: Vec<_> = all
            .values_mut()
            .filter(|(_, due_at)| *due_at <= now)
            .collect();
        due.sort_by_key(|(revocation, due_at)| (*due_at, revocation.id));
        let claimed = due.into_iter().take(limit).map(|(revocation, due_at)| {
            *due_at = again_at;
            revocation.clone()
        });
        Ok(claimed.collect())
    }

    async fn remove_revocation(&self, id: RevocationId) -> Result<bool, StoreError> {
        Ok(self.0.lock().remove(&id).is_some())
    }

    async fn count_revocations(&self) -> Result<u64, StoreError> {
        Ok(self.0.lock().len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::revocations_conformance!((Box::new(MemoryRevocations::default()), ()));
}
