//! What is known of a user.

use axum::Json;
use axum::extract::State;
use postbell_core::{HistoryId, MachineLocation, ManagedMachine, Timestamp, UserId, UserRecord};
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use super::Platform;
use super::auth::{About, Internal};
use super::error::{ApiError, Problem};

/// What is known of a user, as the API and the command line show it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Who.
    user_id: String,
    /// The name under which the machine reports in.
    sandbox_id: String,
    /// `provisioned`, `starting`, `running`, `stopped` or `destroying`
    #[schema(example = "running")]
    status: &'static str,
    /// Name of the machine's app, where it is on Fly.
    fly_app_name: Option<String>,
    /// Id of the machine, where it is on Fly.
    fly_machine_id: Option<String>,
    /// Base URL of the machine, where it has one of its own.
    url: Option<String>,
    /// Whether a Google account is connected.
    google_connected: bool,
    /// Its address, where it was named.
    google_account_email: Option<String>,
    /// The service account that signs the user's pushes.
    gmail_push_oidc_email: Option<String>,
    /// When the account was connected, in milliseconds since the epoch.
    google_connected_at: Option<i64>,
    /// Whether the user wants to be told of new mail.
    gmail_notifications_enabled: bool,
    /// How far the user's mail was delivered: an unsigned 64-bit number.
    #[schema(example = "18446744073709551615")]
    gmail_last_history_id: Option<String>,
    /// When Gmail's watch ends, in milliseconds since the epoch, where the machine has said.
    watch_expires_at: Option<i64>,
    /// Whether the machine may be started because mail waits for it.
    wake_on_mail: bool,
    /// When the user was added, in milliseconds since the epoch.
    created_at: i64,
    /// When anything of this changed last, in milliseconds since the epoch.
    updated_at: i64,
}

impl From<&UserRecord> for Status {
    fn from(record: &UserRecord) -> Self {
        let (app, machine, url) = match record.place.clone() {
            MachineLocation::Unknown => (None, None, None),
            MachineLocation::Managed(ManagedMachine { app, machine }) => {
                (Some(app), Some(machine), None)
            }
            MachineLocation::Url(url) => (None, None, Some(url.into())),
        };
        let google = record.google.as_ref();
        let email = google.and_then(|google| google.email.clone());
        let push_account = google.and_then(|google| google.push_account.clone());
        Self {
            user_id: record.user.to_string(),
            sandbox_id: record.sandbox_id.to_string(),
            status: record.status.as_str(),
            fly_app_name: app,
            fly_machine_id: machine,
            url,
            google_connected: google.is_some(),
            google_account_email: email.map(Into::into),
            gmail_push_oidc_email: push_account.map(Into::into),
            google_connected_at: google.map(|google| google.connected_at.as_millis()),
            gmail_notifications_enabled: record.notifications_enabled,
            gmail_last_history_id: record.last_history_id.as_ref().map(HistoryId::to_string),
            watch_expires_at: record.watch_expires_at.map(Timestamp::as_millis),
            wake_on_mail: record.wake_on_mail,
            created_at: record.created_at.as_millis(),
            updated_at: record.updated_at.as_millis(),
        }
    }
}

/// Where a user's machine stands, and whether its owner wants mail
#[utoipa::path(
    get,
    path = "/api/platform/status",
    operation_id = "getStatus",
    tag = "relay",
    params(("userId" = String, Query)),
    security(("internalKey" = [])),
    responses(
        (status = OK, body = Status),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn status(
    _: Internal,
    State(platform): State<Platform>,
    About(user): About,
) -> Result<Json<Status>, ApiError> {
    let record = platform.users().fleet.get(&user).await;
    let record = record.map_err(|error| ApiError::of("status", error))?;
    let record = record.ok_or(ApiError::NoInstance)?;
    Ok(Json(Status::from(&record)))
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct GatewayToken {
    gateway_token: String,
}

/// The bearer token that a user's controller accepts
#[utoipa::path(
    get,
    path = "/api/platform/gateway-token",
    operation_id = "getGatewayToken",
    tag = "relay",
    params(("userId" = String, Query)),
    security(("internalKey" = [])),
    responses(
        (status = OK, body = GatewayToken),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn gateway_token(
    _: Internal,
    State(platform): State<Platform>,
    About(user): About,
) -> Result<Json<GatewayToken>, ApiError> {
    let record = known(&platform, "gateway-token", &user).await?;
    let token = platform.parts().gateway_tokens.token(&record.sandbox_id);
    Ok(Json(GatewayToken {
        gateway_token: token.expose_secret().to_owned(),
    }))
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OidcEmail {
    gmail_push_oidc_email: Option<String>,
}

/// The service account that signs a user's pushes
#[utoipa::path(
    get,
    path = "/api/platform/gmail-oidc-email",
    operation_id = "getGmailOidcEmail",
    tag = "relay",
    params(("userId" = String, Query)),
    security(("internalKey" = [])),
    responses(
        (status = OK, body = OidcEmail),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn oidc_email(
    _: Internal,
    State(platform): State<Platform>,
    About(user): About,
) -> Result<Json<OidcEmail>, ApiError> {
    let record = known(&platform, "gmail-oidc-email", &user).await?;
    let account = record.google.and_then(|google| google.push_account);
    Ok(Json(OidcEmail {
        gmail_push_oidc_email: account.map(Into::into),
    }))
}

/// What is stored of a user.
pub(super) async fn known(
    platform: &Platform,
    operation: &'static str,
    user: &UserId,
) -> Result<UserRecord, ApiError> {
    let record = platform.users().instances.get(user).await;
    let record = record.map_err(|error| ApiError::of(operation, error))?;
    record.ok_or(ApiError::NoInstance)
}
