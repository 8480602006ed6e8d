//! What a user has sent, sealed for the platform: it opens the mailbox.

use anyhow::Context;
use postbell_core::{EmailAddress, UserId, Users};
use postbell_doctor::CheckResult;
use postbell_google::{AuthorizedUser, Credentials};
use postbell_protocol::credential_envelope::PlatformKey;
use postbell_protocol::gog_keyring::GogKeyring;
use postbell_protocol::tarball::{self, FOLDER, KEYRING_PASSWORD};

/// Whether the keys open what they are for, and what that is.
pub(super) struct Opened {
    pub(super) keys: CheckResult,
    pub(super) mailbox: Result<(EmailAddress, Credentials), CheckResult>,
}

impl Opened {
    fn only(keys: CheckResult, mailbox: &str) -> Self {
        Self {
            keys,
            mailbox: Err(CheckResult::unknown(mailbox)),
        }
    }
}

/// Opens what a user has sent.
pub(super) async fn open(
    instances: &dyn Users,
    key: Option<PlatformKey>,
    user: &UserId,
    email: Option<EmailAddress>,
) -> Opened {
    const NO_GRANT: &str = "what opens the mailbox cannot be read here";
    let stored = match instances.credentials(user).await {
        Ok(stored) => stored,
        Err(error) => {
            let detail = format!("the users' credentials cannot be read: {error}");
            let next = "Put the key that they were stored with back into platform.storage_keys.";
            return Opened::only(CheckResult::failed(detail, next), NO_GRANT);
        }
    };
    let Some(key) = key else {
        let next = "Make one: `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072`, and name \
                    it in platform.private_key_file.";
        let keys = CheckResult::warning(
            "the platform has no key that credentials are sealed for",
            next,
        );
        return Opened::only(keys, NO_GRANT);
    };
    let ok = CheckResult::ok("the platform's keys open what they are for");
    let Some(stored) = stored else {
        return Opened::only(ok, "there are no credentials");
    };
    let Ok(tarball) = key.decrypt_tarball(stored.expose()) else {
        let detail = format!("what {user} has sent does not open with platform.private_key");
        let next = format!(
            "Put the key back that it was sealed for, or have it sent again: `postbell setup`, with \
             what `postbell users token {user}` prints in POSTBELL_USER_TOKEN."
        );
        return Opened::only(CheckResult::failed(detail, next), NO_GRANT);
    };
    let mailbox = match email {
        Some(email) => match unpack(&tarball, &email) {
            Ok(credentials) => Ok((email, credentials)),
            Err(_) => Err(CheckResult::unknown(
                "what was sent holds no keyring of gog's",
            )),
        },
        None => Err(CheckResult::unknown("the account's address is not known")),
    };
    Opened { keys: ok, mailbox }
}

/// Unpacks it as the machine does, into a folder that is gone again at once.
fn unpack(tarball: &secrecy::SecretString, email: &EmailAddress) -> anyhow::Result<Credentials> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    tarball::unpack(tarball, folder.path(), FOLDER)?;
    let gog = folder.path().join(FOLDER);
    let keyring = GogKeyring {
        keyring: gog.join("keyring"),
        clients: vec![gog],
    };
    let user = keyring.credentials(email.as_str(), "default", KEYRING_PASSWORD)?;
    Ok(AuthorizedUser::from(user).into())
}
