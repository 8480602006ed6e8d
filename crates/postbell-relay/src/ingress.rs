//! Receives pushes (protocol, section 1), check-ins of machines (section 2), and the platform's
//! messages about users that have changed.

mod auth;
mod check_in;
mod envelope;
mod error;
mod forget;
mod health;
mod middleware;
mod push;
mod refusals;
mod service;
mod url_token;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};
use postbell_core::{Clock, DeliveryLog, DeliveryQueue, Tracer, UserId};
use postbell_google::IdTokenVerifier;
use postbell_protocol::routes;
use secrecy::SecretString;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::auth::{OwnSubscription, SecretUrl};
use self::error::ApiError;
use self::health::CachedDepth;
use self::refusals::Refusals;
pub use self::service::IngressService;
pub use self::url_token::UrlTokenKey;
use crate::{DirectoryCache, Metrics, Rate, RateLimit};

/// The rate of check-ins from unknown machines, all together: each costs a directory request before
/// it can be rejected.
const UNKNOWN_MACHINES: Rate = Rate {
    per_second: NonZeroU32::new(10).unwrap(),
    burst: NonZeroU32::new(100).unwrap(),
};

/// The pause between two removals of idle senders.
const PRUNE_PAUSE: Duration = Duration::from_secs(60);

/// The parts of an [`Ingress`].
pub struct IngressParts {
    /// Stores accepted notifications.
    pub queue: Arc<dyn DeliveryQueue>,

    /// The log of that queue, for the metrics.
    pub log: Arc<dyn DeliveryLog>,

    /// Knows the users, their service accounts and their machines.
    pub directory: Arc<DirectoryCache>,

    /// Verifies Google's ID tokens.
    pub id_tokens: Arc<IdTokenVerifier>,

    /// The time of day.
    pub clock: Arc<dyn Clock>,

    /// The relay's public base URL without a trailing slash; audiences are derived from it.
    pub audience: String,

    /// Derives the tokens in URLs; without it the route with a URL token refuses every push.
    pub url_tokens: Option<UrlTokenKey>,

    /// The key that the platform sends; without it the platform's messages are refused.
    pub api_key: Option<SecretString>,

    /// The rate limit of each user.
    pub rate: Rate,

    /// How a refused push is answered.
    pub reject_policy: RejectPolicy,

    /// Notified of each notification that is due; the dispatcher listens.
    pub arrivals: Arc<Notify>,

    /// Counters.
    pub metrics: Arc<Metrics>,

    /// Begins the traces of mail.
    pub tracer: Tracer,
}

/// How a refused push is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RejectPolicy {
    /// With the error, so that the sender repeats it.
    Respond,
    /// With 204, so that it is never repeated, as KiloClaw's worker does.
    Ack,
}

/// The relay's HTTP routes. Cheap to clone.
#[derive(Clone)]
pub struct Ingress(Arc<Shared>);

struct Shared {
    parts: IngressParts,
    user_limit: RateLimit<UserId>,
    unknown_machine_limit: RateLimit<()>,
    depth: CachedDepth,
    refusals: Refusals,
}

impl Ingress {
    /// Joins the parts.
    #[must_use]
    pub fn new(parts: IngressParts) -> Self {
        Self(Arc::new(Shared {
            user_limit: RateLimit::new(parts.rate, Arc::clone(&parts.clock)),
            unknown_machine_limit: RateLimit::new(UNKNOWN_MACHINES, Arc::clone(&parts.clock)),
            depth: CachedDepth::default(),
            refusals: Refusals::default(),
            parts,
        }))
    }

    /// Returns the routes, for a server.
    pub fn service(&self) -> IngressService {
        let others = Router::new()
            .route(routes::PUSH_USER, post(push::receive::<OwnSubscription>))
            .route(routes::PUSH_USER_TOKEN, post(push::receive::<SecretUrl>))
            .route(routes::PUSH_SHARED, post(push::receive_shared))
            .route(routes::CHECK_IN, post(check_in::check_in))
            .route(routes::RELAY_FORGET, post(forget::forget))
            .route("/health", get(postbell_http::health))
            .route("/ready", get(health::ready))
            .route("/metrics", get(health::metrics))
            .fallback(async || ApiError::NoSuchRoute)
            .with_state(self.clone());
        let ingress = self.clone();
        IngressService { ingress, others }
    }

    /// Returns the routes, to be combined with others.
    pub fn router(&self) -> Router {
        let service = self.service();
        Router::new().fallback(move |request: Request| service.clone().respond(request, None))
    }

    /// Removes idle senders from the rate limit once a minute, until `stop` is cancelled.
    pub async fn prune_idle_senders(self, stop: CancellationToken) {
        while stop.run_until_cancelled(sleep(PRUNE_PAUSE)).await.is_some() {
            self.0.user_limit.prune_idle();
        }
    }

    fn parts(&self) -> &IngressParts {
        &self.0.parts
    }

    /// Counts a push against its user's rate limit.
    fn check_rate(&self, user: &UserId) -> Result<(), ApiError> {
        let checked = self.0.user_limit.check(user);
        checked.map_err(|seconds| ApiError::TooManyRequests { seconds })
    }

    /// Counts a check-in against the rate limit of unknown machines.
    fn check_unknown_machine_rate(&self) -> Result<(), ApiError> {
        let checked = self.0.unknown_machine_limit.check(&());
        checked.map_err(|seconds| ApiError::TooManyRequests { seconds })
    }
}
