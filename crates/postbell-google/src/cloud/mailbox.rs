//! The administration of a mailbox's watch. [`Gmail`](crate::Gmail) reads mail; here, each refusal
//! of a watch is classified (<https://developers.google.com/workspace/gmail/api/guides/push>).

use reqwest::Method;
use serde_json::{Value, json};

use super::{Api, CloudError};
use crate::gmail::{Profile, WatchStarted};

/// The mailbox of the API's caller.
#[derive(Clone)]
pub struct Mailbox(Api);

impl Mailbox {
    /// A mailbox, through `api`.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self(api)
    }

    /// The mailbox's address and its latest history id.
    ///
    /// # Errors
    ///
    /// [`CloudError`], as every call here.
    pub async fn profile(&self) -> Result<Profile, CloudError> {
        self.0.get("gmail/v1/users/me/profile").await
    }

    /// Starts a watch that publishes changes of messages with one of `labels` to `topic` for seven
    /// days. Gmail publishes a first notification at once. A repeat extends the watch.
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
