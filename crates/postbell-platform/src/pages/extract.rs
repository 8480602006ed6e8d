//! Extractors for the path and the query that reject with a page.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::{PageError, Pages};
use crate::origin::origin;

/// The variable part of a route's path.
pub(super) struct PathParam<T>(pub(super) T);

/// From where a request comes, for the audit log.
pub(super) struct Origin(pub(super) String);

/// The parameters of the query.
pub(super) struct QueryParams<T>(pub(super) T);

impl FromRequestParts<Pages> for Origin {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, _: &Pages) -> Result<Self, PageError> {
        Ok(Self(origin(parts)))
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<Pages> for PathParam<T> {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, PageError> {
        let path = Path::from_request_parts(parts, pages).await;
        path.map(|Path(value)| Self(value))
            .map_err(|_| PageError::NotFound)
    }
}

impl<T: DeserializeOwned> FromRequestParts<Pages> for QueryParams<T> {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, PageError> {
        let query = Query::from_request_parts(parts, pages).await;
        query
            .map(|Query(value)| Self(value))
            .map_err(|_| PageError::InvalidQuery)
    }
}
