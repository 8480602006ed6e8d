//! The platform's user directory over HTTP (protocol, section 2).

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{
    AccountReport, Directory, DirectoryError, HistoryId, Instance, Lookup, MachineLocation,
    MachineReport, ManagedMachine, UserId,
};
use postbell_http::{ResponseError, drain, read_response};
use postbell_protocol::api::{
    DeliveryTarget, FoundUsers, GatewayTokenAnswer, HistoryIdReport, MachineStart, PushAccount,
    RelayLookup, RelayUser, RunningReport, UserRequest,
};
use postbell_protocol::routes;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

/// The time-out of a request. A push waits for it, and Google gives a push at least 10 s.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer of a platform that revokes none may be used.
const UNREVOKED: Duration = Duration::from_secs(5);

/// How long any answer may be used, whatever the platform says.
const LONGEST_FRESH: Duration = Duration::from_secs(60);

/// After how many look-ups by older questions the platform is asked the one for all again: it may have been
/// replaced by a newer one.
const ASK_AGAIN_AFTER: u32 = 1000;

/// The longest response: one user's data.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// The platform's user directory over HTTP.
pub struct HttpDirectory {
    client: Client,
    url: Url,
    api_key: SecretString,
    /// How many look-ups are still made by older questions: the platform does not know the one for all.
    older: AtomicU32,
}

impl HttpDirectory {
    /// Uses the platform at `url`, authenticated by `api_key`.
    #[must_use]
    pub fn new(client: Client, url: Url, api_key: SecretString) -> Self {
        Self {
            client,
            url,
            api_key,
            older: AtomicU32::new(0),
        }
    }

    /// Looks a user up as a platform can be asked that does not know [`routes::LOOKUP`], as KiloClaw's.
    async fn look_up_by_older(&self, user: &UserId) -> Result<Option<Lookup>, DirectoryError> {
        let (instance, push_account) =
            tokio::try_join!(self.instance(user), self.push_account(user))?;
        Ok(instance.map(|instance| Lookup {
            instance,
            push_account,
            token: None,
            fresh_for: UNREVOKED,
        }))
    }

    fn request(&self, method: reqwest::Method, route: &str) -> RequestBuilder {
        let base = self.url.as_str().trim_end_matches('/');
        self.client
            .request(method, format!("{base}{route}"))
            .timeout(TIMEOUT)
            .header(routes::INTERNAL_API_KEY, self.api_key.expose_secret())
    }

    async fn post(&self, route: &str, body: &impl Serialize) -> Result<Response, DirectoryError> {
        let request = self.request(reqwest::Method::POST, route);
        send(request.json(body)).await
    }

    /// Gets a user's data; `None` if the platform has no such user.
    async fn get_of_user<T: DeserializeOwned>(
        &self,
        route: &str,
        user: &UserId,
    ) -> Result<Option<T>, DirectoryError> {
        self.get(route, ("userId", user.as_str())).await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        route: &str,
        by: (&str, &str),
    ) -> Result<Option<T>, DirectoryError> {
        let request = self.request(reqwest::Method::GET, route);
        let response = send(request.query(&[by])).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => {
                let text = read_response(response, MAX_RESPONSE_BYTES)
                    .await
                    .map_err(unreadable)?;
                serde_json::from_slice(&text)
                    .map(Some)
                    .map_err(|_| unexpected("something that is not in the protocol"))
            }
            status => Err(unexpected_status(status)),
        }
    }
}

#[async_trait]
impl Directory for HttpDirectory {
    async fn look_up(&self, user: &UserId) -> Result<Option<Lookup>, DirectoryError> {
        let one_less = |left: u32| left.checked_sub(1);
        let order = Ordering::Relaxed;
        if self.older.fetch_update(order, order, one_less).is_ok() {
            return self.look_up_by_older(user).await;
        }
        match self.get_of_user::<RelayLookup>(routes::LOOKUP, user).await {
            Ok(Some(answer)) => Ok(answer.user.map(lookup)),
            Err(error) => Err(error),
            // A platform that knows the question answers 200 for an unknown user, too.
            Ok(None) => {
                let found = self.look_up_by_older(user).await?;
                if found.is_some() {
                    self.older.store(ASK_AGAIN_AFTER, order);
                }
                Ok(found)
            }
        }
    }

    async fn instance(&self, user: &UserId) -> Result<Option<Instance>, DirectoryError> {
        let target: Option<DeliveryTarget> = self.get_of_user(routes::STATUS, user).await?;
        Ok(target.map(instance))
    }

    async fn push_account(&self, user: &UserId) -> Result<Option<String>, DirectoryError> {
        let account: Option<PushAccount> = self.get_of_user(routes::OIDC_EMAIL, user).await?;
        Ok(account.and_then(|account| account.gmail_push_oidc_email))
    }

    async fn gateway_token(&self, user: &UserId) -> Result<Option<SecretString>, DirectoryError> {
        let token: Option<GatewayTokenAnswer> =
            self.get_of_user(routes::GATEWAY_TOKEN, user).await?;
        Ok(token.map(|token| token.gateway_token))
    }

    async fn users_by_email(&self, email: &str) -> Result<Vec<UserId>, DirectoryError> {
        let found: Option<FoundUsers> = self.get(routes::USER_BY_EMAIL, ("email", email)).await?;
        Ok(found.map(FoundUsers::into_ids).unwrap_or_default())
    }

    async fn users_by_sandbox(&self, sandbox_id: &str) -> Result<Vec<UserId>, DirectoryError> {
        let by = ("sandboxId", sandbox_id);
        let found: Option<FoundUsers> = self.get(routes::USER_BY_SANDBOX, by).await?;
        Ok(found.map(FoundUsers::into_ids).unwrap_or_default())
    }

    async fn report_history_id(
        &self,
        user: &UserId,
        history_id: HistoryId,
    ) -> Result<(), DirectoryError> {
        let body = HistoryIdReport::new(user, history_id);
        let response = self.post(routes::HISTORY_ID, &body).await?;
        let status = response.status();
        drain(response).await;
        if status.is_success() {
            Ok(())
        } else {
            Err(unexpected_status(status))
        }
    }

    async fn start_machine(&self, user: &UserId) -> Result<bool, DirectoryError> {
        let response = self.post(routes::WAKE, &UserRequest::new(user)).await?;
        match response.status() {
            StatusCode::OK => {
                let text = read_response(response, MAX_RESPONSE_BYTES);
                let text = text.await.map_err(unreadable)?;
                let start: MachineStart = serde_json::from_slice(&text)
                    .map_err(|_| unexpected("something that is not in the protocol"))?;
                Ok(start.starting)
            }
            // A platform that starts no machines does not have the route.
            StatusCode::NOT_FOUND => {
                drain(response).await;
                Ok(false)
            }
            status => Err(unexpected_status(status)),
        }
    }

    async fn report_running(
        &self,
        user: &UserId,
        report: MachineReport,
        accounts: Option<&[AccountReport]>,
    ) -> Result<(), DirectoryError> {
        let body = RunningReport::new(user, report, accounts);
        let response = self.post(routes::RUNNING, &body).await?;
        let status = response.status();
        drain(response).await;
        if status.is_success() || status == StatusCode::NOT_FOUND {
            Ok(())
        } else {
            Err(unexpected_status(status))
        }
    }
}

fn lookup(user: RelayUser) -> Lookup {
    Lookup {
        instance: instance(user.target),
        push_account: user.account.gmail_push_oidc_email,
        token: Some(user.token.gateway_token),
        fresh_for: Duration::from_millis(user.fresh_for_ms).min(LONGEST_FRESH),
    }
}

fn instance(target: DeliveryTarget) -> Instance {
    Instance {
        sandbox_id: target.sandbox_id,
        status: target.status,
        location: location(target.url, target.fly_app_name, target.fly_machine_id),
        google_connected: target.google_connected,
        email: target
            .google_account_email
            .and_then(|email| email.parse().ok()),
        notifications_enabled: target.gmail_notifications_enabled,
        problem: target.problem,
    }
}

fn location(url: Option<Url>, app: Option<String>, machine: Option<String>) -> MachineLocation {
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

/// Removes the URL, which contains the user id, from the error.
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
