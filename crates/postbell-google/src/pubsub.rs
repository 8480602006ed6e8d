//! Pub/Sub's administration, over REST
//! (<https://cloud.google.com/pubsub/docs/reference/rest>).

use std::sync::Arc;
use std::time::Duration;

use postbell_core::BoxError;
use reqwest::{Client, Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use url::Url;

use crate::oauth::{TokenError, TokenSource};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Who publishes Gmail's notifications, and the role that lets it.
const GMAIL_PUBLISHER: &str = "serviceAccount:gmail-api-push@system.gserviceaccount.com";
const PUBLISHER_ROLE: &str = "roles/pubsub.publisher";

/// How often a change to a policy is begun again because another came between.
const POLICY_TRIES: usize = 5;

/// The topics and subscriptions of those whom `tokens` speak for.
pub struct PubSubAdmin {
    client: Client,
    url: Url,
    tokens: Arc<TokenSource>,
}

/// A subscription that pushes with a signed token.
#[derive(Clone, Debug)]
pub struct PushSubscription {
    /// `projects/P/topics/T`.
    pub topic: String,
    /// Where pushes go.
    pub endpoint: String,
    /// The audience of the token.
    pub audience: String,
    /// The service account whose token it is.
    pub service_account: String,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum PubSubError {
    /// There is no token to call with.
    #[error(transparent)]
    Token(#[from] TokenError),

    /// Pub/Sub is out of reach. The same call may succeed later.
    #[error("pub/sub is unavailable")]
    Unavailable(#[source] BoxError),

    /// Pub/Sub will not do it.
    #[error("pub/sub refused with status {status}")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
}

impl PubSubAdmin {
    /// The API whose base URL is `url`.
    #[must_use]
    pub fn new(client: Client, url: Url, tokens: Arc<TokenSource>) -> Self {
        Self {
            client,
            url,
            tokens,
        }
    }

    /// Makes the topic `projects/P/topics/T`, unless it is there.
    ///
    /// # Errors
    ///
    /// [`PubSubError`], as of every call.
    pub async fn create_topic(&self, topic: &str) -> Result<(), PubSubError> {
        self.create(topic, json!({})).await
    }

    /// Lets Gmail publish to the topic.
    pub async fn allow_gmail(&self, topic: &str) -> Result<(), PubSubError> {
        let mut conflict = PubSubError::Refused {
            status: StatusCode::CONFLICT.as_u16(),
        };
        for _ in 0..POLICY_TRIES {
            let mut policy = self
                .call(Method::GET, &format!("{topic}:getIamPolicy"), None)
                .await?;
            if !add_member(&mut policy, PUBLISHER_ROLE, GMAIL_PUBLISHER) {
                return Ok(());
            }
            let body = json!({ "policy": policy });
            match self
                .call(Method::POST, &format!("{topic}:setIamPolicy"), Some(body))
                .await
            {
                // Somebody else changed it meanwhile, as the etag shows.
                Err(error @ PubSubError::Refused { status: 409 }) => conflict = error,
                other => return other.map(drop),
            }
        }
        Err(conflict)
    }

    /// Makes the subscription `projects/P/subscriptions/S`, which never expires, unless it is
    /// there.
    pub async fn create_push_subscription(
        &self,
        name: &str,
        push: &PushSubscription,
    ) -> Result<(), PubSubError> {
        let body = json!({
            "topic": push.topic,
            "ackDeadlineSeconds": 30,
            "expirationPolicy": {},
            "retryPolicy": { "minimumBackoff": "10s", "maximumBackoff": "600s" },
            "pushConfig": {
                "pushEndpoint": push.endpoint,
                "oidcToken": {
                    "serviceAccountEmail": push.service_account,
                    "audience": push.audience,
                },
            },
        });
        self.create(name, body).await
    }

    async fn create(&self, name: &str, body: Value) -> Result<(), PubSubError> {
        match self.call(Method::PUT, name, Some(body)).await {
            Ok(_) | Err(PubSubError::Refused { status: 409 }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn call(
        &self,
        method: Method,
        name: &str,
        body: Option<Value>,
    ) -> Result<Value, PubSubError> {
        let token = self.tokens.access_token().await?;
        let base = self.url.as_str().trim_end_matches('/');
        let request = self
            .client
            .request(method, format!("{base}/v1/{name}"))
            .timeout(TIMEOUT)
            .bearer_auth(token.expose_secret());
        let request = if let Some(body) = &body {
            request.json(body)
        } else {
            request
        };
        let answer = request.send().await.map_err(unavailable)?;
        match answer.status() {
            status if status.is_success() => answer.json().await.map_err(unavailable),
            status if status.is_server_error() => Err(PubSubError::Unavailable(
                format!("it answered {}", status.as_u16()).into(),
            )),
            status => Err(PubSubError::Refused {
                status: status.as_u16(),
            }),
        }
    }
}

/// Adds a member to a role's unconditional binding, and returns whether that changed anything.
fn add_member(policy: &mut Value, role: &str, member: &str) -> bool {
    let Some(policy) = policy.as_object_mut() else {
        return false;
    };
    let bindings = policy.entry("bindings").or_insert_with(|| json!([]));
    let Some(bindings) = bindings.as_array_mut() else {
        return false;
    };
    let is_plain = |binding: &&mut Value| binding["role"] == role && binding["condition"].is_null();
    match bindings.iter_mut().find(is_plain) {
        None => bindings.push(json!({ "role": role, "members": [member] })),
        Some(binding) => {
            let members = binding["members"].as_array_mut();
            let Some(members) = members.filter(|members| !members.contains(&json!(member))) else {
                return false;
            };
            members.push(json!(member));
        }
    }
    true
}

fn unavailable(error: reqwest::Error) -> PubSubError {
    PubSubError::Unavailable(error.without_url().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_added_once_and_nothing_else_is_touched() {
        let conditional = json!({ "role": "r", "members": ["a"], "condition": { "title": "t" } });
        let mut policy = json!({ "etag": "BwW=", "version": 3, "bindings": [conditional] });

        assert!(add_member(&mut policy, "r", "b"));
        assert!(!add_member(&mut policy, "r", "b"));
        assert!(add_member(&mut policy, "r", "c"));
        let plain = json!({ "role": "r", "members": ["b", "c"] });
        let expected = json!({ "etag": "BwW=", "version": 3, "bindings": [conditional, plain] });
        assert_eq!(policy, expected);
    }
}
