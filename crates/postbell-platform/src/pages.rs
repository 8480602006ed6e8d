//! The pages: *My bot* for a user, *Operator* for an operator.
//!
//! They are rendered on the server with maud: a page is a function of a view, checked by the compiler
//! and without a build step. Every action is a form that redirects back to a page, so the pages work
//! without script. The only script keeps a page up to date (`sse.rs`).
//!
//! Start reading at `bot.rs`; then `session.rs` and `csrf_form.rs`, which decide who may do what.

mod assets;
mod bot;
mod change_poll;
mod cookie_cipher;
mod cookies;
mod csrf_form;
mod dead_letters;
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
mod unread_responses;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get};
use postbell_alerts::UserTargets;
use postbell_core::{
    Changes, DeliveryLog, DeliveryQueue, EmailAddress, Principal, Timestamp, UserId,
};
use postbell_google::{Issuer, SignIn};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::change_poll::ChangePoll;
pub use self::cookie_cipher::CookieCipher;
use self::cookies::Cookies;
use self::page_error::PageError;
use self::session::Session;
use self::sse::SseConnections;
use self::unread_responses::UnreadResponses;
use crate::api::no_such_route;
use crate::request_limit::{RequestLimit, change_limit};
use crate::{MailboxUsers, Operator, SignInLinks, UserService};

/// The dependencies of the pages.
pub struct PagesParts {
    /// Reads and changes users.
    pub users: Arc<UserService>,

    /// Finds the users of a person who signs in with Google.
    pub mailboxes: Arc<MailboxUsers>,

    /// The relay in this process. Without it, the pages show no deliveries.
    pub relay: Option<LocalRelay>,

    /// Notifies live pages of changes.
    pub changes: Changes,

    /// Redeems sign-in links and ends sessions; has the base URL of the pages.
    pub links: SignInLinks,

    /// Encrypts cookies and links.
    pub cipher: CookieCipher,

    /// Does what operators ask for, and issues the tokens of setup tools.
    pub operator: Arc<Operator>,

    /// Sign-in with Google, if it is configured.
    pub google: Option<SignIn>,

    /// Sign-in with another issuer, if one is configured.
    pub issuer: Option<IssuerSignIn>,

    /// What addresses give access to.
    pub access: SignInAccess,

    /// The users' alert targets.
    pub alerts: UserTargets,
}

/// The relay in this process, as far as the pages need it.
pub struct LocalRelay {
    /// Holds notifications and deliveries.
    pub queue: Arc<dyn DeliveryQueue>,
    /// The log of that queue.
    pub log: Arc<dyn DeliveryLog>,
    /// Wakes the dispatcher after a notification was queued.
    pub arrivals: Arc<Notify>,
    /// The relay's public base URL, for the setup command.
    pub url: String,
}

/// Sign-in with another OpenID Connect issuer.
pub struct IssuerSignIn {
    /// What the button calls it.
    pub name: String,
    /// The issuer.
    pub issuer: Issuer,
}

/// What the addresses of people who sign in give access to. The connected account always gives access to its
/// user.
#[derive(Clone, Debug, Default)]
pub struct SignInAccess {
    /// The addresses of operators.
    pub operators: BTreeSet<EmailAddress>,
    /// The addresses of operators who may only look.
    pub viewers: BTreeSet<EmailAddress>,
    /// Further addresses that give access to a user.
    pub allowed: BTreeMap<EmailAddress, UserId>,
}

/// The pages. Cheap to clone.
#[derive(Clone)]
pub struct Pages(Arc<Shared>);

struct Shared {
    parts: PagesParts,
    connections: Arc<SseConnections>,
    unread: Arc<UnreadResponses>,
    policy: HeaderValue,
    test_alerts: RequestLimit<UserId>,
    /// Of what users change, and of their sign-ins.
    changes: RequestLimit<UserId>,
}

/// The user whose changes are limited: operators' are not.
fn limited(principal: &Principal) -> Option<&UserId> {
    let user = principal.user.as_ref();
    user.filter(|_| principal.operator.is_none())
}

impl Pages {
    /// Creates the pages.
    #[must_use]
    pub fn new(parts: PagesParts) -> Self {
        let google = parts.google.as_ref();
        let sign_in = google.map(|google| &google.auth_url);
        let client = parts.users.operator_client.as_ref();
        let consent = sign_in.or(client.map(|client| client.auth_url()));
        let origin = consent.map(|url| url.origin().ascii_serialization());
        Self(Arc::new(Shared {
            policy: security_headers::policy(origin.as_deref()),
            connections: Arc::default(),
            unread: Arc::default(),
            test_alerts: bot::alerts::test_limit(),
            changes: change_limit(),
            parts,
        }))
    }

    /// Adds the pages to the routes of an API. An unknown path is answered with a page, below `/api`
    /// with JSON.
    pub fn around(&self, api: Router) -> Router {
        let unknown = any(unknown)
            .layer(from_fn_with_state(self.clone(), security_headers::add))
            .with_state(self.clone());
        api.merge(self.router()).fallback_service(unknown)
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/", get(start))
            .merge(sign_in::routes())
            .merge(bot::routes())
            .merge(operator::routes())
            .route(
                "/sign-out",
                get(sign_in::ask_to_sign_out).post(sign_in::sign_out),
            )
            .route("/assets/{name}", get(assets::asset))
            .method_not_allowed_fallback(async || PageError::MethodNotAllowed)
            .layer(from_fn_with_state(self.clone(), unread_responses::limit))
            .layer(from_fn_with_state(self.clone(), security_headers::add))
            .with_state(self.clone())
    }

    /// Closes the SSE connections once `stop` is cancelled: their responses would not end otherwise.
    pub async fn close_connections(self, stop: CancellationToken) {
        stop.cancelled().await;
        self.0.connections.close();
    }

    /// Until `stop` is cancelled, shows on open pages what other processes change.
    pub async fn follow_other_processes(self, stop: CancellationToken) {
        let poll = ChangePoll {
            users: Arc::clone(&self.users().store),
            log: self
                .parts()
                .relay
                .as_ref()
                .map(|relay| Arc::clone(&relay.log)),
            changes: self.parts().changes.clone(),
        };
        poll.run(stop).await;
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

    /// Counts a change, or a sign-in, of a principal. Those of users are limited: each is an entry of the audit log,
    /// which keeps it for a year.
    fn count_change(&self, principal: &Principal) -> Result<(), PageError> {
        let now = self.users().clock.elapsed();
        let is_allowed = limited(principal).is_none_or(|user| self.0.changes.take(user, now));
        is_allowed.then_some(()).ok_or(PageError::TooManyChanges)
    }

    /// Fails if a change of a principal would be one too many. Counts nothing.
    fn check_changes(&self, principal: &Principal) -> Result<(), PageError> {
        let now = self.users().clock.elapsed();
        let is_reached =
            limited(principal).is_some_and(|user| self.0.changes.is_reached(user, now));
        (!is_reached).then_some(()).ok_or(PageError::TooManyChanges)
    }

    fn cookies(&self) -> Cookies<'_> {
        Cookies {
            cipher: &self.parts().cipher,
            is_https: self.is_https(),
        }
    }

    fn is_https(&self) -> bool {
        self.parts().links.url.scheme() == "https"
    }

    /// Returns whether the configuration lists an address as an operator's, or as that of one who may only
    /// look: an operator may do that, too.
    fn is_operator(&self, address: &str, is_viewer: bool) -> bool {
        let has = |all: &BTreeSet<EmailAddress>| all.iter().any(|it| it.as_str() == address);
        let access = &self.parts().access;
        has(&access.operators) || (is_viewer && has(&access.viewers))
    }
}

/// Redirects to the first page that the session may see.
async fn start(
    State(pages): State<Pages>,
    session: Result<Session, PageError>,
) -> Result<Redirect, PageError> {
    let first = match session {
        Ok(session) => session.first_page(&pages).await?,
        Err(_) => None,
    };
    Ok(Redirect::to(first.unwrap_or("/sign-in")))
}

async fn unknown(uri: Uri) -> Response {
    let is_api = uri.path() == "/api" || uri.path().starts_with("/api/");
    if is_api {
        no_such_route()
    } else {
        PageError::NotFound.into_response()
    }
}
