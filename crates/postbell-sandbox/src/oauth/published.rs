//! Public endpoints: keys, discovery document and token info.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::http::header::{AGE, AUTHORIZATION, CACHE_CONTROL};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::{oauth_error, parameter};
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

/// Returns the claims of an ID token, unverified, or what an access token allows. Either is in the URL or in a form;
/// an access token may be the bearer token.
pub(super) async fn token_info(
    State(sandbox): State<Sandbox>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let shown = |name| parameter(query.as_deref(), &body, name);
    let bearer = headers.get(AUTHORIZATION).and_then(|it| it.to_str().ok());
    let bearer = bearer.and_then(|shown| shown.strip_prefix("Bearer "));
    let access_token = shown("access_token").or_else(|| bearer.map(str::to_owned));
    let claims = match (shown("id_token"), access_token) {
        (Some(id_token), _) => claims_of(&id_token),
        (None, Some(access_token)) => claims_of_access(&sandbox, &access_token),
        (None, None) => None,
    };
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

/// The same for an access token, under the older names that Google's generated clients know
/// (`oauth2` version 2, <https://www.googleapis.com/discovery/v1/apis/oauth2/v2/rest>).
pub(super) async fn token_info_v2(
    State(sandbox): State<Sandbox>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let access_token = parameter(query.as_deref(), &body, "access_token");
    let claims = access_token.and_then(|token| claims_of_access(&sandbox, &token));
    let Some(claims) = claims else {
        return oauth_error(400, "invalid_token", "Invalid Value");
    };
    Json(json!({
        "issued_to": claims["azp"],
        "audience": claims["aud"],
        "scope": claims["scope"],
        "expires_in": claims["expires_in"],
        "email": claims["email"],
        "verified_email": claims["email_verified"],
        "access_type": claims["access_type"],
    }))
    .into_response()
}

fn claims_of(id_token: &str) -> Option<Map<String, Value>> {
    let payload = id_token.split('.').nth(1).unwrap_or_default();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&claims).ok()
}

fn claims_of_access(sandbox: &Sandbox, access_token: &str) -> Option<Map<String, Value>> {
    let now = sandbox.clock().now_seconds();
    let desk = sandbox.oauth().desk.lock();
    let token = desk.tokens.get(access_token);
    let token = token.filter(|token| now < token.expires_at)?;
    let claims = json!({
        "azp": token.grant.client_id,
        "aud": token.grant.client_id,
        "scope": token.grant.scope,
        "exp": token.expires_at,
        "expires_in": token.expires_at - now,
        "email": token.grant.email,
        "email_verified": true,
        "access_type": "offline",
    });
    claims.as_object().cloned()
}
