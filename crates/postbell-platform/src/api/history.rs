//! How far a user's mail was delivered.

use axum::Json;
use axum::extract::State;
use postbell_protocol::api::{Acknowledged, HistoryIdReport, Problem};
use postbell_protocol::routes;

use super::Platform;
use super::auth::Internal;
use super::body::{Body, required_user};
use super::error::ApiError;
use super::status::known;

/// Notes how far a user's mail was delivered, if that is further than what is known
#[utoipa::path(
    post,
    path = routes::HISTORY_ID,
    operation_id = "reportGmailHistoryId",
    tag = "relay",
    request_body = HistoryIdReport,
    security(("internalKey" = [])),
    responses(
        (status = OK, body = Acknowledged),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn report(
    _: Internal,
    State(platform): State<Platform>,
    Body(report): Body<HistoryIdReport>,
) -> Result<Json<Acknowledged>, ApiError> {
    const OPERATION: &str = "gmail-history-id";
    let user = required_user(&report.user)?;
    known(&platform, OPERATION, &user).await?;
    if let Some(history_id) = report.history_id() {
        let users = platform.users();
        let now = users.clock.now();
        let raised = users.instances.raise_history_id(&user, history_id, now);
        raised
            .await
            .map_err(|error| ApiError::of(OPERATION, error))?;
    }
    Ok(Json(Acknowledged::OK))
}
