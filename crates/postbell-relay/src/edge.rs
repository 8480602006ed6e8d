//! Where pushes come in (contract, section 1), where machines report in (section 2), and where the
//! platform says who has changed.

mod caller;
mod checkin;
mod envelope;
mod forget;
mod health;
mod outcome;
mod push;
mod refusal;
mod url_token;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use postbell_core::{Clock, Inbox, UserId};
use postbell_google::IdTokenVerifier;
use postbell_protocol::routes;
use secrecy::SecretString;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::health::LastDepth;
use self::outcome::guard;
use self::refusal::Refusal;
pub use self::url_token::UrlTokenKey;
use crate::{Metrics, Rate, RateLimit, Recall};

/// How often machines that nobody has heard of may report in, all together: each costs a question
/// to the directory before it can be told from a stranger.
const STRANGERS: Rate = Rate {
    per_second: NonZeroU32::new(10).unwrap(),
    burst: NonZeroU32::new(100).unwrap(),
};

/// How often those are forgotten who have sent little lately.
const TIDY_PAUSE: Duration = Duration::from_secs(60);

/// What the edge works with.
pub struct EdgeParts {
    /// Where a notification waits once it is accepted.
    pub inbox: Arc<dyn Inbox>,

    /// Who the user is, and whose pushes are theirs.
    pub recall: Arc<Recall>,

    /// Checks Google's tokens.
    pub id_tokens: Arc<IdTokenVerifier>,

    /// The time of day.
    pub clock: Arc<dyn Clock>,

    /// The relay's public base URL without a slash at its end; audiences are built on it.
    pub audience: String,

    /// Makes the tokens in URLs; without it that route refuses everybody.
    pub url_tokens: Option<UrlTokenKey>,

    /// What the platform shows when it says that a user has changed; without it nobody is believed.
    pub api_key: Option<SecretString>,

    /// How much each user may send.
    pub rate: Rate,

    /// What becomes of a push that is refused.
    pub rejected: Rejected,

    /// Told of each notification that waits; the dispatcher listens.
    pub arrivals: Arc<Notify>,

    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// What becomes of a push that is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rejected {
    /// The sender is told, and sends it again.
    Told,
    /// It is acknowledged with 204, so that it is never sent again, as KiloClaw's worker does.
    Acknowledged,
}

/// The edge. Cheap to clone.
#[derive(Clone)]
pub struct Edge(Arc<Shared>);

struct Shared {
    parts: EdgeParts,
    users: RateLimit<UserId>,
    strangers: RateLimit<()>,
    last_depth: LastDepth,
}

impl Edge {
    /// Joins the parts.
    #[must_use]
    pub fn new(parts: EdgeParts) -> Self {
        Self(Arc::new(Shared {
            users: RateLimit::new(parts.rate, Arc::clone(&parts.clock)),
            strangers: RateLimit::new(STRANGERS, Arc::clone(&parts.clock)),
            last_depth: LastDepth::default(),
            parts,
        }))
    }

    /// The routes of the edge.
    pub fn router(&self) -> Router {
        Router::new()
            .route(routes::PUSH_USER, post(push::from_own_subscription))
            .route(routes::PUSH_USER_TOKEN, post(push::with_url_token))
            .route(routes::PUSH_SHARED, post(push::from_shared_subscription))
            .route(routes::CHECK_IN, post(checkin::check_in))
            .route(routes::RELAY_FORGET, post(forget::forget))
            .route("/health", get(postbell_http::health))
            .route("/ready", get(health::ready))
            .route("/metrics", get(health::metrics))
            .fallback(async || Refusal::NoSuchRoute)
            .layer(from_fn_with_state(self.clone(), guard))
            .with_state(self.clone())
    }

    /// Forgets those who have sent little lately, again and again until `stop` is cancelled.
    pub async fn forget_the_quiet(self, stop: CancellationToken) {
        while stop.run_until_cancelled(sleep(TIDY_PAUSE)).await.is_some() {
            self.0.users.forget_the_quiet();
        }
    }

    fn parts(&self) -> &EdgeParts {
        &self.0.parts
    }
}
