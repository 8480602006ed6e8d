//! Streaming pull with Google's client library
//! (<https://docs.cloud.google.com/pubsub/docs/pull#streamingpull_api>).

use std::sync::Arc;

use google_cloud_auth::credentials::{
    CacheableResource, Credentials, CredentialsProvider, EntityTag,
};
use google_cloud_auth::errors::CredentialsError;
use google_cloud_pubsub::client::Subscriber;
use google_cloud_pubsub::subscriber::MessageStream;
use google_cloud_pubsub::subscriber::handler::Handler;
use postbell_core::BoxError;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use secrecy::ExposeSecret;
use url::Url;

use crate::oauth::{TokenError, TokenSource};

/// The largest number of unacknowledged notifications.
const OUTSTANDING: i64 = 16;

/// A pull subscription.
pub struct PullSubscription {
    stream: MessageStream,
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
#[error("pub/sub does not hand notifications out")]
pub struct PullError(#[source] BoxError);

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
        let client = Subscriber::builder()
            .with_endpoint(endpoint.as_str().trim_end_matches('/'))
            .with_credentials(Credentials::from(OurTokens(tokens)))
            .with_grpc_subchannel_count(1)
            .build();
        let client = client.await.map_err(|error| PullError(error.into()))?;
        let stream = client.subscribe(name);
        let stream = stream.set_max_outstanding_messages(OUTSTANDING).build();
        Ok(Self { stream })
    }

    /// Waits for the next notification. The library reconnects by itself.
    ///
    /// # Errors
    ///
    /// [`PullError`] if Pub/Sub refuses for good: the subscription is missing or access is denied.
    pub async fn next(&mut self) -> Result<Pulled, PullError> {
        match self.stream.next().await {
            Some(Ok((message, handler))) => Ok(Pulled {
                data: message.data.to_vec(),
                handler,
            }),
            Some(Err(error)) => Err(PullError(error.into())),
            None => Err(PullError("the stream has ended".into())),
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
struct OurTokens(Arc<TokenSource>);

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
        let token = self.0.access_token().await.map_err(|error| {
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
