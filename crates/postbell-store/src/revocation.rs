//! Permissions that are to be revoked, the same for every engine.

use postbell_core::{InvalidId, PendingRevocation, RevocationId, StoreError, Timestamp, UserId};

use crate::at_rest::{Sealed, Secrets};
use crate::columns::{Columns, corrupt, sealed, time};

/// A row of the table.
#[derive(Clone)]
pub(crate) struct SealedRevocation {
    pub(crate) id: RevocationId,
    pub(crate) secret: Sealed,
    pub(crate) added_at: Timestamp,
}

/// Reads a row.
pub(crate) fn sealed_revocation<R: Columns>(row: &R) -> Result<SealedRevocation, R::Failure> {
    let id = row.bytes("id")?;
    let id = id.try_into();
    Ok(SealedRevocation {
        id: RevocationId(id.map_err(|_| corrupt("id", "it does not have 32 bytes"))?),
        secret: sealed(row)?,
        added_at: time(row, "added_at")?,
    })
}

/// What a ciphertext is bound to in place of a user.
pub(crate) fn bound_to(id: RevocationId) -> Result<UserId, InvalidId> {
    UserId::try_from(hex::encode(id.0))
}

impl SealedRevocation {
    /// Decrypts a permission.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] if no key opens it.
    pub(crate) fn open(self, secrets: &Secrets) -> Result<PendingRevocation, StoreError> {
        let Self {
            id,
            secret,
            added_at,
        } = self;
        let bound_to = bound_to(id).map_err(|error| StoreError::Corrupt {
            what: "permission to revoke",
            source: error.into(),
        })?;
        Ok(PendingRevocation {
            id,
            secret: secrets.open(&bound_to, &secret)?.into(),
            added_at,
        })
    }

    /// Encrypts a permission.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] if the store was opened without keys.
    pub(crate) fn seal(
        revocation: &PendingRevocation,
        secrets: &Secrets,
    ) -> Result<Self, StoreError> {
        use secrecy::ExposeSecret;
        let bound_to = bound_to(revocation.id).map_err(|error| StoreError::Corrupt {
            what: "permission to revoke",
            source: error.into(),
        })?;
        Ok(Self {
            id: revocation.id,
            secret: secrets.encrypt(&bound_to, revocation.secret.expose_secret())?,
            added_at: revocation.added_at,
        })
    }
}

/// Decrypts what was claimed. What no key opens is left out: it is claimed again later.
pub(crate) fn open_all(
    claimed: Vec<SealedRevocation>,
    secrets: &Secrets,
) -> Vec<PendingRevocation> {
    let opened = claimed.into_iter().filter_map(|it| match it.open(secrets) {
        Ok(revocation) => Some(revocation),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "Cannot read a permission at Google that is to be revoked"
            );
            None
        }
    });
    opened.collect()
}
