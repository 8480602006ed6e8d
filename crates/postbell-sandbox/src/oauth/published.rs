//! Public endpoints: keys, discovery document and token info.
//! What => The `Cache-Control` that Google was seen to send with its keys.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::header::{AGE, CACHE_CONTROL};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::oauth_error;
use crate::Sandbox;

/// What Google was seen to say of its keys' life.
const CACHING: [(axum::http::HeaderName, &str); 2] = [
    (
        CACHE_CONTROL,
        "public, max-age=21155, must-revalidate, no-transform",
    ),
    (AGE, "12"),
];

pub(super) async fn jwks(State(sandbox): State<Sandbox>) -> Response {
    (CACHING, Json(sandbox.oauth().keys.jwks())).into_response()
}

pub(super) async fn certificates(State(sandbox): State<Sandbox>) -> Response {
    (CACHING, Json(sandbox.oauth().keys.certificates())).into_response()
}

pub(super) async fn discovery(State(sandbox): State<Sandbox>) -> Json<Value> {
    let url = sandbox.url();
    Json(json!({
        "issuer": "https://accounts.google.com",
        "authorization_endpoint": format!("{url}/o/oauth2/v2/auth"),
        "token_endpoint": format!("{url}/token"),
        "revocation_endpoint": format!("{url}/revoke"),
        "jwks_uri": format!("{url}/oauth2/v3/certs"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "code_challenge_methods_supported": ["plain", "S256"],
    }))
}

#[derive(Deserialize)]
pub(super) struct Shown {
    id_token: String,
}

/// Returns the claims of an ID token as strings, unverified.
pub(super) async fn token_info(Query(Shown { id_token }): Query<Shown>) -> Response {
    let payload = id_token.split('.').nth(1).unwrap_or_default();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(payload).ok();
    let claims = claims.and_then(|claims| serde_json::from_slice::<Map<_, _>>(&claims).ok());
    let Some(claims) = claims else {
        return oauth_error(400, "invalid_token", "Invalid Value");
    };
    let as_text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let texts: Map<_, _> = claims
        .into_iter()
        .map(|(name, value)| (name, as_text(value).into()))
        .collect();
    Json(texts).into_response()
}
