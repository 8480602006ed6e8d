//! Gmail as it is set up: whose mailbox it is, and who is told of it. What reads mail is
//! [`Gmail`](crate::Gmail); here, each refusal of a watch has a meaning of its own
//! (<https://developers.google.com/workspace/gmail/api/guides/push>).

use reqwest::Method;
use serde_json::{Value, json};

use super::{Api, CloudError};
use crate::gmail::{Profile, WatchStarted};

/// The mailbox of whoever the API is called for.
#[derive(Clone)]
pub struct Mailbox(Api);

impl Mailbox {
    /// A mailbox, by way of `api`.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self(api)
    }

    /// Whose mailbox it is, and how far it has come.
    ///
    /// # Errors
    ///
    /// [`CloudError`], as of every call.
    pub async fn profile(&self) -> Result<Profile, CloudError> {
        self.0.get("gmail/v1/users/me/profile").await
    }

    /// Has Gmail tell `topic` of changes to what carries one of `labels`, for seven days. Gmail tells
    /// it at once, of the present. The same again is good for another seven days.
    pub async fn watch(&self, topic: &str, labels: &[&str]) -> Result<WatchStarted, CloudError> {
        let body = json!({
            "topicName": topic, "labelIds": labels, "labelFilterBehavior": "INCLUDE",
        });
        self.0.post("gmail/v1/users/me/watch", body).await
    }

    /// Ends the watch.
    pub async fn stop(&self) -> Result<(), CloudError> {
        let body = Some::<Value>(json!({}));
        let stopped = self.0.send(Method::POST, "gmail/v1/users/me/stop", body);
        stopped.await.map(drop)
    }
}
