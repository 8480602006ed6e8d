//! The token endpoint, for each grant type.

use std::collections::HashSet;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Form, RawQuery, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use serde_json::json;

use super::{Code, Grant, IdTokenClaims, OAuth, TOKEN_LIFE, oauth_error, parameter};
use crate::Sandbox;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Request {
    grant_type: String,
    client_id: String,
    client_secret: String,
    refresh_token: String,
    code: String,
    redirect_uri: String,
    code_verifier: String,
    assertion: String,
}

impl Request {
    /// Takes client credentials from the header if present (RFC 6749, section 2.3.1), as Google's
    /// desktop flow sends them.
    fn with_client_of(self, headers: &HeaderMap) -> Self {
        let header = headers.get(AUTHORIZATION).and_then(|it| it.to_str().ok());
        let basic = header.and_then(|header| header.strip_prefix("Basic "));
        let basic = basic.and_then(|basic| BASE64_STANDARD.decode(basic).ok());
        let basic = basic.and_then(|basic| String::from_utf8(basic).ok());
        match basic.as_deref().and_then(|basic| basic.split_once(':')) {
            Some((id, secret)) => Self {
                client_id: id.to_owned(),
                client_secret: secret.to_owned(),
                ..self
            },
            None => self,
        }
    }
}

pub(super) async fn exchange(
    State(sandbox): State<Sandbox>,
    headers: HeaderMap,
    Form(request): Form<Request>,
) -> Response {
    let request = request.with_client_of(&headers);
    let now = sandbox.clock().now_seconds();
    let oauth = sandbox.oauth();
    let exchanged = match request.grant_type.as_str() {
        "refresh_token" => by_refresh_token(oauth, &request, now).map(|grant| (grant, None)),
        "authorization_code" => by_code(oauth, &request).map(|Code { grant, nonce, .. }| {
            let refresh_token = oauth.remember(grant.clone());
            (grant, Some((refresh_token, nonce)))
        }),
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
            by_assertion(&sandbox, &request, now).map(|grant| (grant, None))
        }
        _ => Err(oauth_error(
            400,
            "unsupported_grant_type",
            "Invalid grant_type",
        )),
    };
    let (grant, by_a_person) = match exchanged {
        Ok(exchanged) => exchanged,
        Err(refusal) => return refusal,
    };
    let mut answer = json!({
        "access_token": oauth.issue(&grant, now),
        "expires_in": TOKEN_LIFE,
        "scope": grant.scope,
        "token_type": "Bearer",
    });
    if let Some((refresh_token, nonce)) = by_a_person {
        answer["refresh_token"] = refresh_token.into();
        if grant.scope.split(' ').any(|scope| scope == "openid") {
            let claims = IdTokenClaims {
                nonce,
                // The client that asked (<https://developers.google.com/identity/openid-connect/openid-connect#an-id-tokens-payload>).
                azp: grant.client_id.clone(),
                ..IdTokenClaims::of(&grant.email, &grant.client_id, now)
            };
            answer["id_token"] = oauth.id_token(&claims).into();
        }
        // While the consent screen is in testing, the answer says how long the grant lasts.
        if let Some(end) = grant.expires_at {
            answer["refresh_token_expires_in"] = (end - now - 1).into();
        }
    }
    Json(answer).into_response()
}

fn by_refresh_token(oauth: &OAuth, request: &Request, now: i64) -> Result<Grant, Response> {
    check_client(oauth, request)?;
    let grant = oauth
        .desk
        .lock()
        .grants
        .get(&request.refresh_token)
        .cloned();
    grant
        .filter(|grant| grant.client_id == request.client_id)
        .filter(|grant| grant.expires_at.is_none_or(|end| now < end))
        .ok_or_else(|| invalid_grant("Token has been expired or revoked."))
}

/// A code is valid once, for its redirect URI, with its PKCE verifier
/// (RFC 7636).
fn by_code(oauth: &OAuth, request: &Request) -> Result<Code, Response> {
    check_client(oauth, request)?;
    let code = oauth.desk.lock().codes.remove(&request.code);
    let code = code.ok_or_else(|| invalid_grant("Bad Request"))?;
    let verifier = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, request.code_verifier.as_bytes()));
    if code.redirect_uri != request.redirect_uri {
        return Err(oauth_error(400, "redirect_uri_mismatch", "Bad Request"));
    }
    if code
        .challenge
        .as_ref()
        .is_some_and(|challenge| *challenge != verifier)
    {
        return Err(invalid_grant("Invalid code verifier."));
    }
    Ok(code)
}

#[derive(Deserialize)]
struct Assertion {
    iss: String,
    #[serde(default)]
    sub: Option<String>,
    scope: String,
    aud: String,
    iat: i64,
    exp: i64,
}

/// A service account acts as itself, or as the user named in `sub`
/// (<https://developers.google.com/identity/protocols/oauth2/service-account>).
fn by_assertion(sandbox: &Sandbox, request: &Request, now: i64) -> Result<Grant, Response> {
    let mut unchecked = Validation::new(Algorithm::RS256);
    unchecked.validate_exp = false;
    unchecked.validate_aud = false;
    unchecked.required_spec_claims = HashSet::new();
    let payload = request.assertion.split('.').nth(1).unwrap_or_default();
    let claimed = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap_or_default();
    let claimed = serde_json::from_slice::<Assertion>(&claimed);
    let issuer = claimed.map(|claims| claims.iss).unwrap_or_default();
    let key = sandbox
        .oauth()
        .desk
        .lock()
        .service_accounts
        .get(&issuer)
        .cloned();
    let key = key.ok_or_else(|| invalid_grant("Invalid grant: account not found"))?;
    let key = DecodingKey::from_rsa_pem(key.as_bytes())
        .map_err(|_| invalid_grant("Invalid JWT Signature."))?;
    let claims = decode::<Assertion>(&request.assertion, &key, &unchecked)
        .map_err(|_| invalid_grant("Invalid JWT Signature."))?
        .claims;
    let is_timely = claims.iat <= now + 300 && now < claims.exp && claims.exp <= claims.iat + 3600;
    let is_for_us = claims.aud.trim_end_matches("/token") == sandbox.url()
        || claims.aud == "https://oauth2.googleapis.com/token";
    if !(is_timely && is_for_us) {
        return Err(invalid_grant(
            "Invalid JWT: token must be a short-lived token for this audience.",
        ));
    }
    let email = claims.sub.unwrap_or(claims.iss).to_lowercase();
    Ok(Grant {
        email,
        scope: claims.scope,
        client_id: String::new(),
        expires_at: None,
    })
}

fn check_client(oauth: &OAuth, request: &Request) -> Result<(), Response> {
    let client = oauth.client(&request.client_id);
    if client.is_some_and(|client| client.secret == request.client_secret) {
        Ok(())
    } else {
        Err(oauth_error(
            401,
            "invalid_client",
            "The OAuth client was not found.",
        ))
    }
}

fn invalid_grant(description: &str) -> Response {
    oauth_error(400, "invalid_grant", description)
}

/// Revokes the grant of a token. Google takes it in the URL or in a form.
pub(super) async fn revoke(
    State(sandbox): State<Sandbox>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let Some(token) = parameter(query.as_deref(), &body, "token") else {
        return oauth_error(400, "invalid_request", "Missing required parameter: token");
    };
    let owner = {
        let desk = sandbox.oauth().desk.lock();
        let by_refresh = desk.grants.get(&token).map(|grant| grant.email.clone());
        by_refresh.or_else(|| {
            desk.tokens
                .get(&token)
                .map(|token| token.grant.email.clone())
        })
    };
    match owner {
        Some(email) => {
            sandbox.oauth().revoke(&email);
            StatusCode::OK.into_response()
        }
        None => oauth_error(400, "invalid_token", "Token expired or revoked"),
    }
}
