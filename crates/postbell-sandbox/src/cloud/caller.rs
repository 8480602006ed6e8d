//! Authentication and authorization of calls of Google Cloud's APIs.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::Response;

use crate::Sandbox;
use crate::oauth::Account;

/// The scope for all of Google Cloud.
const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

/// A Google API, as a type.
pub(crate) trait Api {
    /// Service name.
    const SERVICE: &'static str;
    /// Scopes that allow it, besides `cloud-platform`.
    const SCOPES: &'static [&'static str] = &[];
}

/// A caller whose token has the scope and whose project has enabled the API. A handler that takes one
/// runs for such callers only.
///
/// The quota project of a call with a user's token is the OAuth client's
/// (<https://cloud.google.com/apis/docs/capping-api-usage>).
pub(crate) struct Caller<A>(PhantomData<A>);

impl<A: Api> FromRequestParts<Sandbox> for Caller<A> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, sandbox: &Sandbox) -> Result<Self, Response> {
        let account = Account::from_request_parts(parts, sandbox).await?;
        let scopes: Vec<_> = [CLOUD_PLATFORM].iter().chain(A::SCOPES).copied().collect();
        account.require_any_scope(&scopes)?;
        sandbox.cloud().admit(&account.consumer, A::SERVICE)?;
        Ok(Self(PhantomData))
    }
}

macro_rules! api {
    ($name:ident, $service:literal $(, $scope:literal)*) => {
        pub(crate) struct $name;

        impl Api for $name {
            const SERVICE: &'static str = $service;
            const SCOPES: &'static [&'static str] = &[$($scope),*];
        }
    };
}

api!(
    PubSubApi,
    "pubsub.googleapis.com",
    "https://www.googleapis.com/auth/pubsub"
);
api!(IamApi, "iam.googleapis.com");
api!(ResourceManagerApi, "cloudresourcemanager.googleapis.com");
api!(ServiceUsageApi, "serviceusage.googleapis.com");
