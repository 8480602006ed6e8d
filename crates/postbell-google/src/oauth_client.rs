//! The file of an OAuth client, as Google's console provides it
//! (<https://googleapis.github.io/google-api-python-client/docs/client-secrets.html>).

use std::path::{Path, PathBuf};

use postbell_protocol::private_file::{FileError, read_small};
use secrecy::SecretString;
use serde::Deserialize;

/// The suffix of a client's id.
const SUFFIX: &str = ".apps.googleusercontent.com";

/// An OAuth client of a desktop app.
#[derive(Clone, Debug)]
pub struct OAuthClient {
    /// Its id, which begins with the project's number.
    pub id: String,
    /// Its secret. A desktop client's is not confidential, but Google requires it.
    pub secret: SecretString,
    /// The project's id, if the file contains it.
    pub project_id: Option<String>,
}

/// Why a file is not accepted. Contains nothing of its content.
#[derive(Debug, thiserror::Error)]
pub enum OAuthClientError {
    /// The file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] FileError),

    /// The file is not an OAuth client.
    #[error(
        "{file} is no OAuth client's file: expected JSON with \"installed\", as the console downloads it"
    )]
    NoClient {
        /// The file.
        file: PathBuf,
    },

    /// The client is not a desktop client, so the browser cannot be redirected to this machine.
    #[error("{file} is of a web application: expected a client of the type \"Desktop app\"")]
    NotDesktop {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Deserialize)]
struct File {
    installed: Option<Client>,
    web: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Client {
    client_id: String,
    client_secret: SecretString,
    project_id: Option<String>,
}

impl OAuthClient {
    /// Reads the file of a desktop app's client.
    ///
    /// # Errors
    ///
    /// [`OAuthClientError`] names the file and what was expected.
    pub fn from_file(file: &Path) -> Result<Self, OAuthClientError> {
        let text = read_small(file)?;
        let no_client = || OAuthClientError::NoClient {
            file: file.to_owned(),
        };
        let found: File = serde_json::from_slice(&text).map_err(|_| no_client())?;
        match (found.installed, found.web) {
            (Some(client), _) if client.client_id.ends_with(SUFFIX) => Ok(Self {
                id: client.client_id,
                secret: client.client_secret,
                project_id: client.project_id,
            }),
            (None, Some(_)) => Err(OAuthClientError::NotDesktop {
                file: file.to_owned(),
            }),
            _ => Err(no_client()),
        }
    }

    /// The project's number: the digits before the first hyphen of the id.
    #[must_use]
    pub fn project_number(&self) -> Option<&str> {
        let (number, _) = self.id.split_once('-')?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<OAuthClient, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client.json");
        std::fs::write(&file, text).unwrap();
        OAuthClient::from_file(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn a_desktop_client_is_read_with_its_project() {
        let text = r#"{"installed":{"client_id":"415104041262-x.apps.googleusercontent.com",
            "client_secret":"hunter2","project_id":"p","redirect_uris":["http://localhost"]}}"#;
        let client = read_text(text).unwrap();
        assert_eq!(client.project_number(), Some("415104041262"));
        assert_eq!(client.project_id.as_deref(), Some("p"));
        assert!(!format!("{client:?}").contains("hunter2"));
    }

    #[test]
    fn another_kind_of_client_is_refused_without_its_content() {
        for (text, expected) in [
            ("hunter2", "no OAuth client's file"),
            ("{}", "no OAuth client's file"),
            (
                r#"{"web":{"client_id":"1-x.apps.googleusercontent.com","client_secret":"hunter2"}}"#,
                "Desktop app",
            ),
            (
                r#"{"installed":{"client_id":"hunter2","client_secret":"hunter2"}}"#,
                "no OAuth client's file",
            ),
            (
                r#"{"type":"service_account","private_key":"hunter2"}"#,
                "no OAuth client's file",
            ),
        ] {
            let message = read_text(text).unwrap_err();
            assert!(
                message.contains(expected) && !message.contains("hunter2"),
                "{message}"
            );
        }
    }
}
