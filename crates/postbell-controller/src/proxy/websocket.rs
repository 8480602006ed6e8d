//! The handshake of WebSockets.

use std::error::Error;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{Proxy, bad_gateway, headers, unavailable};

/// Forwards a handshake to the gateway and connects both WebSockets. A rejected handshake is returned
/// like any response.
pub(super) async fn forward(proxy: &Proxy, mut request: Request) -> Response {
    let Some(permit) = proxy.tunnels.permit() else {
        warn!("Refused a WebSocket: the limit is reached (MAX_WS_CONNS)");
        return unavailable("Too many WebSockets");
    };
    let caller = hyper::upgrade::on(&mut request);
    headers::prepare_handshake_for_gateway(request.headers_mut(), proxy.loopback.authority());
    // A handshake has no body.
    let handshake = request.map(|_| Body::empty());
    let response = timeout(
        proxy.tunnels.limits().handshake,
        proxy.loopback.send(handshake),
    );
    let mut response = match response.await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            let error: &dyn Error = &error;
            warn!(error, "The gateway did not answer a WebSocket handshake");
            return bad_gateway();
        }
        Err(_) => {
            warn!(
                "The gateway did not answer a WebSocket handshake in time (WS_HANDSHAKE_TIMEOUT_MS)"
            );
            return bad_gateway();
        }
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        headers::remove_hop_by_hop(response.headers_mut());
        return response.map(Body::new);
    }
    let gateway = hyper::upgrade::on(&mut response);
    headers::prepare_handshake_for_caller(response.headers_mut());
    proxy.tunnels.connect(permit, upgraded(caller, gateway));
    response.map(|_| Body::empty())
}

/// Returns both streams once the caller has received the response.
async fn upgraded(
    caller: OnUpgrade,
    gateway: OnUpgrade,
) -> Option<(TokioIo<Upgraded>, TokioIo<Upgraded>)> {
    match tokio::try_join!(caller, gateway) {
        Ok((caller, gateway)) => Some((TokioIo::new(caller), TokioIo::new(gateway))),
        Err(error) => {
            debug!(%error, "A WebSocket was closed during its handshake");
            None
        }
    }
}
