//! The stored credentials of a user's Google account, as the platform reads and writes them.

use postbell_core::{EmailAddress, StoreError, StoredCredentials};
use postbell_google::AuthorizedUser;
use postbell_protocol::credential_envelope::{CredentialEnvelope, PlatformKey};
use postbell_protocol::tarball;
use serde::{Deserialize, Serialize};

/// The envelope as received, and the mailbox that its credentials have opened.
///
/// The proof is stored with the credentials, so it is gone with them: whoever replaces the credentials, be it another
/// version of Postbell, replaces it.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct StoredForm {
    #[serde(flatten)]
    envelope: CredentialEnvelope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proven_email: Option<EmailAddress>,
}

/// Returns the form in which credentials are stored. `proven` is the mailbox that they have opened, if they have.
pub(crate) fn to_stored(
    envelope: CredentialEnvelope,
    proven: Option<EmailAddress>,
) -> Result<StoredCredentials, StoreError> {
    let form = StoredForm {
        envelope,
        proven_email: proven,
    };
    let text = serde_json::to_string(&form);
    let text = text.map_err(|error| StoreError::Unavailable(error.into()))?;
    Ok(StoredCredentials::from(text))
}

/// Returns whether these credentials have ever opened the mailbox with this address.
pub(crate) fn is_proven(stored: &StoredCredentials, email: &EmailAddress) -> bool {
    let form: Option<StoredForm> = serde_json::from_str(stored.expose()).ok();
    let proven = form.and_then(|form| form.proven_email);
    proven.is_some_and(|proven| proven.is_same_mailbox(email.as_str()))
}

/// Returns the same credentials with the proof that they have opened the mailbox with this address. `None` if they have it,
/// or are of another form.
pub(crate) fn with_proof(
    stored: &StoredCredentials,
    email: &EmailAddress,
) -> Option<StoredCredentials> {
    if is_proven(stored, email) {
        return None;
    }
    let form: StoredForm = serde_json::from_str(stored.expose()).ok()?;
    to_stored(form.envelope, Some(email.clone())).ok()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    const ENVELOPE: &str = include_str!("../../postbell-protocol/fixtures/envelope.json");
    const KEY: &str = include_str!("../../postbell-protocol/fixtures/key.pem");

    #[test]
    fn a_proof_is_of_one_mailbox_and_leaves_the_credentials_as_they_are() {
        let key = PlatformKey::from_pem(&KEY.into()).unwrap();
        let [ann, also_ann, bob] = ["ann@gmail.com", "A.nn@gmail.com", "bob@gmail.com"]
            .map(|email| email.parse::<EmailAddress>().unwrap());
        // As versions before the proof have stored it.
        let received = StoredCredentials::from(ENVELOPE.to_owned());
        assert!(!is_proven(&received, &ann));
        let proven = with_proof(&received, &ann).unwrap();
        assert!(is_proven(&proven, &ann) && is_proven(&proven, &also_ann));
        assert!(!is_proven(&proven, &bob));
        assert!(with_proof(&proven, &ann).is_none(), "it has it");
        key.decrypt_tarball(proven.expose()).unwrap();
        assert!(with_proof(&"no envelope".to_owned().into(), &ann).is_none());
    }

    #[test]
    fn a_sender_of_credentials_cannot_prove_them() {
        let mut sent: serde_json::Value = serde_json::from_str(ENVELOPE).unwrap();
        sent["provenEmail"] = "ann@example.com".into();
        let envelope: CredentialEnvelope = serde_json::from_value(sent).unwrap();
        let stored = to_stored(envelope, None).unwrap();
        assert!(!is_proven(&stored, &"ann@example.com".parse().unwrap()));
    }
}
