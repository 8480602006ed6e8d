//! The pages: what a user sees of their bot, and an operator of everybody.
//!
//! They are made on the server, by maud: a page is a function of what is known, in one file with its
//! markup, checked by the compiler and without a build step. Whatever is done is a form that is sent
//! and leads back to a page, so that all of it works without script; the one script only keeps a
//! page up to date (`streams.rs`).
//!
//! Start reading at `bot.rs`; then `session.rs` and `posted.rs`, which say who may.

mod assets;
mod bot;
mod cookie_cipher;
mod cookies;
mod csrf_form;
mod extract;
mod format;
mod layout;
mod operator;
mod page_error;
mod security_headers;
mod session;
mod sign_in;
mod sse;
mod toast;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get, post};
use postbell_core::{Changes, EmailAddress, Inbox, Timestamp, UserId};
use postbell_google::SignIn;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use self::cookie_cipher::CookieCipher;
use self::page_error::PageError;
use self::session::Session;
use self::sse::SseConnections;
use crate::api::no_such_route;
use crate::{SignInLinks, UserService, UserTokens};

/// The largest form: a few words.
const FORM_LIMIT: usize = 16 * 1024;

/// What the pages work with.
pub struct PagesParts {
    /// What can be done with a user, and what is known of them.
    pub users: Arc<UserService>,

    /// The relay in this process. Where it runs elsewhere, pages say nothing of deliveries.
    pub relay: Option<LocalRelay>,

    /// Of whom something has changed.
    pub changes: Changes,

    /// Links that sign somebody in, and whose sessions are over; the base URL of the pages.
    pub links: SignInLinks,

    /// Encrypts what browsers keep.
    pub seal: CookieCipher,

    /// Makes the tokens of setup tools.
    pub user_tokens: UserTokens,

    /// How people sign in with Google, where they may.
    pub google: Option<GoogleSignIn>,
}

/// The relay in this process, as far as pages know it.
pub struct LocalRelay {
    /// Where notifications wait.
    pub inbox: Arc<dyn Inbox>,
    /// Told of what is put there.
    pub arrivals: Arc<Notify>,
    /// The relay's public base URL, which a setup tool has to know.
    pub url: String,
}

/// How people sign in with Google, besides by the address of their connected account.
pub struct GoogleSignIn {
    /// The way to Google.
    pub sign_in: SignIn,
    /// Who is an operator.
    pub operators: BTreeSet<EmailAddress>,
    /// Whose bot somebody sees who has another address, or no account connected yet.
    pub allowed: BTreeMap<EmailAddress, UserId>,
}

/// The pages. Cheap to clone.
#[derive(Clone)]
pub struct Pages(Arc<Shared>);

struct Shared {
    parts: PagesParts,
    streams: Arc<SseConnections>,
    policy: HeaderValue,
}

impl Pages {
    /// Joins the parts.
    #[must_use]
    pub fn new(parts: PagesParts) -> Self {
        let google = parts.google.as_ref();
        let origin = google.map(|google| google.sign_in.auth_url.origin().ascii_serialization());
        Self(Arc::new(Shared {
            policy: security_headers::policy(origin.as_deref()),
            streams: Arc::default(),
            parts,
        }))
    }

    /// The pages, around the routes of an API: what neither knows has a page that says so, but below
    /// `/api`.
    pub fn around(&self, api: Router) -> Router {
        let unknown = any(unknown)
            .layer(from_fn_with_state(self.clone(), security_headers::protect))
            .with_state(self.clone());
        api.merge(self.router()).fallback_service(unknown)
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/", get(start))
            .merge(sign_in::routes())
            .merge(bot::routes())
            .merge(operator::routes())
            .route("/sign-out", post(sign_in::sign_out))
            .route("/assets/{name}", get(assets::asset))
            .method_not_allowed_fallback(async || PageError::NoSuchMethod)
            .layer(from_fn_with_state(self.clone(), security_headers::protect))
            .with_state(self.clone())
    }

    /// Ends the pages that are live once `stop` is cancelled: their answers would never end.
    pub async fn end_streams(self, stop: CancellationToken) {
        stop.cancelled().await;
        self.0.streams.end();
    }

    fn parts(&self) -> &PagesParts {
        &self.0.parts
    }

    fn users(&self) -> &UserService {
        &self.0.parts.users
    }

    fn now(&self) -> Timestamp {
        self.users().clock.now()
    }

    fn is_https(&self) -> bool {
        self.parts().links.url.scheme() == "https"
    }

    /// Whether an address is an operator's.
    fn is_operator(&self, address: &str) -> bool {
        let google = self.parts().google.as_ref();
        let operators = google.map(|google| &google.operators);
        operators.is_some_and(|operators| operators.iter().any(|it| it.as_str() == address))
    }
}

/// Leads to the first page that somebody may see.
async fn start(
    State(pages): State<Pages>,
    session: Result<Session, PageError>,
) -> Result<Redirect, PageError> {
    let first = match session {
        Ok(session) => pages.first_page(&session).await?,
        Err(_) => None,
    };
    Ok(Redirect::to(first.unwrap_or("/sign-in")))
}

/// Whoever asks an API reads no pages.
async fn unknown(uri: Uri) -> Response {
    let is_api = uri.path() == "/api" || uri.path().starts_with("/api/");
    if is_api {
        no_such_route()
    } else {
        PageError::NoSuchPage.into_response()
    }
}
