//! Topics and subscriptions (<https://cloud.google.com/pubsub/docs/reference/rest>).

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Client, Method};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{Api, CloudError, PolicyRead, RefusalKind};
use crate::base64::decode_base64;
use crate::oauth::TokenSource;

/// Gmail's publisher account, and its role.
const GMAIL_PUBLISHER: &str = "serviceAccount:gmail-api-push@system.gserviceaccount.com";
const PUBLISHER_ROLE: &str = "roles/pubsub.publisher";

/// The role for pulling messages.
const SUBSCRIBER_ROLE: &str = "roles/pubsub.subscriber";

/// The deadline of a push, in seconds.
const ACK_DEADLINE: u64 = 30;

/// The topics and subscriptions of the API's caller.
#[derive(Clone)]
pub struct PubSubAdmin(Api);

/// A subscription that pushes with a signed token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PushSubscription {
    /// `projects/P/topics/T`.
    pub topic: String,
    /// The push endpoint.
    pub endpoint: String,
    /// The token's audience.
    pub audience: String,
    /// The token's service account.
    pub service_account: String,
}

/// How a subscription delivers its messages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// By push.
    Push(PushSubscription),
    /// By pull. The topic is `projects/P/topics/T`.
    Pull {
        /// The topic.
        topic: String,
    },
}

/// A subscription's settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Subscription(Value);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pulled {
    #[serde(default)]
    received_messages: Vec<Received>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Received {
    ack_id: String,
    message: Content,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Content {
    message_id: String,
    data: String,
}

/// A message in a subscription's backlog.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waiting {
    /// Its id, the same on every delivery.
    pub id: String,
    /// Its data.
    pub data: Vec<u8>,
}

impl Delivery {
    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        match self {
            Self::Push(push) => &push.topic,
            Self::Pull { topic } => topic,
        }
    }

    /// The settings of a subscription without its topic. It never expires: by default Google
    /// deletes one that was idle for 31 days.
    fn settings(&self) -> Value {
        let push_config = match self {
            Self::Pull { .. } => json!({}),
            Self::Push(push) => json!({
                "pushEndpoint": push.endpoint,
                "oidcToken": {
                    "serviceAccountEmail": push.service_account,
                    "audience": push.audience,
                },
            }),
        };
        json!({
            "ackDeadlineSeconds": ACK_DEADLINE,
            "expirationPolicy": {},
            "retryPolicy": { "minimumBackoff": "10s", "maximumBackoff": "600s" },
            "pushConfig": push_config,
        })
    }
}

impl Subscription {
    /// Its topic; `_deleted-topic_` after the topic was deleted.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.0["topic"].as_str().unwrap_or_default()
    }

    /// Whether its topic was deleted. It receives nothing, even if a topic with the same name is
    /// created.
    #[must_use]
    pub fn has_lost_its_topic(&self) -> bool {
        self.topic() == "_deleted-topic_"
    }

    /// The push endpoint; empty for a pull subscription.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        let endpoint = &self.0["pushConfig"]["pushEndpoint"];
        endpoint.as_str().unwrap_or_default()
    }

    /// The audience of its tokens: the endpoint if none is set.
    #[must_use]
    pub fn audience(&self) -> &str {
        let audience = self.0["pushConfig"]["oidcToken"]["audience"].as_str();
        let audience = audience.filter(|audience| !audience.is_empty());
        audience.unwrap_or_else(|| self.endpoint())
    }

    /// The service account that signs pushes; empty if none does.
    #[must_use]
    pub fn service_account(&self) -> &str {
        let account = &self.0["pushConfig"]["oidcToken"]["serviceAccountEmail"];
        account.as_str().unwrap_or_default()
    }

    /// Whether Google deletes it after an idle period.
    #[must_use]
    pub fn expires(&self) -> bool {
        !self.0["expirationPolicy"]["ttl"].is_null()
    }

    /// The API's names of the settings that differ from `delivery`.
    #[must_use]
    pub fn differing(&self, delivery: &Delivery) -> Vec<&'static str> {
        let wanted = delivery.settings();
        let field = |name: &'static str, same: bool| (!same).then_some(name);
        let push_is_same = match delivery {
            Delivery::Pull { .. } => self.endpoint().is_empty(),
            Delivery::Push(push) => {
                self.endpoint() == push.endpoint
                    && self.audience() == push.audience
                    && self.service_account() == push.service_account
                    && self.0["pushConfig"]["noWrapper"].is_null()
            }
        };
        let same = |name: &str| self.0[name] == wanted[name];
        [
            field("pushConfig", push_is_same),
            field("ackDeadlineSeconds", same("ackDeadlineSeconds")),
            field("retryPolicy", same("retryPolicy")),
            field("expirationPolicy", !self.expires()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The permissions that the caller has, of those that were asked for.
#[derive(Deserialize)]
struct Permitted {
    #[serde(default)]
    permissions: Vec<String>,
}

/// A topic's name.
#[derive(Deserialize)]
struct Named {
    name: String,
}

/// What `projects.subscriptions.list` answers
/// (<https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions/list>).
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    subscriptions: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    topic: String,
}

impl PubSubAdmin {
    /// The API at the base URL `url`.
    #[must_use]
    pub fn new(client: Client, url: Url, tokens: Arc<TokenSource>) -> Self {
        Self(Api::new(client, url, tokens))
    }

    /// Creates the topic `projects/P/topics/T`, and returns whether it was missing.
    ///
    /// # Errors
    ///
    /// [`CloudError`], as every call here.
    pub async fn create_topic(&self, topic: &str) -> Result<bool, CloudError> {
        self.create(topic, json!({})).await
    }

    /// Whether a topic exists.
    pub async fn has_topic(&self, topic: &str) -> Result<bool, CloudError> {
        let found: Option<Named> = self.find(topic).await?;
        Ok(found.is_some_and(|found| found.name == topic))
    }

    /// The subscriptions of a topic in its own project, at most some hundred.
    pub async fn subscriptions_of(&self, topic: &str) -> Result<Vec<String>, CloudError> {
        let project = topic.split("/topics/").next().unwrap_or_default();
        let page: Page = self
            .0
            .get(&format!("v1/{project}/subscriptions?pageSize=1000"))
            .await?;
        let all = page.subscriptions.into_iter();
        let of_topic = all.filter(|one| one.topic == topic);
        Ok(of_topic.map(|one| one.name).collect())
    }

    /// Deletes a topic, if it exists.
    pub async fn delete_topic(&self, topic: &str) -> Result<(), CloudError> {
        self.delete(topic).await
    }

    /// Whether Gmail may publish to a topic.
    pub async fn lets_gmail_publish(&self, topic: &str) -> Result<bool, CloudError> {
        let resource = format!("v1/{topic}");
        let policy = self.0.policy(PolicyRead::ByGet, &resource);
        Ok(policy.await?.grants(PUBLISHER_ROLE, GMAIL_PUBLISHER))
    }

    /// Allows Gmail to publish to a topic, and returns whether that was missing.
    pub async fn allow_gmail(&self, topic: &str) -> Result<bool, CloudError> {
        let add = |policy: &mut super::Policy| policy.add(PUBLISHER_ROLE, GMAIL_PUBLISHER);
        self.change_policy(topic, add).await
    }

    /// Undoes that.
    pub async fn forbid_gmail(&self, topic: &str) -> Result<(), CloudError> {
        let remove = |policy: &mut super::Policy| policy.remove(PUBLISHER_ROLE, GMAIL_PUBLISHER);
        self.change_back(topic, remove).await
    }

    /// Creates the push subscription `projects/P/subscriptions/S`, which never expires, and returns
    /// whether it was missing.
    pub async fn create_push_subscription(
        &self,
        name: &str,
        push: &PushSubscription,
    ) -> Result<bool, CloudError> {
        self.create_subscription(name, &Delivery::Push(push.clone()))
            .await
    }

    /// Creates a subscription that never expires, and returns whether it was missing.
    pub async fn create_subscription(
        &self,
        name: &str,
        delivery: &Delivery,
    ) -> Result<bool, CloudError> {
        let mut settings = delivery.settings();
        settings["topic"] = delivery.topic().into();
        self.create(name, settings).await
    }

    /// A subscription, if it exists.
    pub async fn subscription(&self, name: &str) -> Result<Option<Subscription>, CloudError> {
        self.find(name).await
    }

    /// Whether the caller may pull from a subscription. `false` also if it does not exist, which Google
    /// does not tell apart
    /// (<https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions/testIamPermissions>).
    /// Needs no permission, while reading the subscription needs more than pulling from it.
    pub async fn may_pull(&self, name: &str) -> Result<bool, CloudError> {
        const CONSUME: &str = "pubsub.subscriptions.consume";
        let path = format!("v1/{name}:testIamPermissions");
        let asked = self.0.post(&path, json!({ "permissions": [CONSUME] }));
        match asked.await {
            Ok(Permitted { permissions }) => Ok(permissions.iter().any(|one| one == CONSUME)),
            Err(error) if error.is(RefusalKind::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Changes these settings of a subscription to those of `delivery`.
    pub async fn update_subscription(
        &self,
        name: &str,
        delivery: &Delivery,
        settings: &[&str],
    ) -> Result<(), CloudError> {
        let mut subscription = delivery.settings();
        subscription["name"] = name.into();
        subscription["topic"] = delivery.topic().into();
        let body = json!({ "subscription": subscription, "updateMask": settings.join(",") });
        let path = format!("v1/{name}");
        let updated = self.0.call::<Value>(Method::PATCH, &path, Some(body));
        updated.await.map(drop)
    }

    /// Deletes a subscription, if it exists.
    pub async fn delete_subscription(&self, name: &str) -> Result<(), CloudError> {
        self.delete(name).await
    }

    /// Whether a user may pull, by a role on the subscription itself.
    pub async fn lets_fetch(&self, name: &str, email: &str) -> Result<bool, CloudError> {
        let resource = format!("v1/{name}");
        let policy = self.0.policy(PolicyRead::ByGet, &resource);
        Ok(policy
            .await?
            .grants(SUBSCRIBER_ROLE, &format!("user:{email}")))
    }

    /// Allows a user to pull, and returns whether that was missing.
    pub async fn let_fetch(&self, name: &str, email: &str) -> Result<bool, CloudError> {
        let member = format!("user:{email}");
        self.change_policy(name, |policy| policy.add(SUBSCRIBER_ROLE, &member))
            .await
    }

    /// Undoes that.
    pub async fn stop_fetching(&self, name: &str, email: &str) -> Result<(), CloudError> {
        let member = format!("user:{email}");
        self.change_back(name, |policy| policy.remove(SUBSCRIBER_ROLE, &member))
            .await
    }

    /// Reads some messages of a subscription's backlog without acknowledging them.
    ///
    /// A message that was read is delivered again only after the minimum back-off of the
    /// subscription's retry policy, which is 10 s
    /// (<https://cloud.google.com/pubsub/docs/handling-failures>): so look no more often than is
    /// needed.
    pub async fn peek(&self, name: &str) -> Result<Vec<Waiting>, CloudError> {
        let path = format!("v1/{name}:pull");
        let body = json!({ "maxMessages": 20, "returnImmediately": true });
        let Pulled { received_messages } = self.0.post(&path, body).await?;
        if received_messages.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = received_messages.iter().map(|one| &one.ack_id).collect();
        let body = json!({ "ackIds": ids, "ackDeadlineSeconds": 0 });
        let path = format!("v1/{name}:modifyAckDeadline");
        self.0.post::<Value>(&path, body).await?;
        let waiting = received_messages.into_iter().filter_map(|one| {
            let data = decode_base64(&one.message.data)?;
            let id = one.message.message_id;
            Some(Waiting { id, data })
        });
        Ok(waiting.collect())
    }

    /// Publishes a message to a topic.
    pub async fn publish(&self, topic: &str, data: &[u8]) -> Result<(), CloudError> {
        let body = json!({ "messages": [{ "data": BASE64_STANDARD.encode(data) }] });
        let path = format!("v1/{topic}:publish");
        self.0.post::<Value>(&path, body).await.map(drop)
    }

    async fn create(&self, name: &str, body: Value) -> Result<bool, CloudError> {
        let path = format!("v1/{name}");
        let made = self.0.call::<Value>(Method::PUT, &path, Some(body));
        match made.await {
            Ok(_) => Ok(true),
            Err(error) if error.is(RefusalKind::AlreadyExists) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn find<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, CloudError> {
        match self.0.get(&format!("v1/{name}")).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is(RefusalKind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, name: &str) -> Result<(), CloudError> {
        match self.0.delete(&format!("v1/{name}")).await {
            Err(error) if error.is(RefusalKind::NotFound) => Ok(()),
            other => other.map(drop),
        }
    }

    async fn change_policy(
        &self,
        name: &str,
        change: impl Fn(&mut super::Policy) -> bool,
    ) -> Result<bool, CloudError> {
        let resource = format!("v1/{name}");
        self.0
            .change_policy(PolicyRead::ByGet, &resource, change)
            .await
    }

    async fn change_back(
        &self,
        name: &str,
        change: impl Fn(&mut super::Policy) -> bool,
    ) -> Result<(), CloudError> {
        match self.change_policy(name, change).await {
            Err(error) if error.is(RefusalKind::NotFound) => Ok(()),
            other => other.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push() -> Delivery {
        Delivery::Push(PushSubscription {
            topic: "projects/p/topics/t".to_owned(),
            endpoint: "https://push.example.com/push/user/ann".to_owned(),
            audience: "https://push.example.com/push/user/ann".to_owned(),
            service_account: "a@p.iam.gserviceaccount.com".to_owned(),
        })
    }

    #[test]
    fn only_differing_settings_are_listed() {
        let read = |change: &dyn Fn(&mut Value)| {
            let mut settings = push().settings();
            change(&mut settings);
            Subscription(settings).differing(&push())
        };
        assert!(read(&|_| ()).is_empty());
        // Google omits an audience that equals the endpoint.
        assert!(read(&|it| it["pushConfig"]["oidcToken"]["audience"] = Value::Null).is_empty());
        assert_eq!(
            read(&|it| it["ackDeadlineSeconds"] = 10.into()),
            ["ackDeadlineSeconds"]
        );
        let month = json!({ "ttl": "2678400s" });
        assert_eq!(
            read(&|it| it["expirationPolicy"] = month.clone()),
            ["expirationPolicy"]
        );
        assert_eq!(read(&|it| it["retryPolicy"] = Value::Null), ["retryPolicy"]);
        for field in ["audience", "serviceAccountEmail"] {
            let other = read(&|it| it["pushConfig"]["oidcToken"][field] = "other".into());
            assert_eq!(other, ["pushConfig"], "{field}");
        }
    }

    #[test]
    fn a_pull_subscription_has_no_endpoint() {
        let pull = Delivery::Pull {
            topic: "projects/p/topics/t".to_owned(),
        };
        assert!(Subscription(pull.settings()).differing(&pull).is_empty());
        assert_eq!(
            Subscription(push().settings()).differing(&pull),
            ["pushConfig"]
        );
    }
}
