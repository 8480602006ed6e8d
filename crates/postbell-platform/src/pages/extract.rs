//! What a page's address says, or a page of our own that says that it says nothing.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::{PageError, Pages};

/// The part of the path that a route leaves open.
pub(super) struct InPath<T>(pub(super) T);

/// What stands behind the question mark.
pub(super) struct InQuery<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Pages> for InPath<T> {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, PageError> {
        let path = Path::from_request_parts(parts, pages).await;
        path.map(|Path(value)| Self(value))
            .map_err(|_| PageError::NoSuchPage)
    }
}

impl<T: DeserializeOwned> FromRequestParts<Pages> for InQuery<T> {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, PageError> {
        let query = Query::from_request_parts(parts, pages).await;
        query
            .map(|Query(value)| Self(value))
            .map_err(|_| PageError::NoSuchQuery)
    }
}
