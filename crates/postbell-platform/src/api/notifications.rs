//! The switch.

use axum::Json;
use axum::extract::State;
use postbell_protocol::api::{NotificationState, Problem, UserRequest};
use postbell_protocol::routes;

use super::Platform;
use super::auth::{About, Internal};
use super::body::{Body, required_user};
use super::error::ApiError;
use crate::{Changed, Notifications, SyncOutcome};

fn state(changed: &Changed) -> NotificationState {
    NotificationState {
        gmail_notifications_enabled: changed.record.notifications_enabled,
        restart_failed: changed.machine == SyncOutcome::Failed,
    }
}

/// Turns a user's notifications on
#[utoipa::path(
    post,
    path = routes::NOTIFICATIONS,
    operation_id = "enableGmailNotifications",
    tag = "settings",
    request_body = UserRequest,
    security(("internalKey" = [])),
    responses(
        (status = OK, body = NotificationState),
        (status = BAD_REQUEST, body = Problem, description = "No userId, or no Google account"),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn enable(
    _: Internal,
    State(platform): State<Platform>,
    Body(request): Body<UserRequest>,
) -> Result<Json<NotificationState>, ApiError> {
    let user = required_user(&request)?;
    let changed = platform
        .parts()
        .users
        .set_notifications(&user, Notifications::On);
    answer(changed.await)
}

/// Turns a user's notifications off
#[utoipa::path(
    delete,
    path = routes::NOTIFICATIONS,
    operation_id = "disableGmailNotifications",
    tag = "settings",
    params(("userId" = String, Query)),
    security(("internalKey" = [])),
    responses(
        (status = OK, body = NotificationState),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn disable(
    _: Internal,
    State(platform): State<Platform>,
    About(user): About,
) -> Result<Json<NotificationState>, ApiError> {
    let changed = platform
        .parts()
        .users
        .set_notifications(&user, Notifications::Off);
    answer(changed.await)
}

fn answer(
    changed: Result<Changed, crate::ChangeError>,
) -> Result<Json<NotificationState>, ApiError> {
    let changed = changed.map_err(|error| ApiError::of("gmail-notifications", error))?;
    Ok(Json(state(&changed)))
}
