//! Administration of Google Cloud over REST: projects, enabled APIs, service accounts, topics,
//! subscriptions and their policies.
//!
//! Every call goes through [`Api`], which classifies refusals. A call is made once; the caller
//! decides about repeats.

mod accounts;
mod mailbox;
mod operation;
mod policy;
mod projects;
mod pubsub;
mod refusal;
mod services;

use std::sync::Arc;
use std::time::Duration;

use postbell_http::{read_error, read_response, retry_after};
use reqwest::{Client, Method};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::sleep;
use url::Url;

pub use self::accounts::{ServiceAccounts, push_account_email};
pub use self::mailbox::Mailbox;
pub use self::operation::Operation;
pub use self::policy::Policy;
pub use self::projects::{Project, Projects};
pub use self::pubsub::{Delivery, PubSubAdmin, PushSubscription, Subscription, Waiting};
pub use self::refusal::{CloudError, Refusal, RefusalKind};
pub use self::services::Services;
use crate::oauth::TokenSource;

/// The timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest response: a page of projects has some kilobytes.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;

/// The wait before a policy change is repeated after a conflict
/// (<https://cloud.google.com/iam/docs/retry-strategy>).
const POLICY_PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
];

/// One of Google's APIs, called with `tokens`.
#[derive(Clone)]
pub struct Api {
    client: Client,
    url: Url,
    tokens: Arc<TokenSource>,
}

impl Api {
    /// The API at the base URL `url`.
    #[must_use]
    pub fn new(client: Client, url: Url, tokens: Arc<TokenSource>) -> Self {
        Self {
            client,
            url,
            tokens,
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CloudError> {
        self.call(Method::GET, path, None).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: Value) -> Result<T, CloudError> {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn delete(&self, path: &str) -> Result<Value, CloudError> {
        self.call(Method::DELETE, path, None).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<T, CloudError> {
        let bytes = self.send(method, path, body).await?;
        serde_json::from_slice(&bytes)
            .map_err(|_| CloudError::unavailable("its answer cannot be read"))
    }

    /// Calls once, and returns the successful response.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Vec<u8>, CloudError> {
        let token = self.tokens.access_token().await?;
        let base = self.url.as_str().trim_end_matches('/');
        let request = self
            .client
            .request(method, format!("{base}/{path}"))
            .timeout(TIMEOUT)
            .bearer_auth(token.expose_secret());
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await;
        let answer = answer.map_err(|error| CloudError::unavailable(error.without_url()))?;
        let status = answer.status();
        if status.is_success() {
            let read = read_response(answer, LONGEST_ANSWER).await;
            return read.map_err(CloudError::unavailable);
        }
        let wait = retry_after(answer.headers(), self.tokens.clock().now());
        let error = CloudError::of(status.as_u16(), &read_error(answer).await, wait);
        if matches!(error, CloudError::Unauthorized) {
            self.tokens.forget(&token).await;
        }
        Err(error)
    }

    /// Reads, changes and writes a resource's policy, again after a conflict. Returns whether it
    /// was changed.
    async fn change_policy(
        &self,
        read: PolicyRead,
        resource: &str,
        change: impl Fn(&mut Policy) -> bool,
    ) -> Result<bool, CloudError> {
        let mut pauses = POLICY_PAUSES.into_iter();
        loop {
            let mut policy = self.policy(read, resource).await?;
            if !change(&mut policy) {
                return Ok(false);
            }
            let written = self
                .post::<Value>(&format!("{resource}:setIamPolicy"), policy.to_write())
                .await;
            match written {
                Ok(_) => return Ok(true),
                Err(error) if error.is(RefusalKind::Conflict) => match pauses.next() {
                    Some(pause) => sleep(pause).await,
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads a policy, conditional bindings included.
    async fn policy(&self, read: PolicyRead, resource: &str) -> Result<Policy, CloudError> {
        match read {
            PolicyRead::ByGet => {
                self.get(&format!(
                    "{resource}:getIamPolicy?options.requestedPolicyVersion=3"
                ))
                .await
            }
            PolicyRead::ByPost => {
                let path = format!("{resource}:getIamPolicy?options.requestedPolicyVersion=3");
                self.post(&path, serde_json::json!({})).await
            }
        }
    }
}

/// How an API returns a policy: Pub/Sub by GET, IAM by POST.
#[derive(Clone, Copy)]
enum PolicyRead {
    ByGet,
    ByPost,
}
