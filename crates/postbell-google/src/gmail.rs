//! Gmail's API as the watcher needs it
//! (<https://developers.google.com/workspace/gmail/api/reference/rest>).

mod chunks;
mod endpoint;
mod failure;
mod quota;
mod types;

use std::mem;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use postbell_core::{HistoryId, jittered};
use postbell_http::{HttpClient, RequestError};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;
use url::Url;

use self::chunks::Chunks;
use self::endpoint::Endpoint;
pub use self::failure::GmailError;
use self::failure::{Answer, Verdict};
pub use self::quota::UNITS_PER_MINUTE;
use self::quota::{Cost, Quota, units};
pub use self::types::{
    Body, Changed, Header, HistoryPage, HistoryRecord, HistoryType, Label, Message, MessageList,
    MessageRef, Part, Profile, Thread, WatchStarted,
};
use self::types::{Labels, RawMessage, SendAsList};
use crate::base64::decode_base64;
use crate::oauth::TokenSource;

/// The timeout of one request. A message can have 25 MB.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest pause, even if Gmail asks for more: then one call per hour shows whether it is over.
const LONGEST_HOLD: Duration = Duration::from_secs(60 * 60);

/// The pause after the quota of a day is used up, if Gmail names no time.
const DAILY_LIMIT_HOLD: Duration = Duration::from_secs(10 * 60);

/// The size of a history page: Gmail's maximum.
const PAGE: &str = "500";

/// How transient failures are retried.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The number of attempts.
    pub tries: u32,
    /// The wait before the second attempt; doubled for each further one.
    pub first_wait: Duration,
    /// The longest wait. If Gmail asks for more, this call fails at once, and so does every other
    /// until that time has passed.
    pub longest_wait: Duration,
    /// Returns a random number from 0 to 1, which moves each wait a little, so that watchers that
    /// were limited together do not retry together.
    pub jitter: fn() -> f64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 4,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(5),
            jitter: || 0.5,
        }
    }
}

/// A call that reads a message or a part of it, within the quota already.
#[must_use]
pub struct PrepaidRead<'a>(&'a Gmail);

impl PrepaidRead<'_> {
    /// [`Gmail::message`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn message(self, id: &str) -> Result<Message, GmailError> {
        let path = ["messages", id];
        self.0.get(&path, &[("format", "full")], PAID).await
    }

    /// [`Gmail::attachment`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn attachment(self, message: &str, id: &str) -> Result<Body, GmailError> {
        let path = ["messages", message, "attachments", id];
        self.0.get(&path, &[], PAID).await
    }
}

/// A read whose units are spent; a repeat of it spends further ones.
const PAID: Cost = Cost {
    units: units::READ,
    is_paid: true,
};

/// One user's mailbox.
pub struct Gmail {
    client: HttpClient,
    url: Url,
    /// `None` if the URL is not one for HTTP.
    endpoint: Option<Endpoint>,
    tokens: Arc<TokenSource>,
    patience: Patience,
    quota: Quota,
}

impl Gmail {
    /// The mailbox of `tokens`, at the API's base URL `url`, within Gmail's quota.
    #[must_use]
    pub fn new(client: HttpClient, url: Url, tokens: Arc<TokenSource>, patience: Patience) -> Self {
        let quota = Quota::per_minute(UNITS_PER_MINUTE, tokens.clock());
        Self {
            client,
            endpoint: Endpoint::at(&url),
            url,
            tokens,
            patience,
            quota,
        }
    }

    /// Sets the quota in units per minute: older projects have more.
    #[must_use]
    pub fn with_units_per_minute(self, units: NonZeroU32) -> Self {
        let quota = Quota::per_minute(units, self.tokens.clock());
        Self { quota, ..self }
    }

    /// The source of its access tokens.
    #[must_use]
    pub fn tokens(&self) -> &TokenSource {
        &self.tokens
    }

    /// The mailbox of the credentials that are stored now, if Google has refused the present ones and these are others.
    pub async fn of_stored(&self) -> Option<Self> {
        let tokens = Arc::new(self.tokens.of_stored().await?);
        let (client, url) = (self.client.clone(), self.url.clone());
        Some(Self::new(client, url, tokens, self.patience))
    }

    /// The mailbox's address and its latest history id.
    ///
    /// # Errors
    ///
    /// [`GmailError`], as every call here.
    pub async fn profile(&self) -> Result<Profile, GmailError> {
        self.get(&["profile"], &[], units::PROFILE).await
    }

    /// All labels of the mailbox.
    pub async fn labels(&self) -> Result<Vec<Label>, GmailError> {
        let labels: Labels = self.get(&["labels"], &[], units::LABELS).await?;
        Ok(labels.labels)
    }

    /// The addresses whose mail comes to this mailbox, as far as its settings name them.
    ///
    /// # Errors
    ///
    /// [`GmailError::Refused`] if the grant does not cover the settings.
    pub async fn aliases(&self) -> Result<Vec<String>, GmailError> {
        let path = ["settings", "sendAs"];
        let list: SendAsList = self.get(&path, &[], units::SEND_AS).await?;
        let aliases = list.send_as.into_iter().filter(|one| one.is_alias());
        Ok(aliases.map(|one| one.send_as_email).collect())
    }

    /// Starts a watch that publishes changes of messages with one of `labels` (of all messages if
    /// it is empty) to `topic` for seven days. Gmail publishes a first notification at once.
    pub async fn watch(&self, topic: &str, labels: &[String]) -> Result<WatchStarted, GmailError> {
        let body = if labels.is_empty() {
            json!({ "topicName": topic })
        } else {
            json!({ "topicName": topic, "labelIds": labels, "labelFilterBehavior": "INCLUDE" })
        };
        self.call(
            Method::POST,
            &["watch"],
            &[],
            Some(body),
            units::WATCH.into(),
        )
        .await
    }

    /// Ends the watch.
    pub async fn stop(&self) -> Result<(), GmailError> {
        let path = ["stop"];
        self.send_patiently(
            Method::POST,
            &path,
            &[],
            Some(json!({})),
            units::STOP.into(),
        )
        .await
        .map(drop)
    }

    /// One page of the changes of these kinds after `start`, the oldest first.
    ///
    /// # Errors
    ///
    /// [`GmailError::NotFound`] if `start` is too old.
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

    /// One page of a search's results, the newest first.
    pub async fn messages(
        &self,
        search: &str,
        page: Option<&str>,
    ) -> Result<MessageList, GmailError> {
        let mut query = vec![("q", search), ("maxResults", PAGE)];
        query.extend(page.map(|page| ("pageToken", page)));
        self.get(&["messages"], &query, units::MESSAGES).await
    }

    /// A whole message without large attachments.
    ///
    /// # Errors
    ///
    /// [`GmailError::NotFound`] if it no longer exists, [`GmailError::Unreadable`] if it is nested
    /// too deeply.
    pub async fn message(&self, id: &str) -> Result<Message, GmailError> {
        self.prepay_read().await.message(id).await
    }

    /// A message's headers only, for a message that is unreadable as a whole.
    pub async fn message_headers(&self, id: &str) -> Result<Message, GmailError> {
        self.get(&["messages", id], &[("format", "metadata")], units::READ)
            .await
    }

    /// A message's source (RFC 5322).
    ///
    /// # Errors
    ///
    /// [`GmailError::Unreadable`] if it is too large.
    pub async fn raw(&self, id: &str) -> Result<Vec<u8>, GmailError> {
        let path = ["messages", id];
        let message: RawMessage = self.get(&path, &[("format", "raw")], units::READ).await?;
        decode_base64(&message.raw).ok_or(GmailError::Unreadable)
    }

    /// A thread with its messages as [`Gmail::message`] gives them.
    ///
    /// # Errors
    ///
    /// [`GmailError::Unreadable`] if a message is nested too deeply, or all are too large.
    pub async fn thread(&self, id: &str) -> Result<Thread, GmailError> {
        self.get(&["threads", id], &[("format", "full")], units::THREAD)
            .await
    }

    /// A thread with the headers of its messages only.
    pub async fn thread_headers(&self, id: &str) -> Result<Thread, GmailError> {
        self.get(&["threads", id], &[("format", "metadata")], units::THREAD)
            .await
    }

    /// The content of a part that [`Gmail::message`] gives by its id only.
    ///
    /// # Errors
    ///
    /// [`GmailError::NotFound`] if the message no longer exists.
    pub async fn attachment(&self, message: &str, id: &str) -> Result<Body, GmailError> {
        self.prepay_read().await.attachment(message, id).await
    }

    /// Waits for the quota of a call that reads a message or a part of it, and spends it. What the call takes
    /// after that is Gmail's time.
    pub async fn prepay_read(&self) -> PrepaidRead<'_> {
        // During a pause that Gmail asked for, the call itself is refused.
        if self.quota.check_hold().is_ok() {
            self.quota.take(units::READ).await;
        }
        PrepaidRead(self)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        cost: impl Into<Cost>,
    ) -> Result<T, GmailError> {
        self.call(Method::GET, path, query, None, cost.into()).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Value>,
        cost: Cost,
    ) -> Result<T, GmailError> {
        let sent = self.send_patiently(method, path, query, body, cost);
        let Answer { body, deadline } = sent.await?;
        match timeout_at(deadline, Chunks::read(body)).await {
            Ok(chunks) => chunks?.parse(),
            Err(_) => Err(failure::unavailable(RequestError::Timeout)),
        }
    }

    /// Sends with retries, each within the quota. A refused token is replaced once.
    async fn send_patiently(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Value>,
        cost: Cost,
    ) -> Result<Answer, GmailError> {
        let mut is_paid = cost.is_paid;
        let mut wait = self.patience.first_wait;
        let mut tries = 1;
        let mut refused = false;
        loop {
            self.quota.check_hold()?;
            if !mem::take(&mut is_paid) {
                self.quota.take(cost.units).await;
                self.quota.check_hold()?;
            }
            let (error, pause) = match self.send(&method, path, query, body.as_ref()).await? {
                Verdict::Good(answer) => return Ok(answer),
                Verdict::Final(GmailError::Quota { retry_after }) => {
                    let hold = retry_after.unwrap_or(DAILY_LIMIT_HOLD);
                    self.quota.hold(hold.min(LONGEST_HOLD));
                    return Err(GmailError::Quota { retry_after });
                }
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
                // Too long to wait here: the caller retries.
                self.quota.hold(asked.min(LONGEST_HOLD));
                return Err(error);
            }
            if tries >= self.patience.tries {
                return Err(error);
            }
            let wait_now = wait.min(self.patience.longest_wait);
            let pause = asked.max(jittered(wait_now, Duration::ZERO, (self.patience.jitter)()));
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
        let headers = headers(&token, body.is_some())?;
        let endpoint = self.endpoint.as_ref();
        let uri = endpoint.and_then(|endpoint| endpoint.uri(path, query));
        let uri = uri.ok_or_else(|| {
            GmailError::Unavailable(
                "the configured gmail_url is no base URL, or the request's URL is too long".into(),
            )
        })?;
        let body = body.map(|body| Bytes::from(body.to_string()));
        let deadline = Instant::now() + TIMEOUT;
        let sent = self
            .client
            .send(method.clone(), uri, headers, body.unwrap_or_default());
        let sent = timeout_at(deadline, sent).await;
        let verdict = match sent.unwrap_or(Err(RequestError::Timeout)) {
            Ok(answer) => failure::judge(answer, deadline, self.tokens.clock().now()).await,
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
}

/// The headers of a request.
fn headers(token: &SecretString, has_body: bool) -> Result<HeaderMap, GmailError> {
    let token = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
    let mut token = token.map_err(|_| {
        GmailError::Unavailable("the access token cannot be part of a request".into())
    })?;
    token.set_sensitive(true);
    // With room for those that the client adds.
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(AUTHORIZATION, token);
    if has_body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok(headers)
}
