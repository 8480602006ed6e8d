//! Gmail's API as the watcher needs it
//! (<https://developers.google.com/workspace/gmail/api/reference/rest>).

mod chunks;
mod failure;
mod quota;
mod types;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{HistoryId, jittered};
use reqwest::{Client, Method, Response};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::sleep;
use tracing::debug;
use url::Url;

use self::chunks::Chunks;
pub use self::failure::GmailError;
use self::failure::Verdict;
pub use self::quota::UNITS_PER_MINUTE;
use self::quota::{Quota, units};
use self::types::Labels;
pub use self::types::{
    Body, Changed, Header, HistoryPage, HistoryRecord, HistoryType, Label, Message, MessageList,
    MessageRef, Part, Profile, WatchStarted,
};
use crate::oauth::TokenSource;

/// How long one answer may take. A message may have 25 MB.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long Gmail is left alone at most, whatever its `Retry-After` says.
const LONGEST_HOLD: Duration = Duration::from_secs(10 * 60);

/// How many records a page of history has at most: as many as Gmail gives.
const PAGE: &str = "500";

/// How hard the client tries before it gives a transient failure back.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Tries in all.
    pub tries: u32,
    /// The wait before the second try; doubled for each one after.
    pub first_wait: Duration,
    /// The longest wait. Where Gmail asks for more, the call fails at once, and so does every other
    /// until that time has passed.
    pub longest_wait: Duration,
    /// Chance, from 0 to 1: moves each wait a little, so that many watchers that were limited
    /// together do not come back together.
    pub chance: fn() -> f64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 4,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(5),
            chance: || 0.5,
        }
    }
}

/// One user's mailbox.
pub struct Gmail {
    client: Client,
    url: Url,
    tokens: Arc<TokenSource>,
    patience: Patience,
    quota: Quota,
}

impl Gmail {
    /// The mailbox that `tokens` open, at the API whose base URL is `url`, within Gmail's quota.
    #[must_use]
    pub fn new(client: Client, url: Url, tokens: Arc<TokenSource>, patience: Patience) -> Self {
        let quota = Quota::per_minute(UNITS_PER_MINUTE, tokens.clock());
        Self {
            client,
            url,
            tokens,
            patience,
            quota,
        }
    }

    /// The same, with a quota of so many units a minute: Google grants older projects more.
    #[must_use]
    pub fn with_units_per_minute(self, units: NonZeroU32) -> Self {
        let quota = Quota::per_minute(units, self.tokens.clock());
        Self { quota, ..self }
    }

    /// Whose mailbox it is, and how far it has come.
    ///
    /// # Errors
    ///
    /// [`GmailError`], as of every call.
    pub async fn profile(&self) -> Result<Profile, GmailError> {
        self.get(&["profile"], &[], units::PROFILE).await
    }

    /// All labels of the mailbox.
    pub async fn labels(&self) -> Result<Vec<Label>, GmailError> {
        let labels: Labels = self.get(&["labels"], &[], units::LABELS).await?;
        Ok(labels.labels)
    }

    /// Has Gmail tell `topic` of changes to what carries one of `labels` (all, where none is
    /// given), for seven days. Gmail tells it at once, of the present.
    pub async fn watch(&self, topic: &str, labels: &[String]) -> Result<WatchStarted, GmailError> {
        let body = if labels.is_empty() {
            json!({ "topicName": topic })
        } else {
            json!({ "topicName": topic, "labelIds": labels, "labelFilterBehavior": "INCLUDE" })
        };
        self.quota.take(units::WATCH).await;
        self.call(Method::POST, &["watch"], &[], Some(body)).await
    }

    /// Ends the watch.
    pub async fn stop(&self) -> Result<(), GmailError> {
        self.send_patiently(Method::POST, &["stop"], &[], Some(json!({})))
            .await
            .map(drop)
    }

    /// One page of what changed after `start` in one of these ways, oldest first.
    ///
    /// # Errors
    ///
    /// [`GmailError::NotFound`] where `start` is too old to be known.
    pub async fn history(
        &self,
        start: HistoryId,
        types: &[HistoryType],
        page: Option<&str>,
    ) -> Result<HistoryPage, GmailError> {
        let start = start.to_string();
        let mut query = vec![("startHistoryId", start.as_str()), ("maxResults", PAGE)];
        query.extend(types.iter().map(|one| ("historyTypes", one.as_str())));
        query.extend(page.map(|page| ("pageToken", page)));
        self.get(&["history"], &query, units::HISTORY).await
    }

    /// One page of the messages that a search finds, latest first.
    pub async fn messages(
        &self,
        search: &str,
        page: Option<&str>,
    ) -> Result<MessageList, GmailError> {
        let mut query = vec![("q", search), ("maxResults", PAGE)];
        query.extend(page.map(|page| ("pageToken", page)));
        self.get(&["messages"], &query, units::MESSAGES).await
    }

    /// A whole message, but for large attachments.
    ///
    /// # Errors
    ///
    /// [`GmailError::NotFound`] where it is gone, [`GmailError::Unreadable`] where it is nested too
    /// deeply to be read.
    pub async fn message(&self, id: &str) -> Result<Message, GmailError> {
        self.get(&["messages", id], &[("format", "full")], units::MESSAGE)
            .await
    }

    /// A message without its content: for one whose whole cannot be read.
    pub async fn message_headers(&self, id: &str) -> Result<Message, GmailError> {
        self.get(&["messages", id], &[("format", "metadata")], units::MESSAGE)
            .await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        units: u32,
    ) -> Result<T, GmailError> {
        self.quota.take(units).await;
        self.call(Method::GET, path, query, None).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<T, GmailError> {
        let mut answer = self.send_patiently(method, path, query, body).await?;
        let mut body = Chunks::default();
        while let Some(chunk) = answer.chunk().await.map_err(failure::unavailable)? {
            body.add(chunk)?;
        }
        body.parse()
    }

    /// Sends until Gmail answers, or patience ends. A token that was refused is replaced once.
    async fn send_patiently(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<Response, GmailError> {
        if self.quota.is_held() {
            let cause = "it asked to be left alone for a while";
            return Err(GmailError::Unavailable(cause.into()));
        }
        let mut wait = self.patience.first_wait;
        let mut tries = 1;
        let mut refused = false;
        loop {
            let (error, pause) = match self.send(&method, path, query, body.as_ref()).await? {
                Verdict::Good(answer) => return Ok(answer),
                Verdict::Final(error) => return Err(error),
                Verdict::Unauthorized if !refused => {
                    refused = true;
                    continue;
                }
                Verdict::Unauthorized => return Err(GmailError::Unauthorized),
                Verdict::Transient { error, retry_after } => (error, retry_after),
            };
            let asked = pause.unwrap_or_default();
            if asked > self.patience.longest_wait {
                // Nobody waits so long here: whoever asked comes again.
                self.quota.hold(asked.min(LONGEST_HOLD));
                return Err(error);
            }
            if tries >= self.patience.tries {
                return Err(error);
            }
            let wait_now = wait.min(self.patience.longest_wait);
            let pause = asked.max(jittered(wait_now, Duration::ZERO, (self.patience.chance)()));
            debug!(%error, tries, ?pause, "Trying again");
            sleep(pause).await;
            tries += 1;
            wait *= 2;
        }
    }

    async fn send(
        &self,
        method: &Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Verdict, GmailError> {
        let token = self.tokens.access_token().await?;
        let mut request = self
            .client
            .request(method.clone(), self.endpoint(path)?)
            .timeout(TIMEOUT)
            .query(query)
            .bearer_auth(token.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        let verdict = match request.send().await {
            Ok(answer) => failure::judge(answer).await,
            Err(error) => Verdict::Transient {
                error: failure::unavailable(error),
                retry_after: None,
            },
        };
        if matches!(verdict, Verdict::Unauthorized) {
            self.tokens.forget(&token).await;
        }
        Ok(verdict)
    }

    fn endpoint(&self, path: &[&str]) -> Result<Url, GmailError> {
        let mut url = self.url.clone();
        let mut segments = url.path_segments_mut().map_err(|()| GmailError::Refused {
            reason: "the configured gmail_url is no base URL".to_owned(),
        })?;
        segments
            .pop_if_empty()
            .extend(["gmail", "v1", "users", "me"])
            .extend(path);
        drop(segments);
        Ok(url)
    }
}
