//! Errors as pages.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;
use postbell_core::{StoreError, UsersError};
use tracing::{error, warn};

use super::layout::plain_page;
use crate::{ChangeError, OperatorError};

/// Why a request for a page fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PageError {
    SignedOut,
    /// The session has no access to this page.
    Forbidden,
    /// A viewer changes nothing.
    OnlyLooking,
    /// The form was not sent from a page of this session.
    ForeignForm,
    InvalidForm,
    NotFound,
    MethodNotAllowed,
    InvalidQuery,
    /// The sign-in link is used, expired or unknown.
    InvalidLink,
    /// The sign-in with Google failed, for the given reason.
    SignInFailed(&'static str),
    TooManyConnections,
    /// The user has changed too much in a short time.
    TooManyChanges,
    /// The store is unavailable.
    Unavailable,
    IssuerUnavailable,
    /// An internal error; a retry does not help.
    Internal,
}

impl PageError {
    const fn status_and_message(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::SignedOut => (StatusCode::UNAUTHORIZED, "You are signed out", ""),
            Self::Forbidden => (
                StatusCode::FORBIDDEN,
                "You have no access to this page",
                "You are signed in, but not as a user with this page. Ask your operator for a link.",
            ),
            Self::OnlyLooking => (
                StatusCode::FORBIDDEN,
                "Nothing was changed",
                "You are signed in as a viewer, who may look but not change anything.",
            ),
            Self::ForeignForm => (
                StatusCode::FORBIDDEN,
                "Nothing was changed",
                "This form was not sent from a page of your current session. Open the page again and retry.",
            ),
            Self::InvalidForm => (
                StatusCode::BAD_REQUEST,
                "Nothing was changed",
                "The form could not be read. Open the page again and retry.",
            ),
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "Page not found",
                "The address may be mistyped, or the page no longer exists.",
            ),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "Nothing was changed",
                "This address does not support the request. Open the page again and retry.",
            ),
            Self::InvalidQuery => (
                StatusCode::BAD_REQUEST,
                "This address is invalid",
                "The part after the question mark could not be read.",
            ),
            Self::InvalidLink => (
                StatusCode::GONE,
                "This link is no longer valid",
                "A sign-in link works once and for a short time. If you have signed in with it on another device, open the page there. Otherwise ask your operator for a new link.",
            ),
            Self::SignInFailed(reason) => (StatusCode::FORBIDDEN, "You are not signed in", reason),
            other => other.of_the_server(),
        }
    }

    /// The same of an error that is not about what was requested.
    const fn of_the_server(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::TooManyConnections => (StatusCode::TOO_MANY_REQUESTS, "Too many open pages", ""),
            Self::TooManyChanges => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests",
                "You have changed settings or signed in too often. Wait a minute and retry.",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Temporarily unavailable",
                "Postbell cannot reach its store. Nothing was changed; retry in a moment.",
            ),
            Self::IssuerUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Temporarily unavailable",
                "The service that confirms your identity could not be reached, so you are not signed in. Retry in a moment.",
            ),
            _ => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal error",
                "Postbell could not do this. Its log has the reason; tell your operator.",
            ),
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        if self == Self::SignedOut {
            return Redirect::to("/sign-in").into_response();
        }
        let (status, title, text) = self.status_and_message();
        let page = plain_page(
            title,
            html! {
                p { (text) }
                p { a href="/" { "Home page" } }
            },
        );
        let mut response = (status, page).into_response();
        let retry_after = match self {
            Self::Unavailable | Self::IssuerUnavailable => "5",
            Self::TooManyChanges => "60",
            _ => return response,
        };
        let seconds = HeaderValue::from_static(retry_after);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
        response
    }
}

/// Logs a store's error, which is not shown.
fn store_error(error: &(dyn std::error::Error + 'static), is_unavailable: bool) -> PageError {
    if is_unavailable {
        warn!(error, "The store is unavailable for a page");
        PageError::Unavailable
    } else {
        error!(error, "The store failed for a page");
        PageError::Internal
    }
}

impl From<UsersError> for PageError {
    fn from(error: UsersError) -> Self {
        store_error(
            &error,
            matches!(error, UsersError::Store(StoreError::Unavailable(_))),
        )
    }
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        store_error(&error, matches!(error, StoreError::Unavailable(_)))
    }
}

impl From<OperatorError> for PageError {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::UnknownUser { .. } => Self::NotFound,
            OperatorError::Store(error) => error.into(),
            // The pages offer only what is possible.
            OperatorError::Conflict(_) | OperatorError::Invalid(_) => Self::Internal,
        }
    }
}

impl From<ChangeError> for PageError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::UnknownUser | ChangeError::Store(UsersError::Missing { .. }) => {
                Self::SignedOut
            }
            // The action that can cause it handles it.
            ChangeError::NotConnected => Self::Internal,
            // The callback handles them.
            ChangeError::AddressTaken
            | ChangeError::OtherAccount
            | ChangeError::AccountConnected
            | ChangeError::TooManyAccounts
            | ChangeError::GrantRevoked => Self::Internal,
            ChangeError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_errors_are_not_shown() {
        let unavailable = || StoreError::Unavailable("disk /var/lib full".into());
        assert_eq!(PageError::from(unavailable()), PageError::Unavailable);
        let corrupt = StoreError::Corrupt {
            what: "user",
            source: "ann".into(),
        };
        assert_eq!(PageError::from(corrupt), PageError::Internal);
        let gone = ChangeError::UnknownUser;
        assert_eq!(PageError::from(gone), PageError::SignedOut);
        let answer = PageError::Unavailable.into_response();
        assert_eq!(answer.headers()[header::RETRY_AFTER], "5");
    }
}
