//! What a relay says of a user's machine.

use axum::Json;
use axum::extract::State;
use postbell_core::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Platform;
use super::auth::Internal;
use super::body::{Body, Named};
use super::error::{ApiError, Problem};
use super::history::Done;

/// What a machine said when it reported in.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Running {
    #[serde(flatten)]
    named: Named,
    /// When Gmail's watch ends, in milliseconds since the epoch; left out where it is not known
    #[serde(default, deserialize_with = "Timestamp::deserialize_or_none")]
    #[schema(value_type = Option<i64>, example = 1_764_597_780_000_i64)]
    watch_expires_at: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Woken {
    /// Whether the machine is on its way up
    starting: bool,
}

/// Has a user's machine started because mail waits for it, where its owner allows that
#[utoipa::path(
    post,
    path = "/api/platform/wake",
    operation_id = "wakeMachine",
    tag = "relay",
    request_body = Named,
    security(("internalKey" = [])),
    responses(
        (status = OK, body = Woken),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn wake(
    _: Internal,
    State(platform): State<Platform>,
    Body(named): Body<Named>,
) -> Result<Json<Woken>, ApiError> {
    const OPERATION: &str = "wake";
    let user = named.user()?;
    super::status::known(&platform, OPERATION, &user).await?;
    let starting = platform.users().fleet.request_start(&user).await;
    let starting = starting.map_err(|error| ApiError::of(OPERATION, error))?;
    Ok(Json(Woken { starting }))
}

/// Notes that a user's machine has reported in at a relay
#[utoipa::path(
    post,
    path = "/api/platform/running",
    operation_id = "reportRunning",
    tag = "relay",
    request_body = Running,
    security(("internalKey" = [])),
    responses(
        (status = OK, body = Done),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn running(
    _: Internal,
    State(platform): State<Platform>,
    Body(running): Body<Running>,
) -> Result<Json<Done>, ApiError> {
    let user = running.named.user()?;
    let fleet = &platform.users().fleet;
    let noted = fleet.report_running(&user, running.watch_expires_at).await;
    let noted = noted.map_err(|error| ApiError::of("running", error))?;
    noted.ok_or(ApiError::NoInstance)?;
    Ok(Done::OK)
}
