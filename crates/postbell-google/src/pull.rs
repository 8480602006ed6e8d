//! Streaming pull with Google's client library
//! (<https://docs.cloud.google.com/pubsub/docs/pull#streamingpull_api>).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use google_cloud_auth::credentials::{
    CacheableResource, Credentials, CredentialsProvider, EntityTag,
};
use google_cloud_auth::errors::CredentialsError;
use google_cloud_pubsub::client::Subscriber;
use google_cloud_pubsub::subscriber::MessageStream;
use google_cloud_pubsub::subscriber::handler::Handler;
use parking_lot::Mutex;
use postbell_core::{BoxError, wait_for};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tokio::task_local;
use tokio::time::Instant;
use url::Url;

use crate::oauth::{TokenError, TokenSource};

/// The largest number of unacknowledged notifications: more than the caller holds, so that those of failing mailboxes
/// do not keep others from arriving.
const OUTSTANDING: i64 = 1000;

/// The number of streams without a notification, and within which time, after which pulling counts as
/// failed. A stream that works is opened every half hour, and one without mail every two minutes.
const MOST_STREAMS: usize = 6;
const PERIOD: Duration = Duration::from_secs(60);

task_local! {
    /// Set while the library waits for the next notification, which is when it opens streams. It acknowledges, and
    /// extends leases, in tasks of its own.
    static STREAMS: Arc<Streams>;
}

/// How long a stream may bring nothing until it is opened anew. A connection that has died without a word, as after a night
/// of a laptop, looks like one without notifications: the library does not check that Pub/Sub answers its keep-alive
/// requests, as Google's others do. Pub/Sub ends a stream whose client has sent nothing for a minute, and repeats what it
/// had sent on it after the acknowledgement deadline, which is another minute. Opening a stream more often gains nothing.
const LONGEST_SILENCE: Duration = Duration::from_secs(2 * 60);

/// A pull subscription.
pub struct PullSubscription {
    endpoint: Url,
    tokens: Arc<TokenSource>,
    name: String,
    longest_silence: Duration,
    stream: MessageStream,
    streams: Arc<Streams>,
}

/// A pulled notification. If it is dropped, Pub/Sub delivers it again.
#[derive(Debug)]
pub struct Pulled {
    /// The published data.
    pub data: Vec<u8>,
    handler: Handler,
}

/// Why pulling failed.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The subscription does not exist.
    #[error("the subscription does not exist")]
    Missing(#[source] BoxError),

    /// The credentials may not pull from the subscription, or they are no longer valid.
    #[error("pub/sub does not permit pulling")]
    Denied(#[source] BoxError),

    /// Pub/Sub cannot be reached, or refuses for now.
    #[error("pub/sub delivers no notifications")]
    Unavailable(#[source] BoxError),
}

impl PullError {
    /// Why there was no access token, if that is the reason.
    #[must_use]
    pub fn token_error(&self) -> Option<&TokenError> {
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            source = error.source();
        }
        None
    }
}

impl PullSubscription {
    /// Opens the subscription `projects/P/subscriptions/S` at the API's base URL `endpoint`.
    ///
    /// # Errors
    ///
    /// [`PullError`] if the endpoint cannot be reached.
    pub async fn open(
        endpoint: &Url,
        tokens: Arc<TokenSource>,
        name: &str,
    ) -> Result<Self, PullError> {
        Ok(Self {
            endpoint: endpoint.clone(),
            stream: stream(endpoint, &tokens, name).await?,
            tokens,
            name: name.to_owned(),
            longest_silence: LONGEST_SILENCE,
            streams: Arc::default(),
        })
    }

    /// Sets how long a stream may bring nothing until it is opened anew.
    #[must_use]
    pub fn with_longest_silence(self, longest_silence: Duration) -> Self {
        Self {
            longest_silence,
            ..self
        }
    }

    /// Waits for the next notification. The library reconnects by itself when a stream ends, and this does after a
    /// silence, also one during which the machine slept. Pub/Sub delivers again what the former stream has brought.
    ///
    /// After an error the subscription must be opened again, and the caller waits before that.
    ///
    /// # Errors
    ///
    /// [`PullError`] if Pub/Sub refuses for good, or if the library has opened several streams in vain.
    pub async fn next(&mut self) -> Result<Pulled, PullError> {
        let clock = self.tokens.clock();
        loop {
            self.streams.restart();
            tokio::select! {
                // A notification that has arrived is not lost to a failure.
                biased;
                next = STREAMS.scope(Arc::clone(&self.streams), self.stream.next()) => {
                    return match next {
                        Some(Ok((message, handler))) => Ok(Pulled {
                            data: message.data.to_vec(),
                            handler,
                        }),
                        Some(Err(error)) => Err(refused(error)),
                        None => Err(PullError::Unavailable("the stream has ended".into())),
                    };
                }
                () = self.streams.too_many() => {
                    return Err(PullError::Unavailable("it ends each stream at once".into()));
                }
                () = wait_for(&*clock, self.longest_silence) => (),
            }
            self.stream = stream(&self.endpoint, &self.tokens, &self.name).await?;
        }
    }
}

/// A stream of notifications, with a connection of its own.
async fn stream(
    endpoint: &Url,
    tokens: &Arc<TokenSource>,
    name: &str,
) -> Result<MessageStream, PullError> {
    let credentials = OurTokens {
        tokens: Arc::clone(tokens),
    };
    let client = Subscriber::builder()
        .with_endpoint(endpoint.as_str().trim_end_matches('/'))
        .with_credentials(Credentials::from(credentials))
        .with_grpc_subchannel_count(1)
        .build();
    let client = client.await;
    let client = client.map_err(|error| PullError::Unavailable(error.into()))?;
    let stream = client.subscribe(name);
    Ok(stream.set_max_outstanding_messages(OUTSTANDING).build())
}

fn refused(error: google_cloud_pubsub::Error) -> PullError {
    match error.status().map(|status| status.code.name()) {
        Some("NOT_FOUND") => PullError::Missing(error.into()),
        Some("PERMISSION_DENIED" | "UNAUTHENTICATED") => PullError::Denied(error.into()),
        // There is no access token, for good; the reason is among the sources.
        None if error.is_authentication() => PullError::Denied(error.into()),
        _ => PullError::Unavailable(error.into()),
    }
}

/// Counts the streams that the library opens; it asks for credentials for each.
///
/// The library opens a stream anew after an error in it, at once and without a limit, and reports
/// nothing. An HTTP status instead of gRPC's arrives as such an error. So the library is stopped after
/// several streams without a notification, and the caller waits.
#[derive(Debug, Default)]
struct Streams {
    recent: Mutex<VecDeque<Instant>>,
    added: Notify,
}

impl Streams {
    /// Forgets the streams before a new wait.
    fn restart(&self) {
        self.recent.lock().clear();
    }

    fn add(&self) {
        let mut recent = self.recent.lock();
        if recent.len() == MOST_STREAMS {
            recent.pop_front();
        }
        recent.push_back(Instant::now());
        drop(recent);
        self.added.notify_one();
    }

    /// Completes after too many streams within the period.
    async fn too_many(&self) {
        loop {
            let added = self.added.notified();
            let recent = self.recent.lock().front().map(Instant::elapsed);
            let is_full = self.recent.lock().len() == MOST_STREAMS;
            if is_full && recent.is_some_and(|age| age < PERIOD) {
                return;
            }
            added.await;
        }
    }
}

impl Pulled {
    /// Acknowledges the notification.
    pub fn done(self) {
        self.handler.ack();
    }

    /// Asks for another delivery.
    pub fn again(self) {
        self.handler.nack();
    }
}

/// Our access tokens in the library's form.
struct OurTokens {
    tokens: Arc<TokenSource>,
}

impl std::fmt::Debug for OurTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OurTokens")
    }
}

impl CredentialsProvider for OurTokens {
    async fn headers(
        &self,
        _extensions: http::Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        // An error of the look-up: the call is not the opening of a stream.
        let _ = STREAMS.try_with(|streams| streams.add());
        let token = self.tokens.access_token().await.map_err(|error| {
            let may_pass = matches!(error, TokenError::Unavailable { .. });
            CredentialsError::from_source(may_pass, error)
        })?;
        let value = format!("Bearer {}", token.expose_secret());
        let mut value = HeaderValue::try_from(value)
            .map_err(|error| CredentialsError::from_source(false, error))?;
        value.set_sensitive(true);
        Ok(CacheableResource::New {
            entity_tag: EntityTag::new(),
            data: HeaderMap::from_iter([(AUTHORIZATION, value)]),
        })
    }

    async fn universe_domain(&self) -> Option<String> {
        None
    }
}
