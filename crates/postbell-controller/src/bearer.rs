//! Who may talk to the controller.

use axum::Json;
use axum::extract::{FromRef, FromRequestParts};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use serde_json::{Value, json};

use crate::gateway_token::GatewayToken;

/// A caller who showed the gateway token. A handler that takes one runs for no one else.
pub(crate) struct VerifiedCaller;

/// What a caller gets who did not.
pub(crate) type Unauthorized = (StatusCode, Json<Value>);

impl<S> FromRequestParts<S> for VerifiedCaller
where
    S: Send + Sync,
    GatewayToken: FromRef<S>,
{
    type Rejection = Unauthorized;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Unauthorized> {
        let shown = parts.headers.get(AUTHORIZATION);
        let shown = shown.and_then(|value| value.to_str().ok());
        // The scheme's case does not matter (RFC 9110, section 11.1).
        let shown = shown.and_then(|value| value.split_once(' '));
        let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        if shown.is_some_and(|(_, shown)| GatewayToken::from_ref(state).is(shown)) {
            Ok(Self)
        } else {
            let body = Json(json!({ "error": "Unauthorized" }));
            Err((StatusCode::UNAUTHORIZED, body))
        }
    }
}
