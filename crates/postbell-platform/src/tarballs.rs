//! The credentials of a user's Google account, as the machine gets them.

use std::sync::Arc;

use postbell_core::{BoxError, Credentials, UserRecord};
use postbell_protocol::credential_envelope::PlatformKey;

use crate::variables::Tarball;

/// Reads and decrypts the credentials of users for their machines. Cheap to clone.
#[derive(Clone)]
pub struct Tarballs {
    /// The users' credentials.
    pub credentials: Arc<dyn Credentials>,
    /// Decrypts them. Without it, machines get none from this platform.
    pub key: Option<Arc<PlatformKey>>,
}

impl Tarballs {
    /// Returns what to do with the credentials on a user's machine.
    pub(crate) async fn of(&self, record: &UserRecord) -> Result<Tarball, BoxError> {
        if record.google.is_none() {
            return Ok(Tarball::Remove);
        }
        let Some(key) = &self.key else {
            return Ok(Tarball::Keep);
        };
        Ok(match self.credentials.credentials(&record.user).await? {
            Some(credentials) => Tarball::Set(key.decrypt_tarball(credentials.expose())?),
            None => Tarball::Keep,
        })
    }
}
