//! Credentials for a mailbox, in the forms that Google issues.

use std::io;
use std::path::Path;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use postbell_core::Timestamp;
use postbell_protocol::gog_keyring::GogCredentials;
use postbell_protocol::private_file::{FileError, read_small, write_private};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// The scope of a service account that acts for a user.
const SCOPE: &str = "https://www.googleapis.com/auth/gmail.readonly";

/// The lifetime of an assertion in seconds: Google's maximum.
const ASSERTION_LIFE: i64 = 3600;

/// Credentials for one mailbox.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A user's consent.
    AuthorizedUser(AuthorizedUser),
    /// A service account that may act for a user.
    ServiceAccount(ServiceAccount),
    /// An existing access token, until it expires, such as `gcloud auth print-access-token` prints.
    AccessToken(SecretString),
}

/// A user's consent: the credentials file of type `authorized_user` that Google's tools read.
#[derive(Clone, Debug, Deserialize)]
pub struct AuthorizedUser {
    /// The OAuth client.
    pub client_id: String,
    /// The client's secret. A desktop client's is not confidential, but Google requires it.
    pub client_secret: SecretString,
    /// The refresh token.
    pub refresh_token: SecretString,
}

/// A service account with domain-wide delegation and the mailbox that it acts for
/// (<https://developers.google.com/identity/protocols/oauth2/service-account>).
#[derive(Clone)]
pub struct ServiceAccount {
    client_email: String,
    key_id: Option<String>,
    key: EncodingKey,
    subject: String,
}

#[derive(Deserialize)]
struct File {
    r#type: String,
}

#[derive(Deserialize)]
struct ServiceAccountFile {
    client_email: String,
    private_key: SecretString,
    private_key_id: Option<String>,
}

#[derive(Serialize)]
struct Assertion<'a> {
    iss: &'a str,
    sub: &'a str,
    scope: &'static str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

impl From<AuthorizedUser> for Credentials {
    fn from(user: AuthorizedUser) -> Self {
        Self::AuthorizedUser(user)
    }
}

impl From<GogCredentials> for AuthorizedUser {
    fn from(credentials: GogCredentials) -> Self {
        Self {
            client_id: credentials.client_id,
            client_secret: credentials.client_secret,
            refresh_token: credentials.refresh_token,
        }
    }
}

impl Credentials {
    /// Reads a file of type `authorized_user` or `service_account`; the latter acts for `mailbox`.
    ///
    /// # Errors
    ///
    /// [`FileError`] names the file and what was expected.
    pub fn from_file(file: &Path, mailbox: &str) -> Result<Self, FileError> {
        let text = read_small(file)?;
        let unexpected = |expected| FileError::unexpected(file, expected);
        let of_either_type =
            |_| unexpected("JSON whose type is authorized_user or service_account");
        let kind: File = serde_json::from_slice(&text).map_err(of_either_type)?;
        match kind.r#type.as_str() {
            "authorized_user" => {
                let user: AuthorizedUser = serde_json::from_slice(&text).map_err(|_| {
                    unexpected("client_id, client_secret and refresh_token, each a text")
                })?;
                Ok(user.into())
            }
            "service_account" => {
                let account: ServiceAccountFile = serde_json::from_slice(&text)
                    .map_err(|_| unexpected("client_email and private_key, each a text"))?;
                let key = EncodingKey::from_rsa_pem(account.private_key.expose_secret().as_bytes())
                    .map_err(|_| unexpected("an RSA key in PEM as private_key"))?;
                Ok(Self::ServiceAccount(ServiceAccount {
                    client_email: account.client_email,
                    key_id: account.private_key_id,
                    key,
                    subject: mailbox.to_owned(),
                }))
            }
            _ => Err(unexpected("the type authorized_user or service_account")),
        }
    }
}

impl Credentials {
    /// Whether both are the same grant or key.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::AuthorizedUser(one), Self::AuthorizedUser(other)) => {
                let secrets = |user: &AuthorizedUser| {
                    [&user.client_secret, &user.refresh_token]
                        .map(|it| it.expose_secret().to_owned())
                };
                one.client_id == other.client_id && secrets(one) == secrets(other)
            }
            (Self::ServiceAccount(one), Self::ServiceAccount(other)) => {
                (&one.client_email, &one.key_id, &one.subject)
                    == (&other.client_email, &other.key_id, &other.subject)
            }
            (Self::AccessToken(one), Self::AccessToken(other)) => {
                one.expose_secret() == other.expose_secret()
            }
            _ => false,
        }
    }
}

impl AuthorizedUser {
    /// Writes the file that [`Credentials::from_file`] reads, atomically and readable by its owner
    /// only. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// The system's error; an existing file is unchanged then.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let content = serde_json::json!({
            "type": "authorized_user",
            "client_id": self.client_id,
            "client_secret": self.client_secret.expose_secret(),
            "refresh_token": self.refresh_token.expose_secret(),
        });
        write_private(file, &format!("{content:#}"))
    }
}

impl ServiceAccount {
    /// The signed assertion that the account acts for the mailbox; `None` if signing fails.
    pub(crate) fn assertion(&self, audience: &str, now: Timestamp) -> Option<SecretString> {
        let header = Header {
            kid: self.key_id.clone(),
            ..Header::new(Algorithm::RS256)
        };
        let iat = now.as_secs();
        let claims = Assertion {
            iss: &self.client_email,
            sub: &self.subject,
            scope: SCOPE,
            aud: audience,
            iat,
            exp: iat + ASSERTION_LIFE,
        };
        encode(&header, &claims, &self.key)
            .ok()
            .map(SecretString::from)
    }
}

impl std::fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccount").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_written_file_is_readable_by_its_owner_only_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("google.json");
        fs::write(&file, "old").unwrap();
        let user = AuthorizedUser {
            client_id: "id".to_owned(),
            client_secret: "secret".into(),
            refresh_token: "1//token".into(),
        };
        user.write(&file).unwrap();
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = Credentials::from_file(&file, "ann@example.com").unwrap();
        let Credentials::AuthorizedUser(read) = read else {
            panic!("expected a user");
        };
        assert_eq!(read.refresh_token.expose_secret(), "1//token");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    fn error_of(content: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("google.json");
        fs::write(&file, content).unwrap();
        let read = Credentials::from_file(&file, "ann@example.com");
        read.map_or_else(|error| error.to_string(), |_| "ok".to_owned())
    }

    #[test]
    fn a_malformed_file_is_refused_without_its_content() {
        for (content, expected) in [
            ("hunter2", "expected JSON"),
            (r#"{"type":"external_account","x":"hunter2"}"#, "the type"),
            (
                r#"{"type":"authorized_user","client_id":"hunter2"}"#,
                "refresh_token",
            ),
            (
                r#"{"type":"service_account","client_email":"hunter2"}"#,
                "private_key",
            ),
            (
                r#"{"type":"service_account","client_email":"a","private_key":"hunter2"}"#,
                "an RSA key",
            ),
            (&"hunter2 ".repeat(10_000), "64 KiB"),
            (
                r#"{"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"c"}"#,
                "ok",
            ),
        ] {
            let message = error_of(content);
            assert!(
                message.contains(expected) && !message.contains("hunter2"),
                "{message}"
            );
        }
        let nowhere = Credentials::from_file(Path::new("/nowhere"), "a").unwrap_err();
        assert_eq!(nowhere.to_string(), "cannot read /nowhere");
    }
}
