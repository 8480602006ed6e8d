//! A push comes in from the relay and goes to the watcher.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use serde_json::json;
use tracing::warn;

use crate::Controller;
use crate::bearer::VerifiedCaller;

/// The largest body: the relay takes no larger one.
const BODY_LIMIT: usize = 64 * 1024;

/// How long the watcher may take; a little less than the relay waits for us.
const TIMEOUT: Duration = Duration::from_secs(28);

/// The header in which the watcher is shown the gateway token.
const WATCHER_TOKEN_HEADER: &str = "x-gog-token";

/// Passes one push on, and answers so that the relay repeats what may still be taken, and nothing
/// else: the watcher's 2xx as it is, its 4xx as 200 (it will never take it), its 5xx as 500.
pub(crate) async fn pass_on(
    State(controller): State<Controller>,
    caller: Result<VerifiedCaller, (StatusCode, Json<serde_json::Value>)>,
    request: Request,
) -> Response {
    let Some(url) = controller.watcher_url else {
        return answer(StatusCode::NOT_FOUND, "No watcher is configured");
    };
    if let Err(unauthorized) = caller {
        return unauthorized.into_response();
    }
    let body = match read(request).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let push = controller
        .client
        .post(url)
        .timeout(TIMEOUT)
        .header(header::CONTENT_TYPE, "application/json")
        .header(
            WATCHER_TOKEN_HEADER,
            controller.gateway_token.expose_secret(),
        )
        .body(body);
    match push.send().await {
        Ok(taken) => translate(taken.status()),
        Err(error) => {
            warn!(error = %error.without_url(), "Could not hand a push to the watcher");
            answer(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The watcher did not answer",
            )
        }
    }
}

async fn read(mut request: Request) -> Result<Bytes, Response> {
    DefaultBodyLimit::max(BODY_LIMIT).apply(&mut request);
    Bytes::from_request(request, &())
        .await
        .map_err(IntoResponse::into_response)
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

fn answer(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
