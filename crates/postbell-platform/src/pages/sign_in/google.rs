//! Signing in with Google.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::SET_COOKIE;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use postbell_core::{EmailAddress, Principal, Timestamp};
use postbell_google::{SignInAttempt, SignInError};
use postbell_http::constant_time_eq;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::in_log;
use crate::pages::cookies::Cookie;
use crate::pages::csrf_form::SameOriginForm;
use crate::pages::extract::InQuery;
use crate::pages::{GoogleSignIn, PageError, Pages};
use crate::random::random_text;

/// Where the browser comes back to.
pub(super) const BACK: &str = "/sign-in/google/back";

/// For how many seconds Google's pages may be looked at.
const PATIENCE: i64 = 600;

const NO_GOOGLE: PageError = PageError::NotSignedIn(
    "Signing in with Google is not set up here. Ask your operator for a link.",
);
const TOO_OLD: PageError = PageError::NotSignedIn(
    "This attempt to sign in is over, or was begun in another browser. Begin again.",
);
const NOT_VOUCHED_FOR: PageError =
    PageError::NotSignedIn("Google did not confirm who you are. Begin again.");
const NOBODY: PageError = PageError::NotSignedIn(
    "No bot is connected to this Google account. Use the one that your bot watches, or ask your operator for a link.",
);

/// An attempt, which the browser keeps meanwhile.
#[derive(Deserialize, Serialize)]
struct Attempt {
    state: String,
    nonce: String,
    verifier: String,
    begun_at: Timestamp,
}

impl Attempt {
    fn of(self, pages: &Pages) -> SignInAttempt {
        let base = pages.parts().links.url.as_str().trim_end_matches('/');
        SignInAttempt {
            state: self.state,
            nonce: self.nonce,
            verifier: self.verifier.into(),
            redirect_uri: format!("{base}{BACK}"),
        }
    }
}

/// What Google has the browser bring back.
#[derive(Deserialize)]
pub(in crate::pages) struct Brought {
    state: Option<String>,
    code: Option<String>,
}

/// Sends the browser to Google.
pub(in crate::pages) async fn begin(
    State(pages): State<Pages>,
    _: SameOriginForm,
) -> Result<Response, PageError> {
    let google = pages.parts().google.as_ref().ok_or(NO_GOOGLE)?;
    let random = &pages.parts().links.random;
    let attempt = Attempt {
        state: random_text(random),
        nonce: random_text(random),
        verifier: random_text(random),
        begun_at: pages.now(),
    };
    let cookie = pages.keep(Cookie::Attempt, &attempt, PATIENCE);
    let url = google.sign_in.consent_url(&attempt.of(&pages));
    Ok(([(SET_COOKIE, cookie)], Redirect::to(url.as_str())).into_response())
}

/// Takes the browser back, and asks Google who it is.
pub(in crate::pages) async fn come_back(
    State(pages): State<Pages>,
    headers: HeaderMap,
    InQuery(brought): InQuery<Brought>,
) -> Result<Response, PageError> {
    let google = pages.parts().google.as_ref().ok_or(NO_GOOGLE)?;
    let attempt: Option<Attempt> = pages.kept(Cookie::Attempt, &headers);
    let now = pages.now();
    let patience = std::time::Duration::from_secs(PATIENCE.unsigned_abs());
    let attempt = attempt.filter(|attempt| now < attempt.begun_at + patience);
    let attempt = attempt.ok_or(TOO_OLD)?.of(&pages);
    let state = brought.state.unwrap_or_default();
    if !constant_time_eq(&attempt.state, state) {
        return Err(TOO_OLD);
    }
    let code = brought.code.ok_or(NOT_VOUCHED_FOR)?;
    let address = google.sign_in.finish(&code, &attempt, now).await;
    let address = address.map_err(refused)?;
    let visitor = whose(&pages, google, &address).await?.ok_or(NOBODY)?;
    let who = in_log(&visitor);
    let allowed = google.allowed.contains_key(&address).then_some(address);
    let begun = pages.begin(visitor, allowed).await?.ok_or(NOBODY)?;
    info!(visitor = who, "Somebody has signed in with Google");
    let forget = AppendHeaders([(SET_COOKIE, pages.forget(Cookie::Attempt))]);
    Ok((forget, begun).into_response())
}

/// Who an address is: whose account it is, or whom the configuration names.
async fn whose(
    pages: &Pages,
    google: &GoogleSignIn,
    address: &EmailAddress,
) -> Result<Option<Principal>, PageError> {
    let user = match google.allowed.get(address) {
        Some(user) => Some(user.clone()),
        None => pages.users().instances.user_by_email(address).await?,
    };
    let operator = google.operators.contains(address);
    let operator = operator.then(|| address.as_str().to_owned());
    let is_somebody = user.is_some() || operator.is_some();
    Ok(is_somebody.then_some(Principal { user, operator }))
}

fn refused(error: SignInError) -> PageError {
    let shown = &error as &dyn std::error::Error;
    match &error {
        SignInError::Rejected(_) => {
            info!(error = shown, "Somebody was not signed in");
            NOT_VOUCHED_FOR
        }
        SignInError::Refused { .. } => {
            warn!(error = shown, "Nobody can sign in with Google");
            PageError::Failed
        }
        SignInError::Unavailable(_) => {
            warn!(error = shown, "Nobody can sign in with Google now");
            PageError::GoogleUnavailable
        }
    }
}
