//! The consent page and the authorization code it issues.

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{Html, IntoResponse, Response};
use reqwest::Url;
use serde::Deserialize;

use super::clients::{Client, Publishing, TESTING_LIFE};
use super::{Code, Grant};
use crate::Sandbox;
use crate::rng::random_hex;

/// Default account on the consent page.
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

impl Request {
    /// The requesting client, or the error page that Google shows.
    fn client(&self, sandbox: &Sandbox) -> Result<Client, Response> {
        let client = sandbox.oauth().client(&self.client_id).ok_or_else(|| {
            let text = "Error 401: invalid_client. The OAuth client was not found.";
            (StatusCode::UNAUTHORIZED, text).into_response()
        })?;
        let redirect = Url::parse(&self.redirect_uri).ok();
        if !redirect.is_some_and(|redirect| client.redirects_to(&redirect)) {
            let text = "Error 400: redirect_uri_mismatch";
            return Err((StatusCode::BAD_REQUEST, text).into_response());
        }
        Ok(client)
    }

    fn account(&self, sandbox: &Sandbox) -> String {
        let account = self
            .login_hint
            .clone()
            .or_else(|| sandbox.oauth().signed_in_account());
        account
            .unwrap_or_else(|| SOMEBODY.to_owned())
            .to_lowercase()
    }

    fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scope.split_whitespace()
    }
}

/// Shows the account, which can be changed, and a checkbox for each scope
/// (<https://developers.google.com/identity/protocols/oauth2/resources/granular-permissions>).
/// The form's action carries the whole request.
pub(super) async fn ask(
    State(sandbox): State<Sandbox>,
    Query(request): Query<Request>,
) -> Response {
    let client = match request.client(&sandbox) {
        Ok(client) => client,
        Err(refusal) => return refusal,
    };
    let account = escaped(&request.account(&sandbox));
    let boxes: String = request
        .scopes()
        .map(|scope| {
            let scope = escaped(scope);
            format!(
                "<p><label><input type=checkbox name=scope value='{scope}' checked> {scope}</label></p>"
            )
        })
        .collect();
    let project = escaped(&client.project);
    Html(format!(
        "<!doctype html><html lang=en><title>Sandbox consent</title>\
         <h1>Sign in to the sandbox</h1><p>A program of {project} asks for access.</p>\
         <form method=post><input type=hidden name=granular value=yes>\
         <p><label>Account <input name=account value='{account}'></label></p>{boxes}\
         <button name=allow value=yes>Allow</button> <button name=allow value=no>Cancel</button>\
         </form></html>"
    ))
    .into_response()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('\'', "&#39;")
}

/// The submitted form. Scopes may repeat.
#[derive(Default)]
struct Decision {
    allows: bool,
    account: Option<String>,
    /// The checked scopes, if the form had checkboxes.
    ticked: Option<Vec<String>>,
}

impl Decision {
    fn of(form: &[u8]) -> Self {
        let form = String::from_utf8_lossy(form);
        let url = Url::parse(&format!("http://form/?{form}"));
        let mut decision = Self::default();
        let Ok(url) = url else {
            return decision;
        };
        let mut ticked = Vec::new();
        let mut has_boxes = false;
        for (name, value) in url.query_pairs() {
            match &*name {
                "allow" => decision.allows = value == "yes",
                "account" => decision.account = Some(value.to_lowercase()),
                "granular" => has_boxes = true,
                "scope" => ticked.push(value.into_owned()),
                _ => (),
            }
        }
        decision.ticked = has_boxes.then_some(ticked);
        decision
    }
}

/// Redirects with a code or `access_denied`, or shows an error page where Google does.
pub(super) async fn allow(
    State(sandbox): State<Sandbox>,
    Query(request): Query<Request>,
    form: Bytes,
) -> Response {
    let client = match request.client(&sandbox) {
        Ok(client) => client,
        Err(refusal) => return refusal,
    };
    let plain = request.code_challenge_method.as_deref().unwrap_or("plain") != "S256";
    if request.code_challenge.is_some() && plain {
        return (StatusCode::BAD_REQUEST, "invalid_request").into_response();
    }
    let decision = Decision::of(&form);
    let account = decision
        .account
        .clone()
        .unwrap_or_else(|| request.account(&sandbox));
    let audience = sandbox.oauth().audience(&client.project);
    if !audience.admits(&account) {
        let text = "Error 403: access_denied. The app is being tested, and can only be accessed by \
            developer-approved testers.";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let now = sandbox.clock().now_seconds();
    let is_testing = audience.publishing == Publishing::Testing;
    let expires_at = is_testing.then_some(now + TESTING_LIFE);
    let mut answer: Vec<(&str, String)> = Vec::new();
    let scopes: Vec<_> = match decision.ticked {
        Some(ticked) => request
            .scopes()
            .filter(|one| ticked.iter().any(|it| it == one))
            .collect(),
        None => request.scopes().collect(),
    };
    if decision.allows && !scopes.is_empty() {
        let grant = Grant {
            email: account,
            scope: scopes.join(" "),
            client_id: request.client_id.clone(),
            expires_at,
        };
        answer.push(("scope", grant.scope.clone()));
        answer.push(("code", remember(&sandbox, &request, grant)));
    } else {
        answer.push(("error", "access_denied".to_owned()));
    }
    answer.extend(request.state.clone().map(|state| ("state", state)));
    let Ok(back) = Url::parse_with_params(&request.redirect_uri, &answer) else {
        return (StatusCode::BAD_REQUEST, "redirect_uri_mismatch").into_response();
    };
    (StatusCode::FOUND, [(LOCATION, back.to_string())]).into_response()
}

/// Stores a grant under its authorization code.
fn remember(sandbox: &Sandbox, request: &Request, grant: Grant) -> String {
    let code = format!("4/{}", random_hex(24));
    let stored = Code {
        grant,
        redirect_uri: request.redirect_uri.clone(),
        challenge: request.code_challenge.clone(),
        nonce: request.nonce.clone(),
    };
    let mut desk = sandbox.oauth().desk.lock();
    desk.codes.insert(code.clone(), stored);
    code
}
