//! What relays, machines and operators exchange with the platform.

use postbell_core::{HistoryId, InstanceStatus, MailProblem, UserId};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use url::Url;
use utoipa::ToSchema;

/// A user's record, as the API and the command line show it
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = Status)]
#[serde(rename_all = "camelCase")]
pub struct UserStatus {
    /// The user's id, or that of a further account
    #[schema(required = true)]
    pub user_id: String,
    /// The user whose further account it is: the machine is theirs. Left out for a user
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_of: Option<String>,
    /// The machine's id in its check-ins
    #[schema(required = true)]
    pub sandbox_id: String,
    /// `provisioned`, `starting`, `running`, `stopped` or `destroying`
    #[schema(value_type = String, example = "running")]
    pub status: InstanceStatus,
    /// The Fly app of the machine, if it is on Fly
    pub fly_app_name: Option<String>,
    /// The Fly id of the machine, if it is on Fly
    pub fly_machine_id: Option<String>,
    /// The machine's base URL, if it has its own. Not sent by KiloClaw
    #[schema(value_type = Option<String>)]
    pub url: Option<Url>,
    /// Whether a Google account is connected
    pub google_connected: bool,
    /// The account's address, if it is known
    pub google_account_email: Option<String>,
    /// The service account that signs the user's pushes
    pub gmail_push_oidc_email: Option<String>,
    /// When the account was connected, in milliseconds since the epoch
    pub google_connected_at: Option<i64>,
    /// Whether notifications are on
    pub gmail_notifications_enabled: bool,
    /// The last delivered history id: an unsigned 64-bit number
    #[schema(example = "18446744073709551615")]
    pub gmail_last_history_id: Option<String>,
    /// When Gmail's watch expires, in milliseconds since the epoch, if the machine has reported it
    pub watch_expires_at: Option<i64>,
    /// What keeps mail from reaching the bot, as the machine reported it: its code, and since when in
    /// milliseconds since the epoch. Not sent by KiloClaw
    #[schema(
        value_type = Option<Object>,
        example = json!({"code": "grant_revoked", "since": 1_764_597_780_000_i64})
    )]
    pub problem: Option<MailProblem>,
    /// Since when the machine does not answer, in milliseconds since the epoch, if it has a URL of its own. Not sent
    /// by KiloClaw
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreachable_since: Option<i64>,
    /// Whether the machine was never heard of: it has not checked in, fetched its configuration or answered. Not sent
    /// by KiloClaw, and left out if it was
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub never_seen: bool,
    /// Whether the machine may be started for waiting mail
    #[schema(required = true)]
    pub wake_on_mail: bool,
    /// When the user was added, in milliseconds since the epoch
    #[schema(required = true)]
    pub created_at: i64,
    /// When the record changed last, in milliseconds since the epoch
    #[schema(required = true)]
    pub updated_at: i64,
    /// The user's further Google accounts; left out if there are none
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_accounts: Vec<AccountStatus>,
}

/// A further Google account of a user
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = Account, example = json!({
    "userId": "ann.q3Jw0Xn5bTz2Lk8v", "googleAccountEmail": "team@example.com", "gmailPushOidcEmail": null,
    "googleConnectedAt": 1_764_597_780_000_i64, "gmailNotificationsEnabled": true, "gmailLastHistoryId": "4711",
    "watchExpiresAt": 1_765_202_580_000_i64, "problem": null
}))]
#[serde(rename_all = "camelCase")]
pub struct AccountStatus {
    /// The id of its record, which names it wherever a user is named
    #[schema(required = true)]
    pub user_id: String,
    /// Its address, if it is known
    pub google_account_email: Option<String>,
    /// The service account that signs its pushes
    pub gmail_push_oidc_email: Option<String>,
    /// When it was connected, in milliseconds since the epoch
    pub google_connected_at: Option<i64>,
    /// Whether notifications are on
    pub gmail_notifications_enabled: bool,
    /// The last delivered history id: an unsigned 64-bit number
    pub gmail_last_history_id: Option<String>,
    /// When Gmail's watch expires, in milliseconds since the epoch, if it is known
    pub watch_expires_at: Option<i64>,
    /// What keeps its mail from reaching the bot: the code, and since when in milliseconds since the epoch
    #[schema(value_type = Option<Object>)]
    pub problem: Option<MailProblem>,
}

/// The fields of a [`UserStatus`] that a relay reads.
///
/// The others may have another form: KiloClaw's platform sends a history id as a number.
///
/// A user without a machine has null in most fields.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryTarget {
    /// The machine's id in its check-ins.
    #[serde(default, deserialize_with = "null_as_default")]
    pub sandbox_id: String,
    /// The machine's state. One that this version does not know, as KiloClaw's `recovering`, and null
    /// are read as one that is not running.
    #[serde(deserialize_with = "known_status")]
    pub status: InstanceStatus,
    /// The Fly app of the machine, if it is on Fly.
    pub fly_app_name: Option<String>,
    /// The Fly id of the machine, if it is on Fly.
    pub fly_machine_id: Option<String>,
    /// The machine's base URL, if it has its own. Not sent by KiloClaw.
    #[serde(default)]
    pub url: Option<Url>,
    /// Whether a Google account is connected.
    #[serde(deserialize_with = "null_as_default")]
    pub google_connected: bool,
    /// The account's address, if it is known. Not sent by KiloClaw.
    #[serde(default)]
    pub google_account_email: Option<String>,
    /// Whether notifications are on.
    #[serde(deserialize_with = "null_as_default")]
    pub gmail_notifications_enabled: bool,
    /// What keeps mail from reaching the bot. Not sent by KiloClaw.
    #[serde(default, deserialize_with = "MailProblem::deserialize_or_none")]
    pub problem: Option<MailProblem>,
}

/// Everything that a relay needs of a user
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Lookup)]
pub struct LookupAnswer {
    /// The user; null if there is none
    pub user: Option<LookedUpUser>,
}

/// A user's record with the machine's token, and how long a relay may remember it
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LookedUpUser {
    /// The record
    #[serde(flatten)]
    pub status: UserStatus,
    /// The token of the machine
    #[serde(flatten)]
    pub token: GatewayTokenAnswer,
    /// How long the answer may be used without asking again, in milliseconds
    pub fresh_for_ms: u64,
}

/// What a relay reads of a [`LookupAnswer`].
#[derive(Clone, Debug, Deserialize)]
pub struct RelayLookup {
    /// The user; null if there is none.
    pub user: Option<RelayUser>,
}

/// What a relay reads of a [`LookedUpUser`].
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayUser {
    /// The machine.
    #[serde(flatten)]
    pub target: DeliveryTarget,
    /// The service account of the user's pushes.
    #[serde(flatten)]
    pub account: PushAccount,
    /// The token of the machine.
    #[serde(flatten)]
    pub token: GatewayTokenAnswer,
    /// How long the answer may be used, in milliseconds.
    pub fresh_for_ms: u64,
}

/// The gateway token of a user's machine
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = GatewayToken)]
#[serde(rename_all = "camelCase")]
pub struct GatewayTokenAnswer {
    /// The token
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String)]
    pub gateway_token: SecretString,
}

/// The service account of a user's push subscription
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = OidcEmail)]
#[serde(rename_all = "camelCase")]
pub struct PushAccount {
    /// Its address; null if none is stored
    pub gmail_push_oidc_email: Option<String>,
}

/// The users found by a mail address, or the user found by a sandbox id with the user's further accounts
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = Owners)]
#[serde(rename_all = "camelCase")]
pub struct FoundUsers {
    /// The first of them
    #[schema(value_type = String)]
    pub user_id: UserId,

    /// All of them
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub user_ids: Vec<UserId>,
}

impl FoundUsers {
    /// The answer for these users; `None` if there are none.
    #[must_use]
    pub fn new(user_ids: Vec<UserId>) -> Option<Self> {
        let user_id = user_ids.first()?.clone();
        Some(Self { user_id, user_ids })
    }

    /// All users. A platform that knows one user for an address names only that one.
    #[must_use]
    pub fn into_ids(self) -> Vec<UserId> {
        if self.user_ids.is_empty() {
            vec![self.user_id]
        } else {
            self.user_ids
        }
    }
}

/// A request about one user
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = Named)]
#[serde(rename_all = "camelCase")]
pub struct UserRequest {
    /// The user's id
    #[schema(required = true, value_type = String)]
    pub user_id: Option<String>,
}

/// A delivered history id
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = Report)]
#[serde(rename_all = "camelCase")]
pub struct HistoryIdReport {
    /// The user
    #[serde(flatten)]
    pub user: UserRequest,
    /// An unsigned 64-bit number, or its digits as a string; anything else changes nothing
    #[serde(default)]
    #[schema(example = "18446744073709551615")]
    history_id: Value,
}

/// Whether a machine is started
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = Woken)]
pub struct MachineStart {
    /// Whether the machine is starting
    pub starting: bool,
}

/// Whether a user's notifications are on
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = Switch)]
#[serde(rename_all = "camelCase")]
pub struct NotificationState {
    /// Whether notifications are on
    pub gmail_notifications_enabled: bool,
    /// The change is stored, but the machine could not be restarted with it
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub restart_failed: bool,
}

/// The operation succeeded
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = Done)]
pub struct Acknowledged {
    ok: bool,
}

/// Why a request was refused
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// The reason
    #[schema(example = "userId is required")]
    pub error: String,
}

impl Problem {
    /// The reason of a 404 for a user who does not exist, which no other 404 has.
    pub const NO_USER: &str = "No instance";
}

impl Acknowledged {
    /// The only value.
    pub const OK: Self = Self { ok: true };
}

impl UserRequest {
    /// A request about `user`.
    #[must_use]
    pub fn new(user: &UserId) -> Self {
        Self {
            user_id: Some(user.to_string()),
        }
    }
}

impl HistoryIdReport {
    /// Reports that a user's mail was delivered up to `history_id`.
    #[must_use]
    pub fn new(user: &UserId, history_id: HistoryId) -> Self {
        Self {
            user: UserRequest::new(user),
            history_id: history_id.to_string().into(),
        }
    }

    /// The history id, from a number or from its digits. JSON numbers are exact here up to 2^64.
    #[must_use]
    pub fn history_id(&self) -> Option<HistoryId> {
        match &self.history_id {
            Value::Number(number) => number.as_u64().map(HistoryId::new),
            Value::String(digits) => digits.parse().ok(),
            _ => None,
        }
    }
}

fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    value: D,
) -> Result<T, D::Error> {
    Option::deserialize(value).map(Option::unwrap_or_default)
}

/// Reads a status, or one that is not running from any other text and from null.
fn known_status<'de, D: Deserializer<'de>>(value: D) -> Result<InstanceStatus, D::Error> {
    let text: Option<String> = Option::deserialize(value)?;
    let text = text.as_deref().unwrap_or_default();
    Ok(text.parse().unwrap_or(match text {
        "restarting" | "recovering" | "restoring" => InstanceStatus::Starting,
        _ => InstanceStatus::Stopped,
    }))
}

pub(super) fn expose<S: Serializer>(
    secret: &SecretString,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

#[cfg(test)]
mod tests {
    use postbell_core::{ProblemCode, Timestamp};
    use serde_json::json;

    use super::*;

    const PROBLEM: MailProblem = MailProblem {
        code: ProblemCode::GrantRevoked,
        since: Timestamp::from_millis(7),
    };

    #[test]
    fn a_relay_reads_the_status_of_our_platform() {
        let status = UserStatus {
            user_id: "ann".to_owned(),
            account_of: None,
            sandbox_id: "sandbox".to_owned(),
            status: InstanceStatus::Running,
            fly_app_name: Some("bot".to_owned()),
            fly_machine_id: Some("d8910".to_owned()),
            url: None,
            google_connected: true,
            google_account_email: Some("ann@example.com".to_owned()),
            gmail_push_oidc_email: None,
            google_connected_at: Some(1),
            gmail_notifications_enabled: true,
            gmail_last_history_id: Some("7".to_owned()),
            watch_expires_at: None,
            problem: Some(PROBLEM),
            unreachable_since: None,
            never_seen: false,
            wake_on_mail: false,
            created_at: 1,
            updated_at: 2,
            further_accounts: Vec::new(),
        };
        let target: DeliveryTarget =
            serde_json::from_value(serde_json::to_value(&status).unwrap()).unwrap();
        assert_eq!(target.sandbox_id, status.sandbox_id);
        assert_eq!(target.status, status.status);
        assert_eq!(target.fly_app_name, status.fly_app_name);
        assert_eq!(target.fly_machine_id, status.fly_machine_id);
        assert!(target.google_connected && target.gmail_notifications_enabled);
        assert_eq!(target.google_account_email, status.google_account_email);
        assert_eq!(target.problem, status.problem);
    }

    #[test]
    fn a_relay_ignores_the_form_of_fields_that_it_does_not_read() {
        let status = json!({
            "userId": "ann", "status": "running", "flyAppName": null, "flyMachineId": null,
            "googleConnected": true, "gmailNotificationsEnabled": true,
            "gmailLastHistoryId": 7, "createdAt": "2026-03-01T00:00:00Z", "wakeOnMail": null,
        });
        let target: DeliveryTarget = serde_json::from_value(status).unwrap();
        assert_eq!((target.sandbox_id.as_str(), target.url), ("", None));
    }

    #[test]
    fn a_status_that_is_unknown_or_null_is_not_running() {
        for (status, read) in [
            (json!("running"), InstanceStatus::Running),
            (json!("destroying"), InstanceStatus::Destroying),
            (json!("restarting"), InstanceStatus::Starting),
            (json!("recovering"), InstanceStatus::Starting),
            (json!("restoring"), InstanceStatus::Starting),
            (json!("hibernating"), InstanceStatus::Stopped),
            (json!("Running"), InstanceStatus::Stopped),
            (json!(""), InstanceStatus::Stopped),
            (json!(null), InstanceStatus::Stopped),
        ] {
            let answer = json!({
                "userId": "ann", "sandboxId": null, "status": status, "flyAppName": null,
                "flyMachineId": null, "googleConnected": true, "gmailNotificationsEnabled": null,
            });
            let target: DeliveryTarget = serde_json::from_value(answer).unwrap();
            assert_eq!(target.status, read, "{status}");
            assert_eq!(target.sandbox_id, "");
            assert!(target.google_connected && !target.gmail_notifications_enabled);
        }
        let missing = json!({"status": "running", "flyAppName": null, "flyMachineId": null});
        assert!(serde_json::from_value::<DeliveryTarget>(missing).is_err());
    }

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
            let report = format!(r#"{{"userId":"ann","historyId":{json}}}"#);
            let report: HistoryIdReport = serde_json::from_str(&report).unwrap();
            assert_eq!(report.history_id().map(HistoryId::get), number, "{json}");
        }
    }
}
