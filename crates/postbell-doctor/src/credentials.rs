//! Decrypts the credentials that a user has sent to the platform.

use postbell_core::{Credentials as CredentialsPort, EmailAddress, UserId};
use postbell_google::{AuthorizedUser, Credentials};
use postbell_protocol::credential_envelope::PlatformKey;
use postbell_protocol::gog_keyring::GogKeyring;
use postbell_protocol::tarball::{self, FOLDER, KEYRING_PASSWORD};

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

/// Decrypts the stored credentials of a user.
pub(crate) async fn decrypt(
    credentials: &dyn CredentialsPort,
    key: Option<PlatformKey>,
    user: &UserId,
    email: Option<EmailAddress>,
) -> Decrypted {
    const NO_GRANT: &str = "the credentials of the mailbox cannot be decrypted";
    let stored = match credentials.credentials(user).await {
        Ok(stored) => stored,
        Err(error) => {
            let detail = format!("the users' credentials cannot be read: {error}");
            let next = "Restore the key that encrypted them in platform.storage_keys.";
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
        let detail = format!("platform.private_key does not decrypt the credentials of {user}");
        let next = format!(
            "Restore the key that they were encrypted for, or send them again: `postbell setup`, with \
             POSTBELL_USER_TOKEN set to the output of `postbell users token {user}`."
        );
        return Decrypted::only(CheckResult::failed(detail, next), NO_GRANT);
    };
    let mailbox = match email {
        Some(email) => match unpack(&tarball, &email) {
            Some(credentials) => Ok((email, credentials)),
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

/// Unpacks the tarball into a temporary directory, as the machine does. Returns `None` if it contains
/// no keyring with the account.
fn unpack(tarball: &secrecy::SecretString, email: &EmailAddress) -> Option<Credentials> {
    let directory = tempfile::tempdir().ok()?;
    tarball::unpack(tarball, directory.path(), FOLDER).ok()?;
    let gog = directory.path().join(FOLDER);
    let keyring = GogKeyring {
        keyring: gog.join("keyring"),
        clients: vec![gog],
    };
    let user = keyring.credentials(email.as_str(), "default", KEYRING_PASSWORD);
    Some(AuthorizedUser::from(user.ok()?).into())
}
