//! Who may talk to the controller.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::controller::Controller;
use crate::routes::gmail_pubsub::PushRoute;

/// A caller who showed the gateway token. A handler that takes one runs for no one else.
pub(crate) struct VerifiedCaller;

/// What a caller gets who did not.
pub(crate) type Unauthorized = (StatusCode, Json<Value>);

impl VerifiedCaller {
    fn verify(headers: &HeaderMap, token: &SecretString) -> Result<Self, Unauthorized> {
        let shown = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        // The scheme's case does not matter (RFC 9110, section 11.1).
        let shown = shown.and_then(|value| value.split_once(' '));
        let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        if shown.is_some_and(|(_, shown)| is_same(shown, token.expose_secret())) {
            Ok(Self)
        } else {
            let body = Json(json!({ "error": "Unauthorized" }));
            Err((StatusCode::UNAUTHORIZED, body))
        }
    }
}

impl FromRequestParts<Controller> for VerifiedCaller {
    type Rejection = Unauthorized;

    async fn from_request_parts(
        parts: &mut Parts,
        controller: &Controller,
    ) -> Result<Self, Unauthorized> {
        Self::verify(&parts.headers, &controller.parts.gateway_token)
    }
}

impl FromRequestParts<PushRoute> for VerifiedCaller {
    type Rejection = Unauthorized;

    async fn from_request_parts(
        parts: &mut Parts,
        route: &PushRoute,
    ) -> Result<Self, Unauthorized> {
        Self::verify(&parts.headers, &route.gateway_token)
    }
}

/// Compares digests, so that neither content nor length shows in the time it takes.
pub(crate) fn is_same(shown: &str, expected: &str) -> bool {
    let [shown, expected] = [shown, expected].map(|text| digest(&SHA256, text.as_bytes()));
    verify_slices_are_equal(shown.as_ref(), expected.as_ref()).is_ok()
}
