//! OAuth clients and consent screens, as set up on the console's Google Auth Platform pages
//! (<https://support.google.com/cloud/answer/15549945>).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::OAuth;
use crate::rng::random_hex;

/// Lifetime of a grant while the consent screen is in testing, in seconds: seven days
/// (<https://developers.google.com/identity/protocols/oauth2#expiration>).
pub(super) const TESTING_LIFE: i64 = 7 * 24 * 60 * 60;

/// Publishing status of a project's consent screen.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Publishing {
    /// In testing: only listed testers, and grants last seven days.
    Testing,
    /// In production: any account.
    #[default]
    InProduction,
    /// Internal: only accounts of the project's organisation.
    Internal,
}

/// Consent screen of a project.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Audience {
    /// Publishing status.
    pub publishing: Publishing,
    /// Addresses that may consent while it is in testing.
    pub testers: Vec<String>,
}

impl Audience {
    pub(super) fn admits(&self, email: &str) -> bool {
        let is_tester = |tester: &String| tester.eq_ignore_ascii_case(email);
        self.publishing != Publishing::Testing || self.testers.iter().any(is_tester)
    }
}

/// An OAuth client.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) secret: String,
    /// The id of the project that it belongs to.
    pub(super) project: String,
    pub(super) kind: ClientKind,
    /// Registered redirect URIs of a web application.
    pub(super) redirect_uris: Vec<String>,
}

/// Type of an OAuth client.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum ClientKind {
    /// A desktop app: redirects to loopback addresses.
    #[default]
    Installed,
    /// A web application: redirects to one of its registered URIs.
    Web,
}

impl OAuth {
    /// Creates an OAuth client as the console does, and returns the JSON file to download.
    pub fn add_client(&self, project: &str, project_number: &str, kind: ClientKind) -> Value {
        self.put_client(project, project_number, kind, Vec::new())
    }

    /// Creates a web application's client with these redirect URIs, and returns the JSON file to download.
    pub fn add_web_client(
        &self,
        project: &str,
        project_number: &str,
        redirect_uris: Vec<String>,
    ) -> Value {
        self.put_client(project, project_number, ClientKind::Web, redirect_uris)
    }

    fn put_client(
        &self,
        project: &str,
        project_number: &str,
        kind: ClientKind,
        redirect_uris: Vec<String>,
    ) -> Value {
        let id = format!(
            "{project_number}-{}.apps.googleusercontent.com",
            random_hex(16)
        );
        let client = Client {
            secret: format!("GOCSPX-{}", random_hex(14)),
            project: project.to_owned(),
            kind,
            redirect_uris,
        };
        let file = client.file(&id);
        self.desk.lock().clients.insert(id, client);
        file
    }

    /// The JSON file of the predefined client.
    #[must_use]
    pub fn client_file(&self) -> Value {
        let desk = self.desk.lock();
        let client = desk.clients.get(&self.client_id);
        client.map_or(Value::Null, |client| client.file(&self.client_id))
    }

    /// Sets the consent screen of a project.
    pub fn set_audience(&self, project: &str, audience: Audience) {
        let mut desk = self.desk.lock();
        desk.audiences.insert(project.to_owned(), audience);
    }
}

impl Client {
    /// The JSON file as the console offers it.
    fn file(&self, id: &str) -> Value {
        let kind = match self.kind {
            ClientKind::Installed => "installed",
            ClientKind::Web => "web",
        };
        json!({ kind: {
            "client_id": id,
            "project_id": self.project,
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": "https://oauth2.googleapis.com/token",
            "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
            "client_secret": self.secret,
            "redirect_uris": match self.kind {
                ClientKind::Installed => vec!["http://localhost".to_owned()],
                ClientKind::Web => self.redirect_uris.clone(),
            },
        }})
    }

    /// Whether the redirect URI is allowed: for a web application one that is registered, for a desktop app, loopback addresses are
    /// (<https://developers.google.com/identity/protocols/oauth2/native-app>).
    pub(super) fn redirects_to(&self, uri: &reqwest::Url) -> bool {
        if self.kind == ClientKind::Web {
            return self.redirect_uris.iter().any(|known| known == uri.as_str());
        }
        let host = uri.host_str().unwrap_or_default();
        let is_loopback = matches!(host, "127.0.0.1" | "[::1]" | "localhost");
        uri.scheme() == "http" && is_loopback
    }
}
