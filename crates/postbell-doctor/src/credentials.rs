//! Decrypts the credentials that a user has sent to the platform.

use postbell_core::{Credentials as CredentialsPort, EmailAddress, UserRecord};
use postbell_google::{AuthorizedUser, Credentials};
use postbell_protocol::credential_envelope::PlatformKey;
use postbell_protocol::tarball;

use crate::report::CheckResult;

/// Result for the keys, and the decrypted credentials.
pub(crate) struct Decrypted {
    pub(crate) keys: CheckResult,
    pub(crate) mailbox: Result<(EmailAddress, Credentials), CheckResult>,
}

impl Decrypted {
    fn only(keys: CheckResult, mailbox: &str) -> Self {
        Self {
            keys,
            mailbox: Err(CheckResult::unknown(mailbox)),
        }
    }
}

/// What to do if `platform.gateway_secret` is another one than that with which the store was made.
pub(crate) const RESTORE_GATEWAY_SECRET: &str =
    "Restore platform.gateway_secret: it encrypted them, and the machines' tokens follow from it.";

/// The setting with which the platform encrypts credentials.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StorageKey {
    /// `platform.gateway_secret`
    GatewaySecret,
    /// `platform.storage_keys`
    StorageKeys,
}

/// Decrypts the stored credentials of a user, or of a further account.
pub(crate) async fn decrypt(
    credentials: &dyn CredentialsPort,
    key: Option<PlatformKey>,
    storage_key: StorageKey,
    record: &UserRecord,
) -> Decrypted {
    const NO_GRANT: &str = "the credentials of the mailbox cannot be decrypted";
    let google = record.google.as_ref();
    let email = google.and_then(|google| google.email.clone());
    let stored = match credentials.credentials(&record.user).await {
        Ok(stored) => stored,
        Err(error) => {
            let detail = format!("the users' credentials cannot be read: {error}");
            let next = match storage_key {
                StorageKey::GatewaySecret => RESTORE_GATEWAY_SECRET,
                StorageKey::StorageKeys => {
                    "Restore the key that encrypted them in platform.storage_keys."
                }
            };
            return Decrypted::only(CheckResult::failed(detail, next), NO_GRANT);
        }
    };
    let Some(key) = key else {
        let next = "Set platform.private_key_file to an RSA key in PEM; `postbell config init` writes one \
                    for a new platform.";
        let keys =
            CheckResult::warning("the platform has no key to decrypt credentials with", next);
        return Decrypted::only(keys, NO_GRANT);
    };
    let ok = CheckResult::ok("the platform's keys decrypt the stored credentials");
    let Some(stored) = stored else {
        return Decrypted::only(ok, "there are no credentials");
    };
    let Ok(tarball) = key.decrypt_tarball(stored.expose()) else {
        let (user, bot) = (&record.user, record.bot());
        let detail = format!("platform.private_key does not decrypt the credentials of {user}");
        let flag = record.owner.as_ref().map_or("", |_| " --further-account");
        let next = format!(
            "Restore the key that they were encrypted for, or send them again: `postbell setup{flag}`, with \
             POSTBELL_USER_TOKEN set to the output of `postbell users token {bot}`."
        );
        return Decrypted::only(CheckResult::failed(detail, next), NO_GRANT);
    };
    let mailbox = match email {
        Some(email) => match tarball::gog_credentials(&tarball, email.as_str()) {
            Some(user) => Ok((email, AuthorizedUser::from(user).into())),
            None => Err(CheckResult::unknown(
                "the credentials contain no gog keyring",
            )),
        },
        None => Err(CheckResult::unknown(
            "the address of the account is not known",
        )),
    };
    Decrypted { keys: ok, mailbox }
}
