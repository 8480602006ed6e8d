//! A push comes in from the relay and goes to the watcher.

use std::error::Error;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRef, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use postbell_core::BoxError;
use postbell_http::{BodyError, read_body};
use postbell_protocol::gateway_token::GatewayToken;
use postbell_protocol::routes;
use serde_json::json;
use tokio::time::timeout;
use tracing::warn;

use crate::bearer::{Unauthorized, VerifiedCaller};
use crate::children::PUSH_PATH;
use crate::endpoint::Endpoint;
use crate::loopback::Loopback;

/// The largest body: the relay takes no larger one.
const BODY_LIMIT: usize = 64 * 1024;

/// How long a push waits for a watcher that is on its way: it is often the push that has woken the
/// machine, and a refusal would cost it the relay's minute.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a push may take in all: a little less than a relay waits, whose
/// `relay.delivery_timeout` is 30 s.
const TIMEOUT: Duration = Duration::from_secs(28);

/// The way of pushes to the watcher. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PushRoute {
    gateway_token: GatewayToken,
    watcher: Option<(Loopback, Endpoint)>,
}

impl PushRoute {
    /// The way to the watcher that listens at `watcher`; `None` where none is configured. Callers
    /// show `gateway_token`, and the watcher is shown the same.
    #[must_use]
    pub fn new(gateway_token: GatewayToken, watcher: Option<Endpoint>) -> Self {
        let watcher = watcher.map(|endpoint| (Loopback::new(endpoint.port()), endpoint));
        Self {
            gateway_token,
            watcher,
        }
    }

    /// `/_kilo/gmail-pubsub`
    pub fn router(self) -> Router {
        Router::new()
            .route(routes::CONTROLLER_PUSH, post(pass_on))
            .with_state(self)
    }
}

impl FromRef<PushRoute> for GatewayToken {
    fn from_ref(route: &PushRoute) -> Self {
        route.gateway_token.clone()
    }
}

/// Passes one push on, and answers so that the relay repeats what may still be taken, and nothing
/// else: the watcher's 2xx as it is, its 4xx as 200 (it will never take it), its 5xx as 500.
async fn pass_on(
    State(route): State<PushRoute>,
    caller: Result<VerifiedCaller, Unauthorized>,
    request: Request,
) -> Response {
    let Some((loopback, endpoint)) = &route.watcher else {
        return answer(StatusCode::NOT_FOUND, "No watcher is configured");
    };
    if let Err(unauthorized) = caller {
        return unauthorized.into_response();
    }
    let handed_over = async {
        let body = match read_body(request.into_body(), BODY_LIMIT).await {
            Ok(body) => body,
            Err(BodyError::TooSlow) => {
                warn!("A push did not arrive whole in time");
                return did_not_answer();
            }
            Err(error) => return answer(error.status(), &error.to_string()),
        };
        if !endpoint.listens_within(PATIENCE).await {
            warn!("A push came, and the watcher is not running");
            return answer(
                StatusCode::SERVICE_UNAVAILABLE,
                "The watcher is not running",
            );
        }
        match hand_over(loopback, &route.gateway_token, body).await {
            Ok(status) => translate(status),
            Err(error) => {
                let error: &dyn Error = &*error;
                warn!(error, "Could not hand a push to the watcher");
                did_not_answer()
            }
        }
    };
    timeout(TIMEOUT, handed_over).await.unwrap_or_else(|_| {
        warn!("The watcher took too long for a push");
        did_not_answer()
    })
}

async fn hand_over(
    loopback: &Loopback,
    token: &GatewayToken,
    body: Bytes,
) -> Result<StatusCode, BoxError> {
    let push = Request::post(loopback.uri(PathAndQuery::from_static(PUSH_PATH)))
        .header(header::CONTENT_TYPE, "application/json")
        .header(routes::GOG_TOKEN, sensitive(token))
        .body(Body::from(body))?;
    // Its body says nothing that the relay would need.
    Ok(loopback.send(push).await?.status())
}

fn translate(watcher: StatusCode) -> Response {
    let taken = Json(json!({ "ok": true, "gogStatus": watcher.as_u16() }));
    if watcher.is_success() {
        (watcher, taken).into_response()
    } else if watcher.is_client_error() {
        warn!(
            status = watcher.as_u16(),
            "The watcher will never take this push"
        );
        (StatusCode::OK, taken).into_response()
    } else {
        warn!(
            status = watcher.as_u16(),
            "The watcher could not take a push"
        );
        answer(StatusCode::INTERNAL_SERVER_ERROR, "The watcher failed")
    }
}

fn did_not_answer() -> Response {
    answer(
        StatusCode::INTERNAL_SERVER_ERROR,
        "The watcher did not answer",
    )
}

fn answer(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

/// The token as a header value that debug output does not show.
#[expect(clippy::expect_used, reason = "a token is visible ASCII characters")]
fn sensitive(token: &GatewayToken) -> HeaderValue {
    let mut value = HeaderValue::from_str(token.expose()).expect("visible ASCII characters");
    value.set_sensitive(true);
    value
}
