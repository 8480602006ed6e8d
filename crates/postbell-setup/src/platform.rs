//! The platform, as a user's setup tool sees it (contract, section 2).

use std::time::Duration;

use postbell_http::read_response;
use postbell_protocol::api::{
    Connected, ConnectionStatus, CredentialsOffer, GoogleCredentials, PublicKey,
};
use postbell_protocol::credential_envelope::CredentialEnvelope;
use postbell_protocol::routes::{ADMIN_GOOGLE_CREDENTIALS, ADMIN_PUBLIC_KEY};
use reqwest::{Client, Method};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::trouble::{Trouble, Wall};

/// How long an answer may take: a machine may be restarted for it.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The longest answer: a key, or what is known of a user.
const LONGEST_ANSWER: usize = 64 * 1024;

/// The platform, for one user.
pub(crate) struct Platform {
    client: Client,
    url: Url,
    token: SecretString,
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
        let answer: PublicKey = self.call(Method::GET, ADMIN_PUBLIC_KEY, None).await?;
        Ok(answer.public_key)
    }

    /// How the connection stands.
    pub(crate) async fn connection(&self) -> Result<ConnectionStatus, Trouble> {
        self.call(Method::GET, ADMIN_GOOGLE_CREDENTIALS, None).await
    }

    /// Connects an account, and turns notifications on.
    pub(crate) async fn connect(
        &self,
        envelope: CredentialEnvelope,
        email: &str,
        push_account: &str,
    ) -> Result<Connected, Trouble> {
        let credentials = GoogleCredentials {
            gog_config_tarball: envelope,
            email: Some(email.to_owned()),
            gmail_push_oidc_email: Some(push_account.to_owned()),
        };
        let body = CredentialsOffer::new(&credentials);
        let body = body.map_err(|error| Trouble::new(Wall::Bug(error.to_string())))?;
        self.call(Method::POST, ADMIN_GOOGLE_CREDENTIALS, Some(body))
            .await
    }

    /// Forgets the account.
    pub(crate) async fn disconnect(&self) -> Result<(), Trouble> {
        let forgotten = self.call::<Value>(Method::DELETE, ADMIN_GOOGLE_CREDENTIALS, None);
        forgotten.await.map(drop)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<CredentialsOffer>,
    ) -> Result<T, Trouble> {
        let base = self.url.as_str().trim_end_matches('/');
        let request = self
            .client
            .request(method, format!("{base}{path}"))
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

/// Says what a refusal means. What the platform says of it is not repeated: it is for programs.
fn judge(status: u16, path: &str) -> Result<(), Trouble> {
    Err(match status {
        200..=299 => return Ok(()),
        401 | 403 => Trouble::new(Wall::PlatformToken),
        404 => Trouble::new(Wall::PlatformUser),
        413 => platform("the platform takes no credentials of this size"),
        503 if path == ADMIN_PUBLIC_KEY => Trouble::new(Wall::PlatformKey(
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
        assert!(judge(200, ADMIN_GOOGLE_CREDENTIALS).is_ok());
        assert_eq!(wall(401, ADMIN_GOOGLE_CREDENTIALS), Wall::PlatformToken);
        assert_eq!(wall(404, ADMIN_GOOGLE_CREDENTIALS), Wall::PlatformUser);
        assert!(matches!(
            wall(413, ADMIN_GOOGLE_CREDENTIALS),
            Wall::Platform(_)
        ));
        assert!(matches!(wall(503, ADMIN_PUBLIC_KEY), Wall::PlatformKey(_)));
        // Its store is out of reach for a while.
        assert_eq!(wall(503, ADMIN_GOOGLE_CREDENTIALS), Wall::PlatformAway);
    }
}
