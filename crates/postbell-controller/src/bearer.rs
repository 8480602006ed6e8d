//! Authentication by the gateway token.

use axum::Json;
use axum::extract::{FromRef, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use postbell_http::{bearer_token, constant_time_eq};
use postbell_protocol::gateway_token::GatewayToken;
use serde_json::{Value, json};

/// Extractor for a request with the gateway token. A handler that takes it rejects all others.
pub(crate) struct VerifiedCaller;

/// The response to a request without the token.
pub(crate) type Unauthorized = (StatusCode, Json<Value>);

impl<S> FromRequestParts<S> for VerifiedCaller
where
    S: Send + Sync,
    GatewayToken: FromRef<S>,
{
    type Rejection = Unauthorized;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Unauthorized> {
        let expected = GatewayToken::from_ref(state);
        if bearer_token(&parts.headers)
            .is_some_and(|bearer| constant_time_eq(expected.expose(), bearer.token()))
        {
            Ok(Self)
        } else {
            let body = Json(json!({ "error": "Unauthorized" }));
            Err((StatusCode::UNAUTHORIZED, body))
        }
    }
}
