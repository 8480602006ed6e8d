//! The controllers on the users' machines: they are asked to fetch their configuration, and whether they
//! answer.

use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{BoxError, MachineLocation, ManagedMachine, UserRecord};
use postbell_http::{drain, read_response};
use postbell_protocol::gateway_token::GatewayTokens;
use postbell_protocol::routes::{CONTROLLER_HEALTH, CONTROLLER_RELOAD, FORCE_INSTANCE_ID};
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::ExposeSecret;
use serde::Deserialize;
use url::Url;

/// The time-out of a reload: the controller fetches the configuration, and stops the watcher, which may finish a
/// request.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(25);

/// The time-out of the question whether a controller answers.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest answer to a reload.
const MAX_BODY: usize = 16 * 1024;

/// Reaches the controllers on the users' machines.
#[async_trait]
pub trait Controllers: Send + Sync {
    /// Has a controller fetch its configuration and apply it. The gateway is not restarted.
    ///
    /// # Errors
    ///
    /// The controller does not answer, or could not fetch or apply the configuration: retry later.
    async fn reload(&self, record: &UserRecord) -> Result<Reload, BoxError>;

    /// Returns whether a controller answers.
    async fn answers(&self, record: &UserRecord) -> bool;
}

/// What a controller has done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reload {
    /// It has the present configuration.
    Done,
    /// It does not fetch its configuration from a platform.
    NotSupported,
}

/// The base URL of a machine's controller, or why there is none.
pub type ControllerUrl = dyn Fn(&MachineLocation) -> Result<Url, &'static str> + Send + Sync;

/// Controllers over HTTP.
pub struct HttpControllers {
    client: Client,
    url: Box<ControllerUrl>,
    gateway_tokens: GatewayTokens,
}

/// The answer to a reload.
#[derive(Deserialize)]
struct Answer {
    ok: bool,
}

impl HttpControllers {
    /// `url` says where a controller is. `client` must not follow redirects: the requests carry the machine's token.
    #[must_use]
    pub fn new(client: Client, url: Box<ControllerUrl>, gateway_tokens: GatewayTokens) -> Self {
        Self {
            client,
            url,
            gateway_tokens,
        }
    }

    fn url(&self, record: &UserRecord, path: &str) -> Result<Url, &'static str> {
        let mut url = (self.url)(&record.location)?;
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        Ok(url)
    }
}

/// Addresses one machine of an app on Fly.
fn addressed(request: RequestBuilder, location: &MachineLocation) -> RequestBuilder {
    match location {
        MachineLocation::Managed(ManagedMachine { machine, .. }) => {
            request.header(FORCE_INSTANCE_ID, machine)
        }
        MachineLocation::Url(_) | MachineLocation::Unknown => request,
    }
}

#[async_trait]
impl Controllers for HttpControllers {
    async fn reload(&self, record: &UserRecord) -> Result<Reload, BoxError> {
        let token = self.gateway_tokens.token(&record.sandbox_id);
        let url = self.url(record, CONTROLLER_RELOAD)?;
        let request = self.client.post(url).timeout(RELOAD_TIMEOUT);
        // A proxy may want it (RFC 9110, section 8.6).
        let request = request.header(CONTENT_LENGTH, 0);
        let request = addressed(request, &record.location).bearer_auth(token.expose_secret());
        let response = request.send().await.map_err(reqwest::Error::without_url)?;
        let status = response.status();
        if status.is_success() {
            let body = read_response(response, MAX_BODY).await?;
            // A gateway behind another controller may answer any request with a page.
            let is_ours = serde_json::from_slice(&body).is_ok_and(|answer: Answer| answer.ok);
            return Ok(if is_ours {
                Reload::Done
            } else {
                Reload::NotSupported
            });
        }
        drain(response).await;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err("the machine rejects the platform's token".into())
            }
            StatusCode::CONFLICT => Err("the controller is shutting down".into()),
            // Of a proxy: a controller answers with none of them.
            StatusCode::REQUEST_TIMEOUT
            | StatusCode::LENGTH_REQUIRED
            | StatusCode::TOO_MANY_REQUESTS => {
                Err(format!("a proxy answered {}", status.as_u16()).into())
            }
            status if status.is_client_error() => Ok(Reload::NotSupported),
            status => Err(format!("the controller answered {}", status.as_u16()).into()),
        }
    }

    async fn answers(&self, record: &UserRecord) -> bool {
        let Ok(url) = self.url(record, CONTROLLER_HEALTH) else {
            return false;
        };
        let request = self.client.get(url).timeout(HEALTH_TIMEOUT);
        let Ok(response) = request.send().await else {
            return false;
        };
        let status = response.status();
        drain(response).await;
        // A proxy before the machine answers these while it does not reach it.
        !matches!(
            status,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        )
    }
}
