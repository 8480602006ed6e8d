//! The platform's API for a user's setup tool (protocol, section 2).

use std::time::Duration;

use postbell_core::EmailAddress;
use postbell_http::read_response;
use postbell_protocol::api::{
    AccountStatus, Connected, ConnectionStatus, CredentialsOffer, GoogleCredentials, PublicKey,
};
use postbell_protocol::credential_envelope::CredentialEnvelope;
use postbell_protocol::routes::{ADMIN_GOOGLE_CREDENTIALS, ADMIN_PUBLIC_KEY};
use reqwest::{Client, Method};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::{Url, form_urlencoded};

use crate::error::{Blocker, Result, SetupError};
use crate::request::SetupRequest;

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

    /// The state of the user's connection: of the account with the mailbox, if there are several.
    pub(crate) async fn connection(&self, request: &SetupRequest) -> Result<ConnectionStatus> {
        let all = self.all_connections().await?;
        Ok(connection_of(all, request))
    }

    async fn all_connections(&self) -> Result<ConnectionStatus> {
        self.call(Method::GET, ADMIN_GOOGLE_CREDENTIALS, None).await
    }

    /// Connects an account, beside the user's others if it is a further one, and enables notifications.
    pub(crate) async fn connect(
        &self,
        envelope: CredentialEnvelope,
        email: &str,
        push_account: &str,
        is_further: bool,
    ) -> Result<Connected> {
        if is_further
            && self
                .all_connections()
                .await?
                .gmail_last_history_id
                .is_none()
        {
            // It would replace the account.
            return Err(refused("the platform connects one account for each user"));
        }
        let credentials = GoogleCredentials {
            gog_config_tarball: envelope,
            email: Some(email.to_owned()),
            gmail_push_oidc_email: Some(push_account.to_owned()),
        };
        let body = CredentialsOffer::new(&credentials);
        let mut body =
            body.map_err(|error| SetupError::new(Blocker::Internal(error.to_string())))?;
        body.further_account = is_further;
        self.call(Method::POST, ADMIN_GOOGLE_CREDENTIALS, Some(body))
            .await
    }

    /// Disconnects the first account, or the one with a mailbox. Returns `false` if no account has that mailbox.
    pub(crate) async fn disconnect(&self, mailbox: Option<&str>) -> Result<bool> {
        let mut path = ADMIN_GOOGLE_CREDENTIALS.to_owned();
        if let Some(mailbox) = mailbox {
            let Ok(mailbox) = mailbox.parse::<EmailAddress>() else {
                return Ok(false);
            };
            let all = self.all_connections().await?;
            if let Some(account) = further_of(&all, &mailbox) {
                path.push_str("?account=");
                path.extend(form_urlencoded::byte_serialize(account.user_id.as_bytes()));
            } else if !is_of(all.email.as_deref(), &mailbox) {
                return Ok(false);
            }
        }
        let answer = self.call::<Value>(Method::DELETE, &path, None);
        answer.await.map(|_| true)
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
        serde_json::from_slice(&text).map_err(|_| SetupError::new(Blocker::NoPlatform))
    }
}

fn is_of(email: Option<&str>, mailbox: &EmailAddress) -> bool {
    email.is_some_and(|email| mailbox.is_same_mailbox(email))
}

/// The further account with a mailbox.
fn further_of<'a>(all: &'a ConnectionStatus, mailbox: &EmailAddress) -> Option<&'a AccountStatus> {
    let mut further = all.further_accounts.iter();
    further.find(|account| is_of(account.google_account_email.as_deref(), mailbox))
}

/// The connection that a request is about.
fn connection_of(all: ConnectionStatus, request: &SetupRequest) -> ConnectionStatus {
    let Some(mailbox) = &request.mailbox else {
        return all;
    };
    match further_of(&all, mailbox) {
        Some(account) => ConnectionStatus {
            google_connected: true,
            email: account.google_account_email.clone(),
            gmail_push_oidc_email: account.gmail_push_oidc_email.clone(),
            gmail_notifications_enabled: account.gmail_notifications_enabled,
            gmail_last_history_id: Some(account.gmail_last_history_id.clone()),
            further_accounts: Vec::new(),
        },
        None if request.is_further() && !is_of(all.email.as_deref(), mailbox) => ConnectionStatus {
            gmail_last_history_id: all.gmail_last_history_id.map(|_| None),
            ..ConnectionStatus::default()
        },
        None => all,
    }
}

/// Classifies a status. The body of a refusal is meant for programs and not shown.
fn check_status(status: u16, path: &str) -> Result<()> {
    Err(match status {
        200..=299 => return Ok(()),
        401 | 403 => SetupError::new(Blocker::PlatformToken),
        // The platform's own key does not depend on a user.
        404 if path == ADMIN_PUBLIC_KEY => SetupError::new(Blocker::NoPlatform),
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
    use serde_json::json;

    use super::*;
    use crate::request::Destination;

    #[test]
    fn the_connection_is_that_of_the_mailbox() {
        let all = json!({
            "googleConnected": true, "email": "ann@example.com", "gmailNotificationsEnabled": true,
            "gmailLastHistoryId": "7", "furtherAccounts": [{
                "userId": "ann.1", "googleAccountEmail": "first.last@gmail.com",
                "gmailPushOidcEmail": "push@p.iam.gserviceaccount.com", "googleConnectedAt": 1,
                "gmailNotificationsEnabled": false, "gmailLastHistoryId": "9",
            }],
        });
        let shown = |mailbox: &str, is_further| {
            let request = SetupRequest {
                mailbox: Some(mailbox.parse().unwrap()),
                destination: Some(Destination::Platform {
                    platform: "https://bell.example.com".parse().unwrap(),
                    relay: "https://push.example.com".parse().unwrap(),
                    user: "ann".parse().unwrap(),
                    token: None,
                    is_further,
                }),
                ..SetupRequest::default()
            };
            let all = serde_json::from_value(all.clone()).unwrap();
            let of = connection_of(all, &request);
            (of.google_connected, of.gmail_last_history_id.unwrap())
        };
        for is_further in [false, true] {
            let nine = (true, Some("9".to_owned()));
            assert_eq!(shown("FirstLast@gmail.com", is_further), nine);
            let seven = (true, Some("7".to_owned()));
            assert_eq!(shown("ann@example.com", is_further), seven);
        }
        assert_eq!(shown("new@example.com", true), (false, None));
    }

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
        assert_eq!(blocker(404, ADMIN_PUBLIC_KEY), Blocker::NoPlatform);
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
