//! The delivered history id of a user.

use axum::Json;
use axum::extract::State;
use postbell_protocol::api::{Acknowledged, HistoryIdReport};
use postbell_protocol::routes;

use super::Platform;
use super::auth::Internal;
use super::body::{JsonBody, required_user};
use super::error::{ApiError, UserErrors};
use super::status::stored_record;

/// Raises the delivered history id of a user
#[utoipa::path(
    post,
    path = routes::HISTORY_ID,
    operation_id = "reportGmailHistoryId",
    tag = "relay",
    request_body = HistoryIdReport,
    security(("internalKey" = [])),
    responses(
        (status = OK, body = Acknowledged),
        UserErrors,
    )
)]
pub(super) async fn report(
    _: Internal,
    State(platform): State<Platform>,
    JsonBody(report): JsonBody<HistoryIdReport>,
) -> Result<Json<Acknowledged>, ApiError> {
    const OPERATION: &str = "gmail-history-id";
    let user = required_user(&report.user)?;
    stored_record(&platform, OPERATION, &user).await?;
    if let Some(history_id) = report.history_id() {
        let users = platform.users();
        let raised = users.store.raise_history_id(&user, history_id);
        raised
            .await
            .map_err(|error| ApiError::from_change(OPERATION, error))?;
    }
    Ok(Json(Acknowledged::OK))
}
