//! The routes for a user's setup tool, which has the user's token.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use postbell_core::{UserId, UserRecord};
use postbell_protocol::api::{Connected, ConnectionStatus, CredentialsOffer, Problem, PublicKey};
use postbell_protocol::routes;

use super::Platform;
use super::auth::{SetupToolUser, query};
use super::body::JsonBody;
use super::credentials::{connect_user, disconnect_user};
use super::error::{ApiError, UserErrors};
use super::status::{account_status, stored_record};

/// The key to encrypt credentials with
#[utoipa::path(
    get,
    path = routes::ADMIN_PUBLIC_KEY,
    operation_id = "getPublicKey",
    tag = "setup",
    security(("userToken" = [])),
    responses(
        (status = OK, body = PublicKey),
        (status = UNAUTHORIZED, body = Problem),
        (status = SERVICE_UNAVAILABLE, body = Problem, description = "The platform has no key"),
    )
)]
pub(super) async fn public_key(
    _: SetupToolUser,
    State(platform): State<Platform>,
) -> Result<Json<PublicKey>, ApiError> {
    let key = platform.parts().platform_key.as_ref();
    let key = key.ok_or(ApiError::NoKey)?;
    Ok(Json(PublicKey {
        public_key: key.public_pem().to_owned(),
        relay_url: platform.parts().relay_url.clone(),
    }))
}

fn connection_status(record: UserRecord, accounts: &[UserRecord]) -> ConnectionStatus {
    let google_connected = record.google.is_some();
    let (email, push_account) = record
        .google
        .map_or((None, None), |google| (google.email, google.push_account));
    ConnectionStatus {
        google_connected,
        email: email.map(Into::into),
        gmail_push_oidc_email: push_account.map(Into::into),
        gmail_notifications_enabled: record.notifications_enabled,
        gmail_last_history_id: Some(record.last_history_id.map(|id| id.to_string())),
        further_accounts: accounts.iter().map(account_status).collect(),
    }
}

/// Whether the user's Google account is connected
#[utoipa::path(
    get,
    path = routes::ADMIN_GOOGLE_CREDENTIALS,
    operation_id = "getOwnGoogleConnection",
    tag = "setup",
    security(("userToken" = [])),
    responses(
        (status = OK, body = ConnectionStatus),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn show(
    SetupToolUser { user, .. }: SetupToolUser,
    State(platform): State<Platform>,
) -> Result<Json<ConnectionStatus>, ApiError> {
    const OPERATION: &str = "google-credentials";
    let record = stored_record(&platform, OPERATION, &user).await?;
    let accounts = platform.users().fleet.accounts_of(&record).await;
    let accounts = accounts.map_err(|error| ApiError::from_change(OPERATION, error))?;
    Ok(Json(connection_status(record, &accounts)))
}

/// Connects the user's Google account, and turns notifications on
#[utoipa::path(
    post,
    path = routes::ADMIN_GOOGLE_CREDENTIALS,
    operation_id = "connectOwnGoogle",
    tag = "setup",
    request_body = CredentialsOffer,
    security(("userToken" = [])),
    responses(
        (status = OK, body = Connected),
        UserErrors,
        (status = CONFLICT, body = Problem),
        (status = PAYLOAD_TOO_LARGE, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    )
)]
pub(super) async fn connect(
    SetupToolUser { user, added, by }: SetupToolUser,
    State(platform): State<Platform>,
    JsonBody(offered): JsonBody<CredentialsOffer, { super::credentials::BODY_LIMIT }>,
) -> Result<Json<Connected>, ApiError> {
    connect_user(&platform, &user, Some(added), offered, &by).await
}

/// Disconnects the user's Google account, or a further one of theirs, and turns its notifications off
#[utoipa::path(
    delete,
    path = routes::ADMIN_GOOGLE_CREDENTIALS,
    operation_id = "disconnectOwnGoogle",
    tag = "setup",
    params(("account" = Option<String>, Query, description = "The id of a further account; without it, the first one is meant")),
    security(("userToken" = [])),
    responses(
        (status = OK, body = Connected),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    )
)]
pub(super) async fn disconnect(
    SetupToolUser { user, by, .. }: SetupToolUser,
    AccountQuery(account): AccountQuery,
    State(platform): State<Platform>,
) -> Result<Json<Connected>, ApiError> {
    let Some(account) = account else {
        return disconnect_user(&platform, &user, &by).await;
    };
    let record = platform.users().store.get(&account).await;
    let record = record.map_err(|error| ApiError::from_change("google-credentials", error))?;
    // That of another user does not exist for this one.
    if record.is_none_or(|record| *record.bot() != user) {
        return Err(ApiError::UnknownUser);
    }
    disconnect_user(&platform, &account, &by).await
}

/// The account in the query of the URL, if there is one.
pub(super) struct AccountQuery(Option<UserId>);

impl FromRequestParts<Platform> for AccountQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Platform) -> Result<Self, ApiError> {
        let account = query(parts, "account").map(|account| account.parse());
        let account = account.transpose().map_err(|_| ApiError::UnknownUser)?;
        Ok(Self(account))
    }
}
