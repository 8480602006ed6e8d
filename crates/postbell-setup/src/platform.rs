//! The platform, as a user's setup tool sees it (contract, section 2).

use std::time::Duration;

use postbell_http::read_response;
use postbell_protocol::credential_envelope::CredentialEnvelope;
use reqwest::{Client, Method};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use url::Url;

use crate::trouble::{Trouble, Wall};

/// How long an answer may take: a machine may be restarted for it.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The longest answer: a key, or what is known of a user.
const LONGEST_ANSWER: usize = 64 * 1024;

const PUBLIC_KEY: &str = "api/admin/public-key";
const CREDENTIALS: &str = "api/admin/google-credentials";

/// The platform, for one user.
pub(crate) struct Platform {
    client: Client,
    url: Url,
    token: SecretString,
}

/// How a user's connection stands.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Connection {
    /// Whether an account is connected.
    pub(crate) google_connected: bool,
    /// Its address.
    pub(crate) email: Option<String>,
    /// Who signs its pushes.
    pub(crate) gmail_push_oidc_email: Option<String>,
    /// Whether the user wants to be told of mail.
    pub(crate) gmail_notifications_enabled: bool,
    /// How far mail was delivered; `Some(None)` where none was, and `None` where the platform does
    /// not say, as those of others.
    #[serde(deserialize_with = "said")]
    pub(crate) gmail_last_history_id: Option<Option<String>>,
    /// After a change: it is stored, but the machine could not be restarted with it.
    pub(crate) restart_failed: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PublicKey {
    public_key: String,
}

impl Platform {
    /// The platform at `url`, for the user whose token it is.
    #[must_use]
    pub(crate) fn new(client: Client, url: Url, token: SecretString) -> Self {
        Self { client, url, token }
    }

    /// The key that credentials are encrypted with, as PEM.
    ///
    /// # Errors
    ///
    /// [`Trouble`], as of every call.
    pub(crate) async fn public_key(&self) -> Result<String, Trouble> {
        let answer: PublicKey = self.call(Method::GET, PUBLIC_KEY, None).await?;
        Ok(answer.public_key)
    }

    /// How the connection stands.
    pub(crate) async fn connection(&self) -> Result<Connection, Trouble> {
        self.call(Method::GET, CREDENTIALS, None).await
    }

    /// Connects an account, and turns notifications on.
    pub(crate) async fn connect(
        &self,
        envelope: &CredentialEnvelope,
        email: &str,
        push_account: &str,
    ) -> Result<Connection, Trouble> {
        let body = json!({ "googleCredentials": {
            "gogConfigTarball": envelope,
            "email": email,
            "gmailPushOidcEmail": push_account,
        }});
        self.call(Method::POST, CREDENTIALS, Some(body)).await
    }

    /// Forgets the account.
    pub(crate) async fn disconnect(&self) -> Result<(), Trouble> {
        let forgotten = self.call::<Value>(Method::DELETE, CREDENTIALS, None);
        forgotten.await.map(drop)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<T, Trouble> {
        let base = self.url.as_str().trim_end_matches('/');
        let request = self
            .client
            .request(method, format!("{base}/{path}"))
            .timeout(TIMEOUT)
            .bearer_auth(self.token.expose_secret());
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        let away = |_| Trouble::new(Wall::PlatformAway);
        let answer = request.send().await.map_err(away)?;
        judge(answer.status().as_u16(), path)?;
        let text = read_response(answer, LONGEST_ANSWER).await;
        let text = text.map_err(|_| Trouble::new(Wall::PlatformAway))?;
        serde_json::from_slice(&text)
            .map_err(|_| platform("what answers there is no platform of Postbell's or KiloClaw's"))
    }
}

/// Tells what is null from what is not there.
fn said<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// Says what a refusal means. What the platform says of it is not repeated: it is for programs.
fn judge(status: u16, path: &str) -> Result<(), Trouble> {
    Err(match status {
        200..=299 => return Ok(()),
        401 | 403 => Trouble::new(Wall::PlatformToken),
        404 => Trouble::new(Wall::PlatformUser),
        413 => platform("the platform takes no credentials of this size"),
        503 if path == PUBLIC_KEY => Trouble::new(Wall::PlatformKey(
            "the platform has no key that credentials could be encrypted with",
        )),
        500.. => Trouble::new(Wall::PlatformAway),
        status => platform(&format!("the platform answered {status}")),
    })
}

fn platform(problem: &str) -> Trouble {
    Trouble::new(Wall::Platform(problem.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_own_meaning() {
        let wall = |status, path| judge(status, path).unwrap_err().wall;
        assert!(judge(200, CREDENTIALS).is_ok());
        assert_eq!(wall(401, CREDENTIALS), Wall::PlatformToken);
        assert_eq!(wall(404, CREDENTIALS), Wall::PlatformUser);
        assert!(matches!(wall(413, CREDENTIALS), Wall::Platform(_)));
        assert!(matches!(wall(503, PUBLIC_KEY), Wall::PlatformKey(_)));
        // Its store is out of reach for a while.
        assert_eq!(wall(503, CREDENTIALS), Wall::PlatformAway);
    }
}
