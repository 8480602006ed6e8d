//! The JSON API (protocol, section 2), with a file per kind of route.

mod admin;
mod auth;
mod body;
mod check_in;
mod credentials;
mod document;
mod error;
mod health;
mod history;
mod lookup;
mod machine;
mod machine_config;
mod notifications;
mod operator;
mod status;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use postbell_core::{SandboxId, UserId};
use postbell_protocol::credential_envelope::PlatformKey;
use postbell_protocol::gateway_token::GatewayTokens;
use secrecy::SecretString;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::error::ApiError;
pub use self::status::user_status;
use crate::request_limit::{RequestLimit, change_limit};
use crate::{ApiKeys, MailboxUsers, Operator, Tarballs, UserService, UserTokens};

/// The largest body without credentials: a few ids.
const BODY_LIMIT: usize = 16 * 1024;

/// The dependencies of the platform's API.
pub struct PlatformParts {
    /// Reads and changes users.
    pub users: Arc<UserService>,

    /// Finds the users of a mailbox.
    pub mailboxes: Arc<MailboxUsers>,

    /// The credentials of users, for their machines.
    pub tarballs: Tarballs,

    /// Further arguments of the watchers on machines that fetch their configuration.
    pub watcher_arguments: Vec<String>,

    /// Decrypts credentials; setup tools fetch its public half.
    pub platform_key: Option<Arc<PlatformKey>>,

    /// The public base URL of the relay, for setup tools.
    pub relay_url: Option<String>,

    /// The expected `x-internal-api-key`.
    pub api_key: SecretString,

    /// Derives and verifies the machines' tokens.
    pub gateway_tokens: GatewayTokens,

    /// How long relays may remember an answer: longer if they are notified of changes.
    pub lookups_fresh_for: Duration,

    /// Verifies the tokens of users' setup tools.
    pub user_tokens: UserTokens,

    /// Verifies the API keys of operators.
    pub api_keys: ApiKeys,

    /// Does what operators ask for.
    pub operator: Arc<Operator>,
}

/// The JSON API of the platform. Cheap to clone.
#[derive(Clone)]
pub struct Platform(Arc<Shared>);

struct Shared {
    parts: PlatformParts,
    config_fetches: RequestLimit<SandboxId>,
    /// Of what users change by their token.
    changes: RequestLimit<UserId>,
}

impl Platform {
    /// Creates the API.
    #[must_use]
    pub fn new(parts: PlatformParts) -> Self {
        Self(Arc::new(Shared {
            parts,
            config_fetches: machine_config::fetch_limit(),
            changes: change_limit(),
        }))
    }

    /// The router of the API.
    pub fn router(&self) -> Router {
        let (router, document) = routes().split_for_parts();
        let document = document::as_json(document);
        router
            .route("/api/openapi.json", get(async || document))
            .route("/health", get(postbell_http::health))
            .route("/ready", get(health::ready))
            .route("/metrics", get(health::metrics))
            .fallback(async || ApiError::NoSuchRoute)
            .method_not_allowed_fallback(async || ApiError::NoSuchMethod)
            .layer(map_response(add_headers))
            .with_state(self.clone())
    }

    /// The OpenAPI document as JSON.
    #[must_use]
    pub fn document() -> Bytes {
        let (_, document) = routes().split_for_parts();
        document::as_json(document).1
    }

    fn parts(&self) -> &PlatformParts {
        &self.0.parts
    }

    fn users(&self) -> &UserService {
        &self.parts().users
    }
}

/// The response of an unknown route.
pub(crate) fn no_such_route() -> Response {
    ApiError::NoSuchRoute.into_response()
}

/// Forbids caches to store a response, and browsers to guess its type.
async fn add_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let mut put = |name, value| headers.insert(name, HeaderValue::from_static(value));
    put(header::CACHE_CONTROL, "no-store");
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

/// The documented routes.
fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::with_openapi(document::head())
        .merge(operator::routes())
        .routes(routes!(lookup::look_up))
        .routes(routes!(status::status))
        .routes(routes!(status::gateway_token))
        .routes(routes!(status::oidc_email))
        .routes(routes!(lookup::user_by_email))
        .routes(routes!(lookup::user_by_sandbox))
        .routes(routes!(history::report))
        .routes(routes!(notifications::enable, notifications::disable))
        .routes(routes!(machine::wake))
        .routes(routes!(machine::running))
        .routes(routes!(check_in::check_in))
        .routes(routes!(machine_config::machine_config))
        .routes(routes!(admin::public_key))
        .routes(routes!(credentials::connect, credentials::disconnect))
        .routes(routes!(admin::show, admin::connect, admin::disconnect))
}
