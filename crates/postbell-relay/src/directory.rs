//! The platform as a directory, over HTTP (contract, section 2).

use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{
    Directory, DirectoryError, HistoryId, Instance, InstanceStatus, MachineLocation,
    ManagedMachine, Timestamp, UserId,
};
use postbell_http::{ResponseError, read_response};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

/// The header that shows the platform who asks.
pub(crate) const KEY_HEADER: &str = "x-internal-api-key";

/// How long an answer may take. A push waits for it, and Google gives a push 10 s and more.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest answer that is read: what is known of one user.
const LONGEST_ANSWER: usize = 64 * 1024;

/// The platform as a directory, over HTTP.
pub struct HttpDirectory {
    client: Client,
    url: Url,
    api_key: SecretString,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    sandbox_id: String,
    status: InstanceStatus,
    fly_app_name: Option<String>,
    fly_machine_id: Option<String>,
    /// Ours: KiloClaw's machines are all on Fly.
    #[serde(default)]
    url: Option<Url>,
    google_connected: bool,
    gmail_notifications_enabled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Whose {
    user_id: UserId,
}

#[derive(Deserialize)]
struct Woken {
    starting: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PushAccount {
    gmail_push_oidc_email: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GatewayToken {
    gateway_token: SecretString,
}

impl HttpDirectory {
    /// The directory at `url`, asked with `api_key`.
    #[must_use]
    pub fn new(client: Client, url: Url, api_key: SecretString) -> Self {
        Self {
            client,
            url,
            api_key,
        }
    }

    fn request(&self, method: reqwest::Method, operation: &str) -> RequestBuilder {
        let base = self.url.as_str().trim_end_matches('/');
        self.client
            .request(method, format!("{base}/api/platform/{operation}"))
            .timeout(TIMEOUT)
            .header(KEY_HEADER, self.api_key.expose_secret())
    }

    async fn tell(&self, operation: &str, body: &Value) -> Result<Response, DirectoryError> {
        let request = self.request(reqwest::Method::POST, operation);
        send(request.json(body)).await
    }

    /// Asks about a user; `None` where the platform has no such instance.
    async fn about<T: DeserializeOwned>(
        &self,
        operation: &str,
        user: &UserId,
    ) -> Result<Option<T>, DirectoryError> {
        self.look_up(operation, ("userId", user.as_str())).await
    }

    async fn look_up<T: DeserializeOwned>(
        &self,
        operation: &str,
        by: (&str, &str),
    ) -> Result<Option<T>, DirectoryError> {
        let request = self.request(reqwest::Method::GET, operation);
        let answer = send(request.query(&[by])).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => {
                let text = read_response(answer, LONGEST_ANSWER)
                    .await
                    .map_err(unreadable)?;
                serde_json::from_slice(&text)
                    .map(Some)
                    .map_err(|_| unexpected("something that the contract does not know"))
            }
            status => Err(unexpected_status(status)),
        }
    }
}

#[async_trait]
impl Directory for HttpDirectory {
    async fn instance(&self, user: &UserId) -> Result<Option<Instance>, DirectoryError> {
        let status: Option<Status> = self.about("status", user).await?;
        Ok(status.map(|status| Instance {
            sandbox_id: status.sandbox_id,
            status: status.status,
            place: place(status.url, status.fly_app_name, status.fly_machine_id),
            google_connected: status.google_connected,
            notifications_enabled: status.gmail_notifications_enabled,
        }))
    }

    async fn push_account(&self, user: &UserId) -> Result<Option<String>, DirectoryError> {
        let account: Option<PushAccount> = self.about("gmail-oidc-email", user).await?;
        Ok(account.and_then(|account| account.gmail_push_oidc_email))
    }

    async fn gateway_token(&self, user: &UserId) -> Result<Option<SecretString>, DirectoryError> {
        let token: Option<GatewayToken> = self.about("gateway-token", user).await?;
        Ok(token.map(|token| token.gateway_token))
    }

    async fn user_by_email(&self, email: &str) -> Result<Option<UserId>, DirectoryError> {
        let whose: Option<Whose> = self.look_up("user-by-email", ("email", email)).await?;
        Ok(whose.map(|whose| whose.user_id))
    }

    async fn user_by_sandbox(&self, sandbox_id: &str) -> Result<Option<UserId>, DirectoryError> {
        let by = ("sandboxId", sandbox_id);
        let whose: Option<Whose> = self.look_up("user-by-sandbox", by).await?;
        Ok(whose.map(|whose| whose.user_id))
    }

    async fn report_history_id(
        &self,
        user: &UserId,
        history_id: HistoryId,
    ) -> Result<(), DirectoryError> {
        let body = json!({ "userId": user, "historyId": history_id });
        let answer = self.tell("gmail-history-id", &body).await?;
        let status = answer.status();
        read_to_its_end(answer).await?;
        if status.is_success() {
            Ok(())
        } else {
            Err(unexpected_status(status))
        }
    }

    async fn wake(&self, user: &UserId) -> Result<bool, DirectoryError> {
        let answer = self.tell("wake", &json!({ "userId": user })).await?;
        match answer.status() {
            StatusCode::OK => {
                let woken: Woken = answer.json().await.map_err(unavailable)?;
                Ok(woken.starting)
            }
            // A platform that starts no machines does not know the question.
            StatusCode::NOT_FOUND => read_to_its_end(answer).await.map(|()| false),
            status => Err(unexpected_status(status)),
        }
    }

    async fn report_running(
        &self,
        user: &UserId,
        watch_expires_at: Option<Timestamp>,
    ) -> Result<(), DirectoryError> {
        let mut body = json!({ "userId": user });
        if let Some(expires_at) = watch_expires_at {
            body["watchExpiresAt"] = json!(expires_at);
        }
        let answer = self.tell("running", &body).await?;
        let status = answer.status();
        read_to_its_end(answer).await?;
        if status.is_success() || status == StatusCode::NOT_FOUND {
            Ok(())
        } else {
            Err(unexpected_status(status))
        }
    }
}

/// So that the connection can be used again.
async fn read_to_its_end(answer: Response) -> Result<(), DirectoryError> {
    answer.bytes().await.map(drop).map_err(unavailable)
}

fn place(url: Option<Url>, app: Option<String>, machine: Option<String>) -> MachineLocation {
    match (url, app, machine) {
        (Some(url), ..) => MachineLocation::Url(url),
        (None, Some(app), Some(machine)) => {
            MachineLocation::Managed(ManagedMachine { app, machine })
        }
        _ => MachineLocation::Unknown,
    }
}

async fn send(request: RequestBuilder) -> Result<Response, DirectoryError> {
    request.send().await.map_err(unavailable)
}

/// The URL, which holds the user, stays out of the error.
fn unavailable(error: reqwest::Error) -> DirectoryError {
    DirectoryError::Unavailable(error.without_url().into())
}

fn unreadable(error: ResponseError) -> DirectoryError {
    match error {
        ResponseError::Broken(cause) => DirectoryError::Unavailable(cause),
        ResponseError::TooLarge => unexpected("more than the protocol allows"),
    }
}

fn unexpected_status(status: StatusCode) -> DirectoryError {
    if status.is_server_error() {
        DirectoryError::Unavailable(format!("it answered {}", status.as_u16()).into())
    } else {
        unexpected(&status.as_u16().to_string())
    }
}

fn unexpected(what: &str) -> DirectoryError {
    DirectoryError::Unexpected {
        what: what.to_owned(),
    }
}
