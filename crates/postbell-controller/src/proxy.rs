//! Everything that is not the controller's own goes to the gateway: HTTP, streamed both ways, and
//! WebSockets.

mod headers;
mod tunnel;
mod websocket;

use std::error::Error;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use postbell_http::constant_time_eq;
use postbell_protocol::gateway_token::GatewayToken;
use serde_json::json;
use tower_http::timeout::TimeoutBody;
use tracing::warn;

use self::headers::BodyOf;
pub(crate) use self::tunnel::Tunnels;
use crate::endpoint::Endpoint;
use crate::loopback::Loopback;
use crate::settings::{ProxyToken, TunnelLimits};

/// When whoever finds no gateway may ask again, in seconds.
const RETRY_AFTER: &str = "5";

/// How long nothing of a request's body may come.
const SILENCE: Duration = Duration::from_secs(60);

/// The way to the gateway, for everybody or for those who show the token. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Proxy {
    gateway_token: GatewayToken,
    proxy_token: ProxyToken,
    gateway: Endpoint,
    pub(crate) loopback: Loopback,
    pub(crate) tunnels: Tunnels,
}

impl Proxy {
    /// The way to the gateway that listens at `gateway`.
    #[must_use]
    pub fn new(
        gateway_token: GatewayToken,
        proxy_token: ProxyToken,
        limits: TunnelLimits,
        gateway: Endpoint,
    ) -> Self {
        Self {
            gateway_token,
            proxy_token,
            loopback: Loopback::new(gateway.port()),
            gateway,
            tunnels: Tunnels::new(limits),
        }
    }

    /// All paths that no other route has.
    pub fn router(self) -> Router {
        Router::new().fallback(pass_on).with_state(self)
    }

    fn lets_in(&self, request: &Request) -> bool {
        let shown = request.headers().get(headers::PROXY_TOKEN);
        let shown = shown.and_then(|shown| shown.to_str().ok());
        self.proxy_token == ProxyToken::NotRequired
            || shown.is_some_and(|shown| constant_time_eq(self.gateway_token.expose(), shown))
    }
}

/// Passes a request on to the gateway, and its answer back.
async fn pass_on(State(proxy): State<Proxy>, mut request: Request) -> Response {
    if !proxy.lets_in(&request) {
        return refusal(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    if !proxy.gateway.runs() {
        return not_running();
    }
    let path = request.uri().path_and_query().cloned();
    // `CONNECT host:port` names no path, and `OPTIONS *` none of the gateway's.
    let path = path.filter(|path| path.as_str().starts_with('/'));
    let (Some(path), true) = (path, request.method() != Method::CONNECT) else {
        return refusal(StatusCode::BAD_REQUEST, "expected a path");
    };
    *request.uri_mut() = proxy.loopback.uri(path);
    if headers::asks_for_websocket(&request) {
        if headers::body_of(request.headers()) != BodyOf::Nothing {
            return refusal(
                StatusCode::BAD_REQUEST,
                "expected a handshake without a body",
            );
        }
        return websocket::pass_on(&proxy, request).await;
    }
    let body = headers::body_of(request.headers());
    headers::for_the_gateway(request.headers_mut(), proxy.loopback.authority());
    if body == BodyOf::UnknownLength {
        headers::mark_as_chunked(request.headers_mut());
    }
    if body != BodyOf::Nothing {
        request = request.map(|body| Body::new(TimeoutBody::new(SILENCE, body)));
    }
    match proxy.loopback.send(request).await {
        Ok(mut answer) => {
            headers::leave_out_those_of_one_connection(answer.headers_mut());
            answer.map(Body::new)
        }
        Err(error) => {
            let error: &dyn Error = &error;
            let port = proxy.gateway.port();
            warn!(error, port, "The gateway did not answer");
            bad_gateway()
        }
    }
}

fn not_running() -> Response {
    come_again("Gateway not ready")
}

fn come_again(error: &str) -> Response {
    let retry = [(header::RETRY_AFTER, RETRY_AFTER)];
    (retry, refusal(StatusCode::SERVICE_UNAVAILABLE, error)).into_response()
}

fn bad_gateway() -> Response {
    refusal(StatusCode::BAD_GATEWAY, "Bad Gateway")
}

fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
