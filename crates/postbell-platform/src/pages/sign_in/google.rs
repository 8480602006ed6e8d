//! Signing in with Google, or with another issuer that the configuration names.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use postbell_core::{EmailAddress, Principal, Timestamp, UserId};
use postbell_google::{SignIn, SignInAttempt, SignInError};
use postbell_http::constant_time_eq;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{choice, log_name};
use crate::pages::cookies::CookieName;
use crate::pages::csrf_form::SameOriginForm;
use crate::pages::extract::{Origin, QueryParams};
use crate::pages::session::{GivenBy, Session};
use crate::pages::{PageError, Pages};
use crate::random::random_text;

/// The paths to which the issuers redirect.
pub(super) const CALLBACK: &str = "/sign-in/google/back";
pub(super) const ISSUER_CALLBACK: &str = "/sign-in/issuer/back";

/// How long a sign-in at an issuer may take.
const ATTEMPT_LIFETIME: Duration = Duration::from_secs(600);

const NOT_CONFIGURED: PageError =
    PageError::SignInFailed("This sign-in is not configured. Ask your operator for a link.");
const EXPIRED: PageError = PageError::SignInFailed(
    "This sign-in has expired or was started in another browser. Start again.",
);
const NOT_CONFIRMED: PageError =
    PageError::SignInFailed("Your identity was not confirmed. Start again.");
const NO_ACCESS: PageError = PageError::SignInFailed(
    "No bot is connected to this account. Use the account that your bot watches, or ask your operator for a link.",
);

/// Who confirms an identity.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum Provider {
    Google,
    Issuer,
}

/// The client of a provider's endpoints.
enum Client<'a> {
    Google(&'a SignIn),
    Issuer(Arc<SignIn>),
}

impl Deref for Client<'_> {
    type Target = SignIn;

    fn deref(&self) -> &SignIn {
        match self {
            Self::Google(sign_in) => sign_in,
            Self::Issuer(sign_in) => sign_in,
        }
    }
}

impl Provider {
    async fn client(self, pages: &Pages) -> Result<Client<'_>, PageError> {
        let parts = pages.parts();
        match self {
            Self::Google => {
                let google = parts.google.as_ref().ok_or(NOT_CONFIGURED)?;
                Ok(Client::Google(google))
            }
            Self::Issuer => {
                let configured = parts.issuer.as_ref().ok_or(NOT_CONFIGURED)?;
                let discovered = configured.issuer.sign_in().await;
                discovered.map(Client::Issuer).map_err(sign_in_error)
            }
        }
    }

    /// How the audit log and the log call a sign-in with it.
    fn way(self, pages: &Pages) -> String {
        match (self, &pages.parts().issuer) {
            (Self::Issuer, Some(issuer)) => format!("with {}", issuer.name),
            _ => "with Google".to_owned(),
        }
    }

    const fn callback(self) -> &'static str {
        match self {
            Self::Google => CALLBACK,
            Self::Issuer => ISSUER_CALLBACK,
        }
    }
}

/// A sign-in that has begun, stored in a cookie.
#[derive(Deserialize, Serialize)]
struct Attempt {
    /// The answer of another one is not one to this sign-in.
    provider: Provider,
    state: String,
    nonce: String,
    verifier: String,
    started_at: Timestamp,
}

impl Attempt {
    fn into_sign_in(self, pages: &Pages) -> SignInAttempt {
        let base = pages.parts().links.url.as_str().trim_end_matches('/');
        SignInAttempt {
            state: self.state,
            nonce: self.nonce,
            verifier: self.verifier.into(),
            redirect_uri: format!("{base}{}", self.provider.callback()),
        }
    }
}

/// The query of Google's redirect.
#[derive(Deserialize)]
pub(in crate::pages) struct CallbackQuery {
    state: Option<String>,
    code: Option<String>,
}

/// Redirects to Google.
pub(in crate::pages) async fn start(
    State(pages): State<Pages>,
    _: SameOriginForm,
) -> Result<Response, PageError> {
    begin(&pages, Provider::Google).await
}

/// Redirects to the other issuer. By a link: the policy of forms would have to name the issuer's pages, which
/// are not known before they are discovered. A link of another site could end a sign-in that runs.
pub(in crate::pages) async fn start_at_issuer(
    State(pages): State<Pages>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let site = headers.get("sec-fetch-site");
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return Ok(Redirect::to("/sign-in").into_response());
    }
    begin(&pages, Provider::Issuer).await
}

async fn begin(pages: &Pages, provider: Provider) -> Result<Response, PageError> {
    let client = provider.client(pages).await?;
    let random = &pages.parts().links.random;
    let attempt = Attempt {
        provider,
        state: random_text(random),
        nonce: random_text(random),
        verifier: random_text(random),
        started_at: pages.now(),
    };
    let cookies = pages.cookies();
    let cookie = cookies.set(CookieName::SignInAttempt, &attempt, ATTEMPT_LIFETIME);
    let url = client.consent_url(&attempt.into_sign_in(pages));
    Ok((cookie, Redirect::to(url.as_str())).into_response())
}

/// Redeems Google's code for an address and starts a session.
pub(in crate::pages) async fn callback(
    State(pages): State<Pages>,
    headers: HeaderMap,
    Origin(origin): Origin,
    QueryParams(query): QueryParams<CallbackQuery>,
) -> Result<Response, PageError> {
    finish(&pages, Provider::Google, &headers, query, origin).await
}

/// The same with the other issuer's code.
pub(in crate::pages) async fn issuer_callback(
    State(pages): State<Pages>,
    headers: HeaderMap,
    Origin(origin): Origin,
    QueryParams(query): QueryParams<CallbackQuery>,
) -> Result<Response, PageError> {
    finish(&pages, Provider::Issuer, &headers, query, origin).await
}

async fn finish(
    pages: &Pages,
    provider: Provider,
    headers: &HeaderMap,
    query: CallbackQuery,
    origin: String,
) -> Result<Response, PageError> {
    let client = provider.client(pages).await?;
    let attempt: Option<Attempt> = pages.cookies().read(CookieName::SignInAttempt, headers);
    let now = pages.now();
    let attempt = attempt.filter(|attempt| {
        attempt.provider == provider && now < attempt.started_at + ATTEMPT_LIFETIME
    });
    let attempt = attempt.ok_or(EXPIRED)?.into_sign_in(pages);
    let state = query.state.unwrap_or_default();
    if !constant_time_eq(&attempt.state, state) {
        return Err(EXPIRED);
    }
    let code = query.code.ok_or(NOT_CONFIRMED)?;
    let address = client.finish(&code, &attempt, now).await;
    let address = address.map_err(sign_in_error)?;
    let (mut users, mut principal) = access_of(pages, &address).await?;
    let way = provider.way(pages);
    let remove = pages.cookies().remove(CookieName::SignInAttempt);
    if users.len() > 1 {
        let choice = choice::ask(pages, users, principal, address, way).await?;
        return Ok((remove, choice).into_response());
    }
    principal.user = users.pop();
    if principal.user.is_none() && principal.operator.is_none() {
        return Err(NO_ACCESS);
    }
    let name = log_name(&principal);
    pages.count_change(&principal)?;
    let given = given_by(pages, principal.user.as_ref(), address).await?;
    let started = Session::start(pages, principal, given, origin, &way).await?;
    let started = started.ok_or(NO_ACCESS)?;
    info!(principal = name, way, "Signed in");
    Ok((remove, started).into_response())
}

/// Returns what the session of a user depends on: an address of the configuration, or a connected account.
pub(super) async fn given_by(
    pages: &Pages,
    user: Option<&UserId>,
    address: EmailAddress,
) -> Result<Option<GivenBy>, PageError> {
    let Some(user) = user else { return Ok(None) };
    let is_allowed = pages.parts().access.allowed.get(&address) == Some(user);
    let is_own = !is_allowed && pages.parts().mailboxes.is_proven(user, &address).await?;
    Ok(Some(GivenBy { address, is_own }))
}

/// Returns whose bots an address opens, by the connected accounts and the configuration, and what it is beside that.
async fn access_of(
    pages: &Pages,
    address: &EmailAddress,
) -> Result<(Vec<UserId>, Principal), PageError> {
    let access = &pages.parts().access;
    let users = match access.allowed.get(address) {
        Some(user) => vec![user.clone()],
        None => pages.parts().mailboxes.of_person(address).await?,
    };
    let is_operator = access.operators.contains(address);
    let is_viewer = !is_operator && access.viewers.contains(address);
    let operator = (is_operator || is_viewer).then(|| address.as_str().to_owned());
    let principal = Principal {
        user: None,
        operator,
        is_viewer,
    };
    Ok((users, principal))
}

fn sign_in_error(error: SignInError) -> PageError {
    let shown = &error as &dyn std::error::Error;
    match &error {
        SignInError::Rejected(_) => {
            info!(error = shown, "A sign-in was rejected");
            NOT_CONFIRMED
        }
        SignInError::Refused { .. } => {
            warn!(error = shown, "The issuer refuses the sign-in client");
            PageError::Internal
        }
        SignInError::Unavailable(_) => {
            warn!(error = shown, "The issuer is unavailable for sign-ins");
            PageError::IssuerUnavailable
        }
    }
}
