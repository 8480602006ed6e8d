//! Everything that is not the controller's own goes to the gateway: HTTP, streamed both ways, and
//! WebSockets.

mod headers;
mod tunnel;
mod websocket;

use std::error::Error;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tracing::warn;

pub(crate) use self::tunnel::Tunnels;
use crate::bearer::is_same;
use crate::loopback::Loopback;
use crate::presence::{Door, Presence};
use crate::settings::{ProxyToken, TunnelLimits};

/// When whoever finds no gateway may ask again, in seconds.
const RETRY_AFTER: &str = "5";

/// The way of everybody to the gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GatewayRoute {
    gateway_token: Arc<SecretString>,
    proxy_token: ProxyToken,
    pub(crate) loopback: Loopback,
    door: Door,
    pub(crate) tunnels: Tunnels,
}

impl GatewayRoute {
    /// The way to the gateway behind `door`, for everybody, or for those who show `gateway_token`.
    #[must_use]
    pub fn new(
        gateway_token: Arc<SecretString>,
        proxy_token: ProxyToken,
        limits: TunnelLimits,
        door: Door,
    ) -> Self {
        Self {
            gateway_token,
            proxy_token,
            loopback: Loopback::new(door.port()),
            door,
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
        let expected = self.gateway_token.expose_secret();
        self.proxy_token == ProxyToken::NotRequired
            || shown.is_some_and(|shown| is_same(shown, expected))
    }
}

/// Passes a request on to the gateway, and its answer back.
async fn pass_on(State(gateway): State<GatewayRoute>, mut request: Request) -> Response {
    if !gateway.lets_in(&request) {
        return refusal(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    if gateway.door.presence() == Presence::Away {
        return not_running();
    }
    let path = request.uri().path_and_query().cloned();
    // `CONNECT host:port` names no path, and `OPTIONS *` none of the gateway's.
    let path = path.filter(|path| path.as_str().starts_with('/'));
    let (Some(path), true) = (path, request.method() != Method::CONNECT) else {
        return refusal(StatusCode::BAD_REQUEST, "expected a path");
    };
    *request.uri_mut() = gateway.loopback.uri(path);
    if headers::asks_for_websocket(&request) {
        return websocket::pass_on(&gateway, request).await;
    }
    headers::for_the_gateway(request.headers_mut(), gateway.loopback.authority());
    match gateway.loopback.send(request).await {
        Ok(mut answer) => {
            headers::for_the_caller(answer.headers_mut());
            answer.map(Body::new)
        }
        Err(error) => {
            let error: &dyn Error = &error;
            warn!(error, "The gateway did not answer");
            bad_gateway()
        }
    }
}

fn not_running() -> Response {
    let retry = [(header::RETRY_AFTER, RETRY_AFTER)];
    let body = Json(json!({ "error": "Gateway not ready" }));
    (StatusCode::SERVICE_UNAVAILABLE, retry, body).into_response()
}

fn bad_gateway() -> Response {
    refusal(StatusCode::BAD_GATEWAY, "Bad Gateway")
}

fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
