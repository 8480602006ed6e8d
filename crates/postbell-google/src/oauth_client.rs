//! The file of an OAuth client, as Google's console provides it
//! (<https://googleapis.github.io/google-api-python-client/docs/client-secrets.html>).

use std::path::{Path, PathBuf};

use postbell_protocol::private_file::{FileError, read_small};
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

/// The suffix of a client's id.
const SUFFIX: &str = ".apps.googleusercontent.com";

/// An OAuth client of a desktop app or a web application.
#[derive(Clone, Debug)]
pub struct OAuthClient {
    /// Its id, which begins with the project's number.
    pub id: String,
    /// Its secret, which Google requires. A desktop client's is not confidential.
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
        "{file} is not an OAuth client file: expected JSON with \"installed\", as the console downloads it"
    )]
    NoClient {
        /// The file.
        file: PathBuf,
    },

    /// The client is not a web application's.
    #[error(
        "{file} is no file of a web client: expected JSON with \"web\", as the console downloads it for a client of the type \
         \"Web application\""
    )]
    NotWeb {
        /// The file.
        file: PathBuf,
    },

    /// The client does not redirect to the pages.
    #[error("{file} has no authorized redirect URI {redirect}")]
    RedirectMissing {
        /// The file.
        file: PathBuf,
        /// The redirect URI to add.
        redirect: String,
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
    web: Option<Client>,
}

#[derive(Deserialize)]
struct Client {
    client_id: String,
    client_secret: SecretString,
    project_id: Option<String>,
    #[serde(default)]
    redirect_uris: Vec<String>,
}

impl From<Client> for OAuthClient {
    fn from(client: Client) -> Self {
        Self {
            id: client.client_id,
            secret: client.client_secret,
            project_id: client.project_id,
        }
    }
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
            (Some(client), _) if client.client_id.ends_with(SUFFIX) => Ok(client.into()),
            (None, Some(_)) => Err(OAuthClientError::NotDesktop {
                file: file.to_owned(),
            }),
            _ => Err(no_client()),
        }
    }

    /// Reads the file of a web application's client to which `redirect` was added.
    ///
    /// # Errors
    ///
    /// [`OAuthClientError`] names the file and what was expected.
    pub fn web_from_file(file: &Path, redirect: &Url) -> Result<Self, OAuthClientError> {
        let text = read_small(file)?;
        let file = file.to_owned();
        let found: Option<File> = serde_json::from_slice(&text).ok();
        let client = found.and_then(|found| found.web);
        let client = client.filter(|client| client.client_id.ends_with(SUFFIX));
        let Some(client) = client else {
            return Err(OAuthClientError::NotWeb { file });
        };
        if !client
            .redirect_uris
            .iter()
            .any(|uri| uri == redirect.as_str())
        {
            let redirect = redirect.to_string();
            return Err(OAuthClientError::RedirectMissing { file, redirect });
        }
        Ok(client.into())
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
    fn a_web_client_redirects_to_the_pages() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client.json");
        let redirect = Url::parse("https://bell.example.com/bot/google/back").unwrap();
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let read = OAuthClient::web_from_file(&file, &redirect);
            read.map_err(|error| error.to_string())
        };
        let client = r#"{"web":{"client_id":"7-x.apps.googleusercontent.com","client_secret":"hunter2",
            "redirect_uris":["https://bell.example.com/bot/google/back"]}}"#;
        assert_eq!(read(client).unwrap().project_number(), Some("7"));
        for (text, expected) in [
            (client.replace("google/back", ""), redirect.as_str()),
            (client.replace("web", "installed"), "Web application"),
            ("hunter2".to_owned(), "Web application"),
        ] {
            let message = read(&text).unwrap_err();
            assert!(
                message.contains(expected) && !message.contains("hunter2"),
                "{message}"
            );
        }
    }

    #[test]
    fn another_kind_of_client_is_refused_without_its_content() {
        for (text, expected) in [
            ("hunter2", "not an OAuth client file"),
            ("{}", "not an OAuth client file"),
            (
                r#"{"web":{"client_id":"1-x.apps.googleusercontent.com","client_secret":"hunter2"}}"#,
                "Desktop app",
            ),
            (
                r#"{"installed":{"client_id":"hunter2","client_secret":"hunter2"}}"#,
                "not an OAuth client file",
            ),
            (
                r#"{"type":"service_account","private_key":"hunter2"}"#,
                "not an OAuth client file",
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
