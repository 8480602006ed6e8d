//! The page where a person consents, and the code that comes of it.

use axum::extract::{Form, Query, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;

use super::{Code, Grant};
use crate::Sandbox;
use crate::dice::random_hex;

/// Who consents, where the request does not say.
const SOMEBODY: &str = "ada@example.com";

#[derive(Deserialize)]
pub(super) struct Request {
    client_id: String,
    redirect_uri: String,
    scope: String,
    state: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
    login_hint: Option<String>,
    nonce: Option<String>,
}

/// Shows a button that says yes; everything asked for is in the form's address.
pub(super) async fn ask(
    State(sandbox): State<Sandbox>,
    Query(request): Query<Request>,
) -> Response {
    if request.client_id != sandbox.oauth().client_id {
        return (StatusCode::UNAUTHORIZED, "The OAuth client was not found.").into_response();
    }
    let page = "<!doctype html><html lang=en><title>Sandbox consent</title>\
        <h1>Sign in to the sandbox</h1><p>A program asks to read this sandbox's mail.</p>\
        <form method=post><button name=allow value=yes>Allow</button></form></html>";
    Html(page).into_response()
}

#[derive(Deserialize)]
pub(super) struct Decision {
    #[serde(default)]
    allow: String,
}

/// Sends the browser back with a code, or with `access_denied`.
pub(super) async fn allow(
    State(sandbox): State<Sandbox>,
    Query(request): Query<Request>,
    Form(decision): Form<Decision>,
) -> Response {
    let plain = request.code_challenge_method.as_deref().unwrap_or("plain") != "S256";
    if request.client_id != sandbox.oauth().client_id || (request.code_challenge.is_some() && plain)
    {
        return (StatusCode::BAD_REQUEST, "invalid_request").into_response();
    }
    let Ok(mut back) = reqwest::Url::parse(&request.redirect_uri) else {
        return (StatusCode::BAD_REQUEST, "redirect_uri_mismatch").into_response();
    };
    if decision.allow == "yes" {
        let code = format!("4/{}", random_hex(24));
        let email = request
            .login_hint
            .or_else(|| sandbox.oauth().who_signs_in())
            .unwrap_or_else(|| SOMEBODY.to_owned())
            .to_lowercase();
        let grant = Grant {
            email,
            scope: request.scope.clone(),
        };
        let nonce = request.nonce;
        let (redirect_uri, challenge) = (request.redirect_uri, request.code_challenge);
        let stored = Code {
            grant,
            redirect_uri,
            challenge,
            nonce,
        };
        sandbox
            .oauth()
            .desk
            .lock()
            .codes
            .insert(code.clone(), stored);
        back.query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("scope", &request.scope);
    } else {
        back.query_pairs_mut().append_pair("error", "access_denied");
    }
    if let Some(state) = &request.state {
        back.query_pairs_mut().append_pair("state", state);
    }
    (StatusCode::FOUND, [(LOCATION, back.to_string())]).into_response()
}
