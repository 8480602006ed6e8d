//! The relays, which remember what they were told of users.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use postbell_core::{Timestamp, UserId};
use reqwest::{Client, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tracing::debug;
use url::Url;

use crate::api::KEY_HEADER;

/// How long a relay may take: whoever changed something waits for it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Relays that want to know. Telling them is best effort: each asks again soon by itself.
#[async_trait]
pub trait Relays: Send + Sync {
    /// Says that something about a user has changed, before whoever changed it has their answer.
    async fn user_changed(&self, user: &UserId);

    /// Passes on that a user's machine has reported in.
    async fn machine_is_up(&self, check_in: &CheckIn);
}

/// A machine that has reported in, and has shown that it is the one.
pub struct CheckIn {
    /// Whose machine.
    pub user: UserId,
    /// The name under which it reported in.
    pub sandbox_id: String,
    /// The token that it showed.
    pub token: SecretString,
    /// When Gmail's watch ends, where it knows.
    pub watch_expires_at: Option<Timestamp>,
}

impl CheckIn {
    /// As the machine sent it.
    fn body(&self) -> Value {
        let mut body = json!({ "sandboxId": self.sandbox_id });
        if let Some(expires_at) = self.watch_expires_at {
            body["watchExpiresAt"] = json!(expires_at);
        }
        body
    }
}

/// Relays that run elsewhere.
pub struct HttpRelays {
    client: Client,
    urls: Vec<Url>,
    api_key: SecretString,
}

impl HttpRelays {
    /// The relays at `urls`, which know this platform by the key that they show it.
    #[must_use]
    pub fn new(client: Client, urls: Vec<Url>, api_key: SecretString) -> Self {
        Self {
            client,
            urls,
            api_key,
        }
    }

    async fn post(&self, path: &str, request: impl Fn(RequestBuilder) -> RequestBuilder) {
        let tell = |url: &Url| {
            let base = url.as_str().trim_end_matches('/');
            let post = self.client.post(format!("{base}{path}")).timeout(TIMEOUT);
            let sent = request(post).send();
            async move {
                let told = sent.await.and_then(reqwest::Response::error_for_status);
                if let Err(error) = told {
                    // The URL may hold whatever an operator put there.
                    let error = &error.without_url() as &dyn std::error::Error;
                    debug!(error, path, "Could not tell a relay");
                }
            }
        };
        join_all(self.urls.iter().map(tell)).await;
    }
}

#[async_trait]
impl Relays for HttpRelays {
    async fn user_changed(&self, user: &UserId) {
        let body = json!({ "userId": user });
        self.post("/api/relay/forget", |post| {
            let post = post.header(KEY_HEADER, self.api_key.expose_secret());
            post.json(&body)
        })
        .await;
    }

    async fn machine_is_up(&self, check_in: &CheckIn) {
        let body = check_in.body();
        self.post("/api/controller/checkin", |post| {
            post.bearer_auth(check_in.token.expose_secret()).json(&body)
        })
        .await;
    }
}
