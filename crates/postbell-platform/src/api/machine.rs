//! What a relay says of a user's machine.

use axum::Json;
use axum::extract::State;
use postbell_protocol::api::{Acknowledged, MachineStart, Problem, RunningReport, UserRequest};
use postbell_protocol::routes;

use super::Platform;
use super::auth::Internal;
use super::body::{Body, required_user};
use super::error::ApiError;

/// Has a user's machine started because mail waits for it, where its owner allows that
#[utoipa::path(
    post,
    path = routes::WAKE,
    operation_id = "wakeMachine",
    tag = "relay",
    request_body = UserRequest,
    security(("internalKey" = [])),
    responses(
        (status = OK, body = MachineStart),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn wake(
    _: Internal,
    State(platform): State<Platform>,
    Body(request): Body<UserRequest>,
) -> Result<Json<MachineStart>, ApiError> {
    const OPERATION: &str = "wake";
    let user = required_user(&request)?;
    super::status::known(&platform, OPERATION, &user).await?;
    let starting = platform.users().fleet.request_start(&user).await;
    let starting = starting.map_err(|error| ApiError::of(OPERATION, error))?;
    Ok(Json(MachineStart { starting }))
}

/// Notes that a user's machine has reported in at a relay
#[utoipa::path(
    post,
    path = routes::RUNNING,
    operation_id = "reportRunning",
    tag = "relay",
    request_body = RunningReport,
    security(("internalKey" = [])),
    responses(
        (status = OK, body = Acknowledged),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn running(
    _: Internal,
    State(platform): State<Platform>,
    Body(running): Body<RunningReport>,
) -> Result<Json<Acknowledged>, ApiError> {
    let user = required_user(&running.user)?;
    let fleet = &platform.users().fleet;
    let noted = fleet.report_running(&user, running.watch_expires_at).await;
    let noted = noted.map_err(|error| ApiError::of("running", error))?;
    noted.ok_or(ApiError::NoInstance)?;
    Ok(Json(Acknowledged::OK))
}
