//! Decrypts the credentials of a user's Google account, for the platform's own calls of Google.

use postbell_core::{EmailAddress, StoredCredentials};
use postbell_google::AuthorizedUser;
use postbell_protocol::credential_envelope::PlatformKey;
use postbell_protocol::tarball;

/// Returns the credentials of the account `email`; `None` if the key does not decrypt them, or they are of another form.
pub(crate) async fn decrypt_credentials(
    key: &PlatformKey,
    stored: &StoredCredentials,
    email: &EmailAddress,
) -> Option<AuthorizedUser> {
    let packed = key.decrypt_tarball(stored.expose()).ok()?;
    let account = email.as_str().to_owned();
    let unpack = move || tarball::gog_credentials(&packed, &account);
    let user = tokio::task::spawn_blocking(unpack).await.ok()??;
    Some(user.into())
}
