//! Deliveries, dead letters and the audit log.

use postbell_core::{DeadLetter, DeliveryRecord, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::operation;
use crate::routes;

/// Whose latest deliveries to list
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"userId": "ann"}))]
pub struct ListDeliveries {
    /// The user's id
    #[schema(value_type = String)]
    pub user_id: UserId,
}

/// The latest deliveries of a user, the latest first
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct DeliveryList {
    /// At most 20
    #[schema(
        value_type = Vec<Object>,
        example = json!([{"messageId": "m1", "historyId": "7", "outcome": "delivered", "cause": null,
            "failures": 0, "acceptedAt": 1_764_597_780_000_i64, "claimedAt": 1_764_597_780_002_i64,
            "settledAt": 1_764_597_780_040_i64}])
    )]
    pub deliveries: Vec<DeliveryRecord>,
}

/// Which dead letters to list, and where the page begins
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(example = json!({"userId": "ann", "limit": 100}))]
pub struct ListDeadLetters {
    /// Only those of this user
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Only those with a smaller number: the last one of the page before
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
    /// The greatest number of dead letters, at most 1000; 100 if it is missing
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Dead letters, the latest first
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterList {
    /// The dead letters
    #[schema(
        value_type = Vec<Object>,
        example = json!([{"id": 12, "user": "ann", "messageId": "m1", "historyId": "7",
            "reason": "exhausted", "cause": "the controller cannot be reached",
            "failureKind": "unreachable", "buriedAt": 1_764_597_780_000_i64}])
    )]
    pub dead_letters: Vec<DeadLetter>,
}

/// Dead letters: by number, of a user, or all
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeadLetterSelection {
    /// Their numbers
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<i64>,
    /// All of this user
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// All
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// The dead letters to deliver again
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"numbers": [12, 13]}))]
pub struct ReplayDeadLetters {
    /// Which ones
    #[serde(flatten)]
    pub which: DeadLetterSelection,
}

/// The dead letters to delete
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"userId": "ann"}))]
pub struct DropDeadLetters {
    /// Which ones
    #[serde(flatten)]
    pub which: DeadLetterSelection,
}

/// What was done with each selected dead letter
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"done": [12], "malformed": [13], "missing": []}))]
pub struct DeadLetterOutcome {
    /// Queued for delivery, or deleted
    pub done: Vec<i64>,
    /// Not queued, because the message cannot be parsed
    pub malformed: Vec<i64>,
    /// Not found
    pub missing: Vec<i64>,
}

/// Which entries of the audit log to list, and where the page begins
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(example = json!({"userId": "ann", "limit": 100}))]
pub struct ListAudit {
    /// Only those about this user
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Only those with a smaller number: the last one of the page before
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
    /// The greatest number of entries, at most 1000; 100 if it is missing
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Whether to list the log of the relay's store, which has the entries about dead letters. If relay and platform
    /// share a store, they share the log
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub relay: bool,
}

/// Entries of the audit log, the latest first
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct AuditList {
    /// The entries
    pub entries: Vec<AuditRecord>,
}

/// Who has done what, to whom, when and from where
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"number": 7, "at": 1_764_597_780_000_i64, "actor": "key ci (0123456789abcdef)",
    "origin": "203.0.113.7", "action": "user.add", "userId": "ann", "detail": ""}))]
pub struct AuditRecord {
    /// Rises by one with each entry
    pub number: i64,
    /// When, in milliseconds since the epoch
    pub at: i64,
    /// Who
    pub actor: String,
    /// From where
    pub origin: String,
    /// What
    pub action: String,
    /// Whom it concerns, if it is a user
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// What exactly
    pub detail: String,
}

operation!(
    ListDeliveries,
    routes::OPERATOR_DELIVERIES_LIST,
    false,
    DeliveryList
);
operation!(
    ListDeadLetters,
    routes::OPERATOR_DEAD_LETTERS_LIST,
    false,
    DeadLetterList
);
operation!(
    ReplayDeadLetters,
    routes::OPERATOR_DEAD_LETTERS_REPLAY,
    true,
    DeadLetterOutcome
);
operation!(
    DropDeadLetters,
    routes::OPERATOR_DEAD_LETTERS_DROP,
    true,
    DeadLetterOutcome
);
operation!(ListAudit, routes::OPERATOR_AUDIT_LIST, false, AuditList);
