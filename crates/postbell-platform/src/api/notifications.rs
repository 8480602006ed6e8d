//! Turning notifications on and off.

use axum::Json;
use axum::extract::State;
use postbell_protocol::api::{NotificationState, UserRequest};
use postbell_protocol::routes;

use super::Platform;
use super::auth::{Internal, UserIdQuery};
use super::body::{JsonBody, required_user};
use super::error::{ApiError, UserErrors};
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
        UserErrors,
    )
)]
pub(super) async fn enable(
    Internal(by): Internal,
    State(platform): State<Platform>,
    JsonBody(request): JsonBody<UserRequest>,
) -> Result<Json<NotificationState>, ApiError> {
    let user = required_user(&request)?;
    let changed = platform
        .parts()
        .users
        .set_notifications(&user, Notifications::On, &by);
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
        UserErrors,
    )
)]
pub(super) async fn disable(
    Internal(by): Internal,
    State(platform): State<Platform>,
    UserIdQuery(user): UserIdQuery,
) -> Result<Json<NotificationState>, ApiError> {
    let changed = platform
        .parts()
        .users
        .set_notifications(&user, Notifications::Off, &by);
    answer(changed.await)
}

fn answer(
    changed: Result<Changed, crate::ChangeError>,
) -> Result<Json<NotificationState>, ApiError> {
    let changed = changed.map_err(|error| ApiError::from_change("gmail-notifications", error))?;
    Ok(Json(state(&changed)))
}
