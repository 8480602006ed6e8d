//! The platform's API for a user's setup tool (protocol, section 2).

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

use crate::error::{Blocker, Result, SetupError};

/// Long enough for a machine to restart.
const TIMEOUT: Duration = Duration::from_secs(60);

const MAX_BODY: usize = 64 * 1024;

/// A client of the platform for one user.
pub(crate) struct PlatformClient {
    client: Client,
    url: Url,
    token: SecretString,
}

impl PlatformClient {
    /// A client of the platform at `url` with a user token.
    pub(crate) fn new(client: Client, url: Url, token: SecretString) -> Self {
        Self { client, url, token }
    }

    /// The public key for credentials, as PEM.
    pub(crate) async fn public_key(&self) -> Result<String> {
        let answer: PublicKey = self.call(Method::GET, ADMIN_PUBLIC_KEY, None).await?;
        Ok(answer.public_key)
    }

    /// The public URL of the platform's relay, if the platform names it.
    pub(crate) async fn relay(&self) -> Result<Option<Url>> {
        let answer: PublicKey = self.call(Method::GET, ADMIN_PUBLIC_KEY, None).await?;
        Ok(answer.relay_url.and_then(|url| url.parse().ok()))
    }

    /// The state of the user's connection.
    pub(crate) async fn connection(&self) -> Result<ConnectionStatus> {
        self.call(Method::GET, ADMIN_GOOGLE_CREDENTIALS, None).await
    }

    /// Connects an account and enables notifications.
    pub(crate) async fn connect(
        &self,
        envelope: CredentialEnvelope,
        email: &str,
        push_account: &str,
    ) -> Result<Connected> {
        let credentials = GoogleCredentials {
            gog_config_tarball: envelope,
            email: Some(email.to_owned()),
            gmail_push_oidc_email: Some(push_account.to_owned()),
        };
        let body = CredentialsOffer::new(&credentials);
        let body = body.map_err(|error| SetupError::new(Blocker::Internal(error.to_string())))?;
        self.call(Method::POST, ADMIN_GOOGLE_CREDENTIALS, Some(body))
            .await
    }

    /// Disconnects the account.
    pub(crate) async fn disconnect(&self) -> Result<()> {
        let answer = self.call::<Value>(Method::DELETE, ADMIN_GOOGLE_CREDENTIALS, None);
        answer.await.map(drop)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<CredentialsOffer>,
    ) -> Result<T> {
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
        let unavailable = |_| SetupError::new(Blocker::PlatformUnavailable);
        let answer = request.send().await.map_err(unavailable)?;
        check_status(answer.status().as_u16(), path)?;
        let text = read_response(answer, MAX_BODY).await;
        let text = text.map_err(|_| SetupError::new(Blocker::PlatformUnavailable))?;
        serde_json::from_slice(&text)
            .map_err(|_| refused("the answer is not from a Postbell or KiloClaw platform"))
    }
}

/// Classifies a status. The body of a refusal is meant for programs and not shown.
fn check_status(status: u16, path: &str) -> Result<()> {
    Err(match status {
        200..=299 => return Ok(()),
        401 | 403 => SetupError::new(Blocker::PlatformToken),
        404 => SetupError::new(Blocker::PlatformUser),
        413 => refused("the credentials are too large for the platform"),
        503 if path == ADMIN_PUBLIC_KEY => SetupError::new(Blocker::PlatformKey(
            "the platform has no key to encrypt credentials with",
        )),
        500.. => SetupError::new(Blocker::PlatformUnavailable),
        status => refused(&format!("the platform answered {status}")),
    })
}

fn refused(problem: &str) -> SetupError {
    SetupError::new(Blocker::Platform(problem.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_own_blocker() {
        let blocker = |status, path| check_status(status, path).unwrap_err().blocker;
        assert!(check_status(200, ADMIN_GOOGLE_CREDENTIALS).is_ok());
        assert_eq!(
            blocker(401, ADMIN_GOOGLE_CREDENTIALS),
            Blocker::PlatformToken
        );
        assert_eq!(
            blocker(404, ADMIN_GOOGLE_CREDENTIALS),
            Blocker::PlatformUser
        );
        assert!(matches!(
            blocker(413, ADMIN_GOOGLE_CREDENTIALS),
            Blocker::Platform(_)
        ));
        assert!(matches!(
            blocker(503, ADMIN_PUBLIC_KEY),
            Blocker::PlatformKey(_)
        ));
        // Its store may be unavailable for a while.
        assert_eq!(
            blocker(503, ADMIN_GOOGLE_CREDENTIALS),
            Blocker::PlatformUnavailable
        );
    }
}
