//! The handshake of a WebSocket.

use std::error::Error;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{Proxy, bad_gateway, come_again, headers};

/// Asks the gateway for a WebSocket, and joins it to the caller's. A handshake that the gateway
/// refuses is passed back like any answer.
pub(super) async fn pass_on(proxy: &Proxy, mut request: Request) -> Response {
    let Some(room) = proxy.tunnels.room() else {
        warn!("There are as many WebSockets as there may be (MAX_WS_CONNS)");
        return come_again("Too many WebSockets");
    };
    let caller = hyper::upgrade::on(&mut request);
    headers::for_the_gateways_websocket(request.headers_mut(), proxy.loopback.authority());
    // A handshake has no body.
    let handshake = request.map(|_| Body::empty());
    let answered = timeout(
        proxy.tunnels.limits().handshake,
        proxy.loopback.send(handshake),
    );
    let mut answer = match answered.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            let error: &dyn Error = &error;
            warn!(error, "The gateway did not answer a WebSocket's handshake");
            return bad_gateway();
        }
        Err(_) => {
            warn!(
                "The gateway took too long for a WebSocket's handshake (WS_HANDSHAKE_TIMEOUT_MS)"
            );
            return bad_gateway();
        }
    };
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        headers::leave_out_those_of_one_connection(answer.headers_mut());
        return answer.map(Body::new);
    }
    let gateway = hyper::upgrade::on(&mut answer);
    headers::for_the_callers_websocket(answer.headers_mut());
    proxy.tunnels.join(room, both(caller, gateway));
    answer.map(|_| Body::empty())
}

/// Both ends, once the caller has the answer.
async fn both(
    caller: OnUpgrade,
    gateway: OnUpgrade,
) -> Option<(
    TokioIo<hyper::upgrade::Upgraded>,
    TokioIo<hyper::upgrade::Upgraded>,
)> {
    match tokio::try_join!(caller, gateway) {
        Ok((caller, gateway)) => Some((TokioIo::new(caller), TokioIo::new(gateway))),
        Err(error) => {
            debug!(%error, "A WebSocket was given up before it began");
            None
        }
    }
}
