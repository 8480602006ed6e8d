//! How far a user's mail was delivered.

use axum::Json;
use axum::extract::State;
use postbell_core::HistoryId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Platform;
use super::auth::Internal;
use super::body::{Body, Named};
use super::error::{ApiError, Problem};
use super::status::known;

/// How far it was.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    #[serde(flatten)]
    named: Named,
    /// An unsigned 64-bit number, or its digits as a string; anything else changes nothing
    #[serde(default)]
    #[schema(example = "18446744073709551615")]
    history_id: Value,
}

/// It was done.
#[derive(Serialize, ToSchema)]
pub(super) struct Done {
    ok: bool,
}

impl Done {
    pub(super) const OK: Json<Self> = Json(Self { ok: true });
}

/// Notes how far a user's mail was delivered, if that is further than what is known
#[utoipa::path(
    post,
    path = "/api/platform/gmail-history-id",
    operation_id = "reportGmailHistoryId",
    tag = "relay",
    request_body = Report,
    security(("internalKey" = [])),
    responses(
        (status = OK, body = Done),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn report(
    _: Internal,
    State(platform): State<Platform>,
    Body(report): Body<Report>,
) -> Result<Json<Done>, ApiError> {
    const OPERATION: &str = "gmail-history-id";
    let user = report.named.user()?;
    known(&platform, OPERATION, &user).await?;
    if let Some(history_id) = history_id(&report.history_id) {
        let users = platform.users();
        let now = users.clock.now();
        let raised = users.instances.raise_history_id(&user, history_id, now);
        raised
            .await
            .map_err(|error| ApiError::of(OPERATION, error))?;
    }
    Ok(Done::OK)
}

/// Reads a history id as a number or as its digits. JSON's numbers are exact here up to 2^64.
fn history_id(value: &Value) -> Option<HistoryId> {
    match value {
        Value::Number(number) => number.as_u64().map(HistoryId::new),
        Value::String(digits) => digits.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_id_is_a_whole_uint64_as_a_number_or_as_digits() {
        for (json, number) in [
            ("7", Some(7)),
            ("\"7\"", Some(7)),
            ("9007199254740993", Some((1 << 53) + 1)),
            ("9223372036854775808", Some(1 << 63)),
            ("18446744073709551615", Some(u64::MAX)),
            ("\"18446744073709551615\"", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("\"18446744073709551616\"", None),
            ("-1", None),
            ("1.5", None),
            ("1e3", None),
            ("\"1e3\"", None),
            ("\"\"", None),
            ("true", None),
            ("null", None),
            ("[7]", None),
        ] {
            let value = serde_json::from_str(json).unwrap();
            assert_eq!(history_id(&value).map(HistoryId::get), number, "{json}");
        }
    }
}
