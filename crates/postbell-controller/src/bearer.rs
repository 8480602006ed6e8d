//! Authentication by the gateway token.

use axum::Json;
use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use postbell_http::{bearer_token, constant_time_eq};
use postbell_protocol::gateway_token::GatewayToken;
use serde_json::{Value, json};

/// Extractor for a request with the gateway token. A handler that takes it rejects all others.
pub(crate) struct VerifiedCaller;

/// The response to a request without the token.
pub(crate) type Unauthorized = (StatusCode, Json<Value>);

/// Whether a request shows a token.
pub(crate) fn shows(headers: &HeaderMap, expected: &GatewayToken) -> bool {
    let bearer = bearer_token(headers);
    bearer.is_some_and(|bearer| constant_time_eq(expected.expose(), bearer.token()))
}

impl<S> FromRequestParts<S> for VerifiedCaller
where
    S: Send + Sync,
    GatewayToken: FromRef<S>,
{
    type Rejection = Unauthorized;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Unauthorized> {
        let expected = GatewayToken::from_ref(state);
        if shows(&parts.headers, &expected) {
            Ok(Self)
        } else {
            let body = Json(json!({ "error": "Unauthorized" }));
            Err((StatusCode::UNAUTHORIZED, body))
        }
    }
}
