//! Everything that is not the controller's own goes to the gateway: HTTP, streamed both ways, and
//! WebSockets.

mod headers;
mod tunnel;
mod websocket;

use std::error::Error;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use serde_json::json;
use tracing::warn;

pub(crate) use self::tunnel::Tunnels;
use crate::bearer::is_same;
use crate::controller::Controller;
use crate::loopback::Loopback;
use crate::presence::{Door, Presence};
use crate::settings::ProxyToken;

/// When whoever finds no gateway may ask again, in seconds.
const RETRY_AFTER: &str = "5";

/// The gateway, as whoever comes through the controller reaches it.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    pub(crate) loopback: Loopback,
    pub(crate) door: Door,
    pub(crate) token: ProxyToken,
    pub(crate) tunnels: Tunnels,
}

/// Passes a request on to the gateway, and its answer back.
pub(crate) async fn pass_on(
    State(controller): State<Controller>,
    mut request: Request,
) -> Response {
    let gateway = &controller.parts.gateway;
    if gateway.token == ProxyToken::Required && !shows_token(&controller, &request) {
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
        return websocket::pass_on(gateway, request).await;
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

fn shows_token(controller: &Controller, request: &Request) -> bool {
    let shown = request.headers().get(headers::PROXY_TOKEN);
    let shown = shown.and_then(|shown| shown.to_str().ok());
    let expected = controller.parts.gateway_token.expose_secret();
    shown.is_some_and(|shown| is_same(shown, expected))
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
