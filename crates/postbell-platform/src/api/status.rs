//! The status of a user.

use axum::Json;
use axum::extract::State;
use postbell_core::{HistoryId, MachineLocation, ManagedMachine, Timestamp, UserId, UserRecord};
use postbell_protocol::api::{AccountStatus, GatewayTokenAnswer, PushAccount, UserStatus};
use postbell_protocol::routes;

use super::Platform;
use super::auth::{Internal, UserIdQuery};
use super::error::{ApiError, UserErrors};
use crate::directory::delivery_token;

/// Formats a user's record, and those of the user's further accounts, as the API and the command line show them.
#[must_use]
pub fn user_status(record: &UserRecord, accounts: &[UserRecord]) -> UserStatus {
    let (app, machine, url) = match record.location.clone() {
        MachineLocation::Unknown => (None, None, None),
        MachineLocation::Managed(ManagedMachine { app, machine }) => {
            (Some(app), Some(machine), None)
        }
        MachineLocation::Url(url) => (None, None, Some(url)),
    };
    let google = record.google.as_ref();
    let email = google.and_then(|google| google.email.clone());
    let push_account = google.and_then(|google| google.push_account.clone());
    UserStatus {
        user_id: record.user.to_string(),
        account_of: record.owner.as_ref().map(UserId::to_string),
        sandbox_id: record.sandbox_id.to_string(),
        // Of a further account that the machine does not watch, a relay must not deliver.
        status: record.as_instance().status,
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
        problem: record.problem,
        unreachable_since: record.unreachable_since.map(Timestamp::as_millis),
        never_seen: record.never_seen,
        wake_on_mail: record.wake_on_mail,
        created_at: record.created_at.as_millis(),
        updated_at: record.updated_at.as_millis(),
        further_accounts: accounts.iter().map(account_status).collect(),
    }
}

pub(super) fn account_status(record: &UserRecord) -> AccountStatus {
    let google = record.google.as_ref();
    let email = google.and_then(|google| google.email.clone());
    let push_account = google.and_then(|google| google.push_account.clone());
    AccountStatus {
        user_id: record.user.to_string(),
        google_account_email: email.map(Into::into),
        gmail_push_oidc_email: push_account.map(Into::into),
        google_connected_at: google.map(|google| google.connected_at.as_millis()),
        gmail_notifications_enabled: record.notifications_enabled,
        gmail_last_history_id: record.last_history_id.as_ref().map(HistoryId::to_string),
        watch_expires_at: record.watch_expires_at.map(Timestamp::as_millis),
        problem: record.problem,
    }
}

/// The status of a user and their machine
#[utoipa::path(
    get,
    path = routes::STATUS,
    operation_id = "getStatus",
    tag = "relay",
    params(("userId" = String, Query)),
    security(("internalKey" = [])),
    responses(
        (status = OK, body = UserStatus),
        UserErrors,
    )
)]
pub(super) async fn status(
    _: Internal,
    State(platform): State<Platform>,
    UserIdQuery(user): UserIdQuery,
) -> Result<Json<UserStatus>, ApiError> {
    let record = platform.users().fleet.get(&user).await;
    let record = record.map_err(|error| ApiError::from_change("status", error))?;
    let record = record.ok_or(ApiError::UnknownUser)?;
    let accounts = platform.users().fleet.accounts_of(&record).await;
    let accounts = accounts.map_err(|error| ApiError::from_change("status", error))?;
    Ok(Json(user_status(&record, &accounts)))
}

/// The bearer token that a user's controller accepts
#[utoipa::path(
    get,
    path = routes::GATEWAY_TOKEN,
    operation_id = "getGatewayToken",
    tag = "relay",
    params(("userId" = String, Query)),
    security(("internalKey" = [])),
    responses(
        (status = OK, body = GatewayTokenAnswer),
        UserErrors,
    )
)]
pub(super) async fn gateway_token(
    _: Internal,
    State(platform): State<Platform>,
    UserIdQuery(user): UserIdQuery,
) -> Result<Json<GatewayTokenAnswer>, ApiError> {
    let record = stored_record(&platform, "gateway-token", &user).await?;
    let token = delivery_token(&platform.parts().gateway_tokens, &record);
    Ok(Json(GatewayTokenAnswer {
        gateway_token: token,
    }))
}

/// The service account that signs a user's pushes
#[utoipa::path(
    get,
    path = routes::OIDC_EMAIL,
    operation_id = "getGmailOidcEmail",
    tag = "relay",
    params(("userId" = String, Query)),
    security(("internalKey" = [])),
    responses(
        (status = OK, body = PushAccount),
        UserErrors,
    )
)]
pub(super) async fn oidc_email(
    _: Internal,
    State(platform): State<Platform>,
    UserIdQuery(user): UserIdQuery,
) -> Result<Json<PushAccount>, ApiError> {
    let record = stored_record(&platform, "gmail-oidc-email", &user).await?;
    let account = record.google.and_then(|google| google.push_account);
    Ok(Json(PushAccount {
        gmail_push_oidc_email: account.map(Into::into),
    }))
}

/// Returns a user's record without refreshing the machine's status.
pub(super) async fn stored_record(
    platform: &Platform,
    operation: &'static str,
    user: &UserId,
) -> Result<UserRecord, ApiError> {
    let record = platform.users().fleet.stored(user).await;
    let record = record.map_err(|error| ApiError::from_change(operation, error))?;
    record.ok_or(ApiError::UnknownUser)
}
