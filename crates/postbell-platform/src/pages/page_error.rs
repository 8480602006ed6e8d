//! The one translation from what went wrong to a page.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;
use postbell_core::{InboxError, SessionsError, UsersError};
use tracing::{error, warn};

use super::layout::plain_page;
use crate::ChangeError;

/// Why there is no page, or not the one that was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PageError {
    /// Nobody is signed in.
    SignedOut,
    /// The page is somebody else's.
    NotYours,
    /// The form is not from one of our pages, or from another session.
    Foreign,
    /// The form cannot be read.
    Unreadable,
    /// There is nothing at this address.
    NoSuchPage,
    /// There is something at this address, but not what was asked of it.
    NoSuchMethod,
    /// What stands behind the question mark cannot be read.
    NoSuchQuery,
    /// A link that was used, has ended or never was.
    NoLink,
    /// Google did not say who it is, or it is nobody that we know.
    NotSignedIn(&'static str),
    /// So many pages of theirs are live already.
    TooManyStreams,
    /// It cannot be done now.
    Unavailable,
    /// Google does not say now who it is.
    GoogleUnavailable,
    /// It cannot be done, and trying again does not help.
    Failed,
}

impl PageError {
    const fn told(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::SignedOut => (StatusCode::UNAUTHORIZED, "You are signed out", ""),
            Self::NotYours => (
                StatusCode::FORBIDDEN,
                "This page is not for you",
                "You are signed in, but as somebody who has no such page. Ask your operator for a link.",
            ),
            Self::Foreign => (
                StatusCode::FORBIDDEN,
                "Nothing was changed",
                "This form was not sent from a page of your present session. Open the page again, and try once more.",
            ),
            Self::Unreadable => (
                StatusCode::BAD_REQUEST,
                "Nothing was changed",
                "The form could not be read. Open the page again, and try once more.",
            ),
            Self::NoSuchPage => (
                StatusCode::NOT_FOUND,
                "There is no such page",
                "The address may be mistyped, or what was here is gone.",
            ),
            Self::NoSuchMethod => (
                StatusCode::METHOD_NOT_ALLOWED,
                "Nothing was changed",
                "This address cannot be used in that way. Open the page again, and try once more.",
            ),
            Self::NoSuchQuery => (
                StatusCode::BAD_REQUEST,
                "This address cannot be read",
                "What stands behind the question mark is not of our making.",
            ),
            Self::NoLink => (
                StatusCode::GONE,
                "This link does not work any more",
                "A sign-in link works once, and for a short time. Ask your operator for a new one.",
            ),
            Self::NotSignedIn(why) => (StatusCode::FORBIDDEN, "You are not signed in", why),
            Self::TooManyStreams => (StatusCode::TOO_MANY_REQUESTS, "Too many open pages", ""),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Not now",
                "Postbell cannot reach what it has stored. Nothing was changed; try again in a moment.",
            ),
            Self::GoogleUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Not now",
                "Google could not be reached, so you are not signed in. Try again in a moment.",
            ),
            Self::Failed => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something is wrong",
                "Postbell could not do this. Its log says why; tell your operator.",
            ),
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        if self == Self::SignedOut {
            return Redirect::to("/sign-in").into_response();
        }
        let (status, title, text) = self.told();
        let page = plain_page(
            title,
            html! {
                p { (text) }
                p { a href="/" { "To the start" } }
            },
        );
        let mut answer = (status, page).into_response();
        if matches!(self, Self::Unavailable | Self::GoogleUnavailable) {
            let seconds = HeaderValue::from_static("5");
            answer.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        answer
    }
}

/// What the stores say is logged here, once, and not shown.
fn stored(error: &(dyn std::error::Error + 'static), is_unavailable: bool) -> PageError {
    if is_unavailable {
        warn!(error, "What a page needs is out of reach");
        PageError::Unavailable
    } else {
        error!(error, "A page has failed");
        PageError::Failed
    }
}

impl From<UsersError> for PageError {
    fn from(error: UsersError) -> Self {
        stored(&error, matches!(error, UsersError::Unavailable(_)))
    }
}

impl From<InboxError> for PageError {
    fn from(error: InboxError) -> Self {
        stored(&error, matches!(error, InboxError::Unavailable(_)))
    }
}

impl From<SessionsError> for PageError {
    fn from(error: SessionsError) -> Self {
        stored(&error, matches!(error, SessionsError::Unavailable(_)))
    }
}

impl From<ChangeError> for PageError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NoInstance | ChangeError::Users(UsersError::Missing { .. }) => {
                Self::SignedOut
            }
            // The one action that may meet it answers by itself.
            ChangeError::NotConnected => Self::Failed,
            // No page connects an account.
            ChangeError::AddressTaken => Self::Failed,
            ChangeError::Users(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_stores_say_is_never_shown() {
        let unavailable = || UsersError::Unavailable("disk /var/lib full".into());
        assert_eq!(PageError::from(unavailable()), PageError::Unavailable);
        let corrupt = SessionsError::Corrupt {
            what: "user",
            source: "ann".into(),
        };
        assert_eq!(PageError::from(corrupt), PageError::Failed);
        let gone = ChangeError::NoInstance;
        assert_eq!(PageError::from(gone), PageError::SignedOut);
        let answer = PageError::Unavailable.into_response();
        assert_eq!(answer.headers()[header::RETRY_AFTER], "5");
    }
}
