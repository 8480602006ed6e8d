//! Reports of relays about a user's machine.

use axum::Json;
use axum::extract::State;
use postbell_protocol::api::{Acknowledged, MachineStart, RunningReport, UserRequest};
use postbell_protocol::routes;

use super::Platform;
use super::auth::Internal;
use super::body::{JsonBody, required_user};
use super::error::{ApiError, UserErrors};

/// Starts a user's machine for mail, if its owner allows it
#[utoipa::path(
    post,
    path = routes::WAKE,
    operation_id = "wakeMachine",
    tag = "relay",
    request_body = UserRequest,
    security(("internalKey" = [])),
    responses(
        (status = OK, body = MachineStart),
        UserErrors,
    )
)]
pub(super) async fn wake(
    _: Internal,
    State(platform): State<Platform>,
    JsonBody(request): JsonBody<UserRequest>,
) -> Result<Json<MachineStart>, ApiError> {
    const OPERATION: &str = "wake";
    let user = required_user(&request)?;
    super::status::stored_record(&platform, OPERATION, &user).await?;
    let starting = platform.users().fleet.request_start(&user).await;
    let starting = starting.map_err(|error| ApiError::from_change(OPERATION, error))?;
    Ok(Json(MachineStart { starting }))
}

/// Records that a user's machine has checked in at a relay
#[utoipa::path(
    post,
    path = routes::RUNNING,
    operation_id = "reportRunning",
    tag = "relay",
    request_body = RunningReport,
    security(("internalKey" = [])),
    responses(
        (status = OK, body = Acknowledged),
        UserErrors,
    )
)]
pub(super) async fn running(
    _: Internal,
    State(platform): State<Platform>,
    JsonBody(running): JsonBody<RunningReport>,
) -> Result<Json<Acknowledged>, ApiError> {
    let user = required_user(&running.user)?;
    let fleet = &platform.users().fleet;
    let accounts = running.accounts;
    let accounts = accounts.map(|them| them.into_iter().map(Into::into).collect::<Vec<_>>());
    let updated = fleet.report_running(&user, running.mailbox.into(), accounts.as_deref());
    let updated = updated.await;
    let updated = updated.map_err(|error| ApiError::from_change("running", error))?;
    if updated.is_empty() {
        return Err(ApiError::UnknownUser);
    }
    if accounts.is_none() {
        // Other relays may have an answer by which they deliver to a machine that watched several accounts before.
        for account in updated.iter().filter(|record| record.owner.is_some()) {
            platform.users().relays.user_changed(&account.user).await;
        }
    }
    Ok(Json(Acknowledged::OK))
}
