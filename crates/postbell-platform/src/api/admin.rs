//! The same for a user's setup tool, which has the user's token.

use axum::Json;
use axum::extract::State;
use postbell_core::UserRecord;
use serde::Serialize;
use utoipa::ToSchema;

use super::Platform;
use super::auth::SetupOf;
use super::body::Body;
use super::credentials::{Connection, Offered, connect_user, disconnect_user};
use super::error::{ApiError, Problem};
use super::status::known;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PublicKey {
    /// SPKI, as PEM
    public_key: String,
}

/// The key that credentials are to be encrypted with
#[utoipa::path(
    get,
    path = "/api/admin/public-key",
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
    _: SetupOf,
    State(platform): State<Platform>,
) -> Result<Json<PublicKey>, ApiError> {
    let key = platform.parts().platform_key.as_ref();
    let key = key.ok_or(ApiError::NoKey)?;
    Ok(Json(PublicKey {
        public_key: key.public_pem().to_owned(),
    }))
}

/// How a user's connection stands. What opens the account is never shown.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    google_connected: bool,
    email: Option<String>,
    gmail_push_oidc_email: Option<String>,
    gmail_notifications_enabled: bool,
    /// How far the user's mail was delivered: whoever sets up sees by it that a notification came
    /// through
    #[schema(example = "18446744073709551615")]
    gmail_last_history_id: Option<String>,
}

impl From<UserRecord> for Shown {
    fn from(record: UserRecord) -> Self {
        let google_connected = record.google.is_some();
        let (email, push_account) = record
            .google
            .map_or((None, None), |google| (google.email, google.push_account));
        Self {
            google_connected,
            email: email.map(Into::into),
            gmail_push_oidc_email: push_account.map(Into::into),
            gmail_notifications_enabled: record.notifications_enabled,
            gmail_last_history_id: record.last_history_id.map(|id| id.to_string()),
        }
    }
}

/// Whether the user's Google account is connected
#[utoipa::path(
    get,
    path = "/api/admin/google-credentials",
    operation_id = "getOwnGoogleConnection",
    tag = "setup",
    security(("userToken" = [])),
    responses(
        (status = OK, body = Shown),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn show(
    SetupOf(user): SetupOf,
    State(platform): State<Platform>,
) -> Result<Json<Shown>, ApiError> {
    let record = known(&platform, "google-credentials", &user).await?;
    Ok(Json(record.into()))
}

/// Connects the user's Google account, and turns notifications on
#[utoipa::path(
    post,
    path = "/api/admin/google-credentials",
    operation_id = "connectOwnGoogle",
    tag = "setup",
    request_body = Offered,
    security(("userToken" = [])),
    responses(
        (status = OK, body = Connection),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
        (status = PAYLOAD_TOO_LARGE, body = Problem),
    )
)]
pub(super) async fn connect(
    SetupOf(user): SetupOf,
    State(platform): State<Platform>,
    Body(offered): Body<Offered, { super::credentials::BODY_LIMIT }>,
) -> Result<Json<Connection>, ApiError> {
    connect_user(&platform, &user, offered).await
}

/// Forgets the user's Google account, and turns notifications off
#[utoipa::path(
    delete,
    path = "/api/admin/google-credentials",
    operation_id = "disconnectOwnGoogle",
    tag = "setup",
    security(("userToken" = [])),
    responses(
        (status = OK, body = Connection),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn disconnect(
    SetupOf(user): SetupOf,
    State(platform): State<Platform>,
) -> Result<Json<Connection>, ApiError> {
    disconnect_user(&platform, &user).await
}
