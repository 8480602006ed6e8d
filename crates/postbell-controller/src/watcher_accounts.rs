//! Changes the accounts of a running watcher (protocol, section 5).

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::uri::PathAndQuery;
use postbell_core::BoxError;
use postbell_protocol::gateway_token::GatewayToken;
use postbell_protocol::routes::{GOG_TOKEN, WATCHER_ACCOUNTS};
use postbell_protocol::watched_accounts::WatchedAccount;
use tokio::time::timeout;

use crate::loopback::Loopback;
use crate::push_route::sensitive;

/// The time-out of a change of the watcher's accounts. The end of a sync takes most of it.
const PUT_TIMEOUT: Duration = Duration::from_secs(15);

/// Has a running watcher watch these accounts.
pub(crate) async fn put_accounts(
    watcher: &Loopback,
    token: &GatewayToken,
    accounts: &[WatchedAccount],
) -> Result<(), BoxError> {
    let uri = watcher.uri(PathAndQuery::from_static(WATCHER_ACCOUNTS));
    let request = Request::put(uri)
        .header(CONTENT_TYPE, "application/json")
        .header(GOG_TOKEN, sensitive(token))
        .body(Body::from(serde_json::to_vec(accounts)?))?;
    let response = timeout(PUT_TIMEOUT, watcher.send(request)).await??;
    if !response.status().is_success() {
        return Err(format!("it answered {}", response.status().as_u16()).into());
    }
    Ok(())
}
