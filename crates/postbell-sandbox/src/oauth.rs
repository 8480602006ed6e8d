//! Google's accounts: keys, tokens, consent
//! (<https://developers.google.com/identity/protocols/oauth2/native-app>).

mod clients;
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

use self::clients::Client;
pub use self::clients::{Audience, ClientKind, Publishing};
pub use self::keys::IdTokenClaims;
use self::keys::SigningKeys;
use crate::Sandbox;
use crate::errors::{api_error, error_info, error_with_details};
use crate::rng::random_hex;

/// Project of the predefined OAuth client. Gmail requires a watch's topic to be in it.
pub const PROJECT: &str = "sandbox-project";

/// The project's number; a client id begins with it.
pub const PROJECT_NUMBER: &str = "415104041262";

/// Lifetime of an access token, in seconds.
const TOKEN_LIFE: i64 = 3599;

/// Default scopes.
const DEFAULT_SCOPE: &str =
    "https://www.googleapis.com/auth/gmail.modify https://www.googleapis.com/auth/cloud-platform";

/// Google's accounts: keys, tokens, consent.
#[derive(Debug)]
pub struct OAuth {
    pub(crate) keys: SigningKeys,
    /// The predefined client.
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
    /// Account signed in at the browser.
    at_the_browser: Option<String>,
    /// By client id.
    clients: BTreeMap<String, Client>,
    /// By project.
    audiences: BTreeMap<String, Audience>,
}

#[derive(Clone, Debug)]
struct Grant {
    email: String,
    scope: String,
    /// The requesting client; `None` for a service account.
    client_id: String,
    /// Expiry, in seconds since the Unix epoch.
    expires_at: Option<i64>,
}

#[derive(Clone, Debug)]
struct AccessToken {
    grant: Grant,
    expires_at: i64,
}

#[derive(Clone, Debug)]
struct Code {
    grant: Grant,
    redirect_uri: String,
    challenge: Option<String>,
    nonce: Option<String>,
}

/// The credentials file format of Google's tools.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AuthorizedUser {
    /// The OAuth client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Refresh token.
    pub refresh_token: String,
    /// Always `authorized_user`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl OAuth {
    pub(crate) fn new() -> Self {
        let client_id = format!("{PROJECT_NUMBER}-sandbox.apps.googleusercontent.com");
        let client_secret = random_hex(12);
        let mut desk = Desk::default();
        let client = Client {
            secret: client_secret.clone(),
            project: PROJECT.to_owned(),
            kind: ClientKind::Installed,
            redirect_uris: Vec::new(),
        };
        desk.clients.insert(client_id.clone(), client);
        Self {
            keys: SigningKeys::new(),
            client_id,
            client_secret,
            desk: Mutex::new(desk),
        }
    }

    /// Grants access to `email` without the consent page.
    pub fn grant(&self, email: &str) -> AuthorizedUser {
        self.grant_to(email, &self.client_id, &self.client_secret)
    }

    /// Grants a new client of a project access to `email` without the consent page.
    pub fn grant_in(&self, email: &str, project: &str, project_number: &str) -> AuthorizedUser {
        let file = self.add_client(project, project_number, ClientKind::Installed);
        let text = |name: &str| file["installed"][name].as_str().unwrap_or_default();
        self.grant_to(email, text("client_id"), text("client_secret"))
    }

    fn grant_to(&self, email: &str, client_id: &str, client_secret: &str) -> AuthorizedUser {
        let grant = Grant {
            email: email.to_lowercase(),
            scope: DEFAULT_SCOPE.to_owned(),
            client_id: client_id.to_owned(),
            expires_at: None,
        };
        AuthorizedUser {
            client_id: client_id.to_owned(),
            client_secret: client_secret.to_owned(),
            refresh_token: self.remember(grant),
            kind: "authorized_user".to_owned(),
        }
    }

    /// Id and secret of the predefined OAuth client.
    #[must_use]
    pub fn first_client(&self) -> (&str, &str) {
        (&self.client_id, &self.client_secret)
    }

    /// Sets the account signed in at the browser, for requests without a login hint.
    pub fn sit_at_the_browser(&self, email: &str) {
        self.desk.lock().at_the_browser = Some(email.to_owned());
    }

    fn signed_in_account(&self) -> Option<String> {
        self.desk.lock().at_the_browser.clone()
    }

    /// Revokes all grants of `email`: a refresh then gets `invalid_grant`.
    pub fn revoke(&self, email: &str) {
        let mut desk = self.desk.lock();
        desk.grants
            .retain(|_, grant| !grant.email.eq_ignore_ascii_case(email));
        desk.tokens
            .retain(|_, token| !token.grant.email.eq_ignore_ascii_case(email));
    }

    /// Number of grants of `email`.
    #[must_use]
    pub fn grants(&self, email: &str) -> usize {
        let desk = self.desk.lock();
        let is_theirs = |grant: &&Grant| grant.email.eq_ignore_ascii_case(email);
        desk.grants.values().filter(is_theirs).count()
    }

    /// Expires every access token; refresh tokens stay valid.
    pub fn expire_access_tokens(&self) {
        self.desk.lock().tokens.clear();
    }

    /// Rotates the signing key. The previous one stays published, older ones do not.
    pub fn rotate_keys(&self) {
        self.keys.rotate();
    }

    /// Signs an ID token with any claims; see [`IdTokenClaims`].
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

    fn issue(&self, grant: &Grant, now: i64) -> String {
        let token = format!("ya29.{}", random_hex(24));
        let issued = AccessToken {
            grant: grant.clone(),
            expires_at: now + TOKEN_LIFE,
        };
        self.desk.lock().tokens.insert(token.clone(), issued);
        token
    }

    fn client(&self, id: &str) -> Option<Client> {
        self.desk.lock().clients.get(id).cloned()
    }

    fn audience(&self, project: &str) -> Audience {
        let desk = self.desk.lock();
        desk.audiences.get(project).cloned().unwrap_or_default()
    }
}

/// The routes of accounts.google.com, oauth2.googleapis.com and www.googleapis.com.
pub(crate) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/o/oauth2/v2/auth", get(consent::ask).post(consent::allow))
        .route("/token", post(token::exchange))
        .route("/revoke", post(token::revoke))
        .route(
            "/tokeninfo",
            get(published::token_info).post(published::token_info),
        )
        .route(
            "/oauth2/v2/tokeninfo",
            get(published::token_info_v2).post(published::token_info_v2),
        )
        .route("/oauth2/v3/certs", get(published::jwks))
        .route("/oauth2/v1/certs", get(published::certificates))
        .route(
            "/.well-known/openid-configuration",
            get(published::discovery),
        )
}

/// The account of a request's access token.
pub(crate) struct Account {
    pub(crate) email: String,
    scope: String,
    /// The quota project, which is the OAuth client's.
    pub(crate) consumer: String,
}

impl Account {
    /// Refuses a token without one of these scopes.
    pub(crate) fn require_any_scope(&self, scopes: &[&str]) -> Result<(), Response> {
        let mut granted = self.scope.split_whitespace();
        if granted.any(|granted| scopes.contains(&granted)) {
            return Ok(());
        }
        let text = "Request had insufficient authentication scopes.";
        let info = error_info(
            "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
            "googleapis.com",
            &json!({}),
        );
        Err(error_with_details(
            403,
            text,
            "PERMISSION_DENIED",
            json!([info]),
        ))
    }
}

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
        let Some(token) = known.filter(|token| sandbox.clock().now_seconds() < token.expires_at)
        else {
            let text = "Request had invalid authentication credentials.";
            return Err(api_error(401, text));
        };
        let grant = &token.grant;
        // A client id begins with its project's number; a service account belongs to the sandbox's project.
        let number = grant.client_id.split_once('-').map(|(number, _)| number);
        Ok(Self {
            email: grant.email.clone(),
            scope: grant.scope.clone(),
            consumer: number.unwrap_or(PROJECT_NUMBER).to_owned(),
        })
    }
}

/// A parameter of the URL, or of a form.
fn parameter(query: Option<&str>, form: &[u8], name: &str) -> Option<String> {
    let form = String::from_utf8_lossy(form);
    let found = |text: &str| {
        let url = reqwest::Url::parse(&format!("http://form/?{text}")).ok()?;
        let mut pairs = url.query_pairs();
        let value = pairs.find(|(named, _)| named == name)?.1.into_owned();
        Some(value).filter(|value| !value.is_empty())
    };
    query.and_then(found).or_else(|| found(&form))
}

/// An OAuth error (RFC 6749, section 5.2).
fn oauth_error(status: u16, error: &str, description: &str) -> Response {
    use axum::response::IntoResponse;
    let status = axum::http::StatusCode::from_u16(status).unwrap_or_default();
    let body = json!({ "error": error, "error_description": description });
    (status, axum::Json(body)).into_response()
}
