//! Permissions at Google that are to be revoked.

use std::fmt;

use async_trait::async_trait;
use secrecy::SecretString;

use crate::{StoreError, Timestamp};

/// Identifies a permission: the SHA-256 digest of its refresh token.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RevocationId(pub [u8; 32]);

impl fmt::Debug for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RevocationId")
    }
}

/// A permission at Google that no user needs, and that is to be revoked.
#[derive(Clone, Debug)]
pub struct PendingRevocation {
    /// Its id.
    pub id: RevocationId,
    /// What revokes it. The store encrypts it, and does not read it.
    pub secret: SecretString,
    /// Since when it is to be revoked.
    pub added_at: Timestamp,
}

/// A durable list of permissions at Google that are to be revoked, which several processes may use at once: the credentials
/// from which they could be read are deleted.
///
/// Times always come from the caller. Each promise is a test of `postbell_testkit::conformance`, for every backend.
///
/// - A permission is listed once, since it was added first.
/// - One that is claimed is not due again before the given time, in no process.
/// - One that cannot be decrypted is not claimed, and keeps no other from it. It stays, and is counted.
#[async_trait]
pub trait PendingRevocations: Send + Sync {
    /// Adds a permission. One that is listed already is due at the given time, too.
    async fn add_revocation(
        &self,
        revocation: &PendingRevocation,
        due_at: Timestamp,
    ) -> Result<(), StoreError>;

    /// Claims up to `limit` that are due, those that are due longest first, and makes them due again at `again_at`.
    async fn claim_revocations(
        &self,
        now: Timestamp,
        again_at: Timestamp,
        limit: usize,
    ) -> Result<Vec<PendingRevocation>, StoreError>;

    /// Removes a permission that is revoked, or is needed again, and returns whether it was listed.
    async fn remove_revocation(&self, id: RevocationId) -> Result<bool, StoreError>;

    /// Counts the permissions.
    async fn count_revocations(&self) -> Result<u64, StoreError>;
}
