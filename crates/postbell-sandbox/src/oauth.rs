//! Google's accounts: keys, tokens, consent
//! (<https://developers.google.com/identity/protocols/oauth2/native-app>).

mod consent;
mod keys;
mod published;
mod token;

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{get, post};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use self::keys::IdTokenClaims;
use self::keys::SigningKeys;
use crate::Sandbox;
use crate::dice::random_hex;
use crate::refusal::refusal;

/// The project that the sandbox's OAuth client belongs to. Gmail wants a watch's topic to be in it.
pub const PROJECT: &str = "sandbox-project";

/// The project's number; a client id begins with it.
pub const PROJECT_NUMBER: &str = "415104041262";

/// How long an access token lives, in seconds.
const TOKEN_LIFE: i64 = 3599;

/// What is granted where nothing else was asked for.
const DEFAULT_SCOPE: &str = "https://www.googleapis.com/auth/gmail.readonly";

/// Google's accounts: keys, tokens, consent.
#[derive(Debug)]
pub struct OAuth {
    pub(crate) keys: SigningKeys,
    client_id: String,
    client_secret: String,
    desk: Mutex<Desk>,
}

#[derive(Debug, Default)]
struct Desk {
    /// By refresh token.
    grants: BTreeMap<String, Grant>,
    /// By access token.
    tokens: BTreeMap<String, AccessToken>,
    /// By authorization code.
    codes: BTreeMap<String, Code>,
    /// Public keys of service accounts, as PEM, by email.
    service_accounts: BTreeMap<String, String>,
    /// Who is at the browser.
    at_the_browser: Option<String>,
}

#[derive(Clone, Debug)]
struct Grant {
    email: String,
    scope: String,
}

#[derive(Clone, Debug)]
struct AccessToken {
    email: String,
    expires_at: i64,
}

#[derive(Clone, Debug)]
struct Code {
    grant: Grant,
    redirect_uri: String,
    challenge: Option<String>,
    nonce: Option<String>,
}

/// The credentials file that Google's own tools read.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AuthorizedUser {
    /// The OAuth client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// What access tokens are made from.
    pub refresh_token: String,
    /// Always `authorized_user`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl OAuth {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            keys: SigningKeys::generate()?,
            client_id: format!("{PROJECT_NUMBER}-sandbox.apps.googleusercontent.com"),
            client_secret: random_hex(12),
            desk: Mutex::default(),
        })
    }

    /// Gives the consent of `email`, as if its owner had clicked through.
    pub fn grant(&self, email: &str) -> AuthorizedUser {
        let grant = Grant {
            email: email.to_lowercase(),
            scope: DEFAULT_SCOPE.to_owned(),
        };
        AuthorizedUser {
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            refresh_token: self.remember(grant),
            kind: "authorized_user".to_owned(),
        }
    }

    /// The OAuth client of every program: its id, and its secret.
    #[must_use]
    pub fn client(&self) -> (&str, &str) {
        (&self.client_id, &self.client_secret)
    }

    /// Lets the owner of `email` be the one who consents, where a program does not say who should.
    pub fn sit_at_the_browser(&self, email: &str) {
        self.desk.lock().at_the_browser = Some(email.to_owned());
    }

    fn who_signs_in(&self) -> Option<String> {
        self.desk.lock().at_the_browser.clone()
    }

    /// Takes back all that `email` consented to: a refresh then gets `invalid_grant`.
    pub fn revoke(&self, email: &str) {
        let mut desk = self.desk.lock();
        desk.grants
            .retain(|_, grant| !grant.email.eq_ignore_ascii_case(email));
        desk.tokens
            .retain(|_, token| !token.email.eq_ignore_ascii_case(email));
    }

    /// Lets every access token expire; refresh tokens stay good.
    pub fn expire_access_tokens(&self) {
        self.desk.lock().tokens.clear();
    }

    /// Makes a new signing key. The one before stays published, older ones do not.
    ///
    /// # Errors
    ///
    /// Where no key can be made.
    pub fn rotate_keys(&self) -> std::io::Result<()> {
        self.keys.rotate()
    }

    /// Signs an ID token with whatever claims; see [`IdTokenClaims`].
    #[must_use]
    pub fn id_token(&self, claims: &IdTokenClaims) -> String {
        self.keys.sign(claims)
    }

    /// Registers a service account by its public key (PEM), so that it may act for any user
    /// (domain-wide delegation).
    pub fn add_service_account(&self, email: &str, public_key: &str) {
        self.desk
            .lock()
            .service_accounts
            .insert(email.to_owned(), public_key.to_owned());
    }

    fn remember(&self, grant: Grant) -> String {
        let refresh_token = format!("1//{}", random_hex(24));
        self.desk.lock().grants.insert(refresh_token.clone(), grant);
        refresh_token
    }

    fn issue(&self, email: &str, now: i64) -> String {
        let token = format!("ya29.{}", random_hex(24));
        let issued = AccessToken {
            email: email.to_owned(),
            expires_at: now + TOKEN_LIFE,
        };
        self.desk.lock().tokens.insert(token.clone(), issued);
        token
    }
}

/// The routes of accounts.google.com, oauth2.googleapis.com and www.googleapis.com.
pub(crate) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/o/oauth2/v2/auth", get(consent::ask).post(consent::allow))
        .route("/token", post(token::exchange))
        .route("/revoke", post(token::revoke))
        .route("/tokeninfo", get(published::token_info))
        .route("/oauth2/v3/certs", get(published::jwks))
        .route("/oauth2/v1/certs", get(published::certificates))
        .route(
            "/.well-known/openid-configuration",
            get(published::discovery),
        )
}

/// The account whose access token a request shows.
pub(crate) struct Account(pub(crate) String);

impl FromRequestParts<Sandbox> for Account {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, sandbox: &Sandbox) -> Result<Self, Response> {
        let shown = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let token = shown.and_then(|shown| shown.strip_prefix("Bearer "));
        let desk = sandbox.oauth().desk.lock();
        let known = token.and_then(|token| desk.tokens.get(token));
        match known.filter(|token| sandbox.clock().now_seconds() < token.expires_at) {
            Some(token) => Ok(Self(token.email.clone())),
            None => Err(refusal(
                401,
                "Request had invalid authentication credentials.",
            )),
        }
    }
}

/// An OAuth error (RFC 6749, section 5.2).
fn oauth_error(status: u16, error: &str, description: &str) -> Response {
    use axum::response::IntoResponse;
    let status = axum::http::StatusCode::from_u16(status).unwrap_or_default();
    let body = json!({ "error": error, "error_description": description });
    (status, axum::Json(body)).into_response()
}
