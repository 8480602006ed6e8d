//! The reverse proxy to the gateway: HTTP, streamed in both directions, and WebSockets.

mod headers;
mod tunnel;
mod websocket;

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postbell_http::{constant_time_eq, error_response};
use postbell_protocol::gateway_token::GatewayToken;
use postbell_protocol::routes::PROXY_TOKEN;
use tower_http::timeout::TimeoutBody;
use tracing::warn;

use self::headers::BodyKind;
pub(crate) use self::tunnel::Tunnels;
use crate::endpoint::Endpoint;
use crate::loopback::Loopback;
use crate::settings::{ProxyToken, TunnelLimits};

/// The `retry-after` header of a 503, in seconds.
const RETRY_AFTER: &str = "5";

/// The longest pause within a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The reverse proxy to the gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Proxy {
    gateway_token: GatewayToken,
    proxy_token: ProxyToken,
    gateway: Endpoint,
    pub(crate) loopback: Loopback,
    pub(crate) tunnels: Tunnels,
}

impl Proxy {
    /// A proxy to `gateway`.
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

    /// Returns a router whose fallback forwards to the gateway.
    pub fn router(self) -> Router {
        Router::new().fallback(forward).with_state(self)
    }

    fn is_authorized(&self, request: &Request) -> bool {
        let shown = request.headers().get(PROXY_TOKEN);
        let shown = shown.and_then(|shown| shown.to_str().ok());
        self.proxy_token == ProxyToken::NotRequired
            || shown.is_some_and(|shown| constant_time_eq(self.gateway_token.expose(), shown))
    }
}

/// Forwards a request to the gateway and returns its response.
async fn forward(State(proxy): State<Proxy>, mut request: Request) -> Response {
    if !proxy.is_authorized(&request) {
        return error_response(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    if let Err((status, expected)) = headers::check(&request) {
        return error_response(status, expected);
    }
    if !proxy.gateway.is_running() {
        return unavailable("Gateway not ready");
    }
    let path = request.uri().path_and_query().cloned();
    // `CONNECT host:port` and `OPTIONS *` have no path.
    let path = path.filter(|path| path.as_str().starts_with('/'));
    let (Some(path), true) = (path, request.method() != Method::CONNECT) else {
        return error_response(StatusCode::BAD_REQUEST, "expected a path");
    };
    *request.uri_mut() = proxy.loopback.uri(path);
    if headers::is_websocket_request(&request) {
        if headers::body_kind(request.headers()) != BodyKind::Absent {
            return error_response(
                StatusCode::BAD_REQUEST,
                "expected a handshake without a body",
            );
        }
        return websocket::forward(&proxy, request).await;
    }
    let body = headers::body_kind(request.headers());
    headers::prepare_for_gateway(request.headers_mut(), proxy.loopback.authority());
    if body == BodyKind::Chunked {
        headers::set_chunked(request.headers_mut());
    }
    if body != BodyKind::Absent {
        request = request.map(|body| Body::new(TimeoutBody::new(BODY_TIMEOUT, body)));
    }
    match proxy.loopback.send(request).await {
        Ok(mut response) => {
            headers::remove_hop_by_hop(response.headers_mut());
            response.map(Body::new)
        }
        Err(error) => {
            let error: &dyn Error = &error;
            let port = proxy.gateway.port();
            warn!(error, port, "The gateway did not answer");
            bad_gateway()
        }
    }
}

fn unavailable(error: &str) -> Response {
    let retry = [(header::RETRY_AFTER, RETRY_AFTER)];
    (
        retry,
        error_response(StatusCode::SERVICE_UNAVAILABLE, error),
    )
        .into_response()
}

fn bad_gateway() -> Response {
    error_response(StatusCode::BAD_GATEWAY, "Bad Gateway")
}
