//! Who may talk to the controller.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::Controller;

/// A caller who showed the gateway token. A handler that takes one runs for no one else.
pub(crate) struct VerifiedCaller;

impl FromRequestParts<Controller> for VerifiedCaller {
    type Rejection = (StatusCode, Json<Value>);

    async fn from_request_parts(
        parts: &mut Parts,
        controller: &Controller,
    ) -> Result<Self, Self::Rejection> {
        let shown = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let token = shown.and_then(|value| value.strip_prefix("Bearer "));
        if token.is_some_and(|token| is_same(token, controller.gateway_token.expose_secret())) {
            Ok(Self)
        } else {
            Err((
                StatusCode::UNAUTHORIZED,
                Json(json!({ "error": "Unauthorized" })),
            ))
        }
    }
}

/// Compares digests, so that neither content nor length shows in the time it takes.
fn is_same(shown: &str, expected: &str) -> bool {
    let [shown, expected] = [shown, expected].map(|text| digest(&SHA256, text.as_bytes()));
    verify_slices_are_equal(shown.as_ref(), expected.as_ref()).is_ok()
}
