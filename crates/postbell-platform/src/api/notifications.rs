//! The switch.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Platform;
use super::auth::{About, Internal};
use super::body::{Body, Named};
use super::error::{ApiError, Problem};
use crate::{Changed, Notifications, SyncOutcome};

/// How the switch stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Switch {
    gmail_notifications_enabled: bool,
    /// It is stored, but the machine could not be restarted with it
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    restart_failed: bool,
}

impl From<Changed> for Switch {
    fn from(changed: Changed) -> Self {
        Self {
            gmail_notifications_enabled: changed.record.notifications_enabled,
            restart_failed: changed.machine == SyncOutcome::Failed,
        }
    }
}

/// Turns a user's notifications on
#[utoipa::path(
    post,
    path = "/api/platform/gmail-notifications",
    operation_id = "enableGmailNotifications",
    tag = "settings",
    request_body = Named,
    security(("internalKey" = [])),
    responses(
        (status = OK, body = Switch),
        (status = BAD_REQUEST, body = Problem, description = "No userId, or no Google account"),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn enable(
    _: Internal,
    State(platform): State<Platform>,
    Body(named): Body<Named>,
) -> Result<Json<Switch>, ApiError> {
    let user = named.user()?;
    let changed = platform
        .parts()
        .users
        .set_notifications(&user, Notifications::On);
    answer(changed.await)
}

/// Turns a user's notifications off
#[utoipa::path(
    delete,
    path = "/api/platform/gmail-notifications",
    operation_id = "disableGmailNotifications",
    tag = "settings",
    params(("userId" = String, Query)),
    security(("internalKey" = [])),
    responses(
        (status = OK, body = Switch),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn disable(
    _: Internal,
    State(platform): State<Platform>,
    About(user): About,
) -> Result<Json<Switch>, ApiError> {
    let changed = platform
        .parts()
        .users
        .set_notifications(&user, Notifications::Off);
    answer(changed.await)
}

fn answer(changed: Result<Changed, crate::ChangeError>) -> Result<Json<Switch>, ApiError> {
    let changed = changed.map_err(|error| ApiError::of("gmail-notifications", error))?;
    Ok(Json(changed.into()))
}
