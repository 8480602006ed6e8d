//! Users: list, show, add, change, remove, import.

use std::fmt;
use std::str::FromStr;

use postbell_core::{InstanceStatus, InvalidId, ProblemCode, SandboxId, UserId};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::operation;
use crate::api::UserStatus;
use crate::api::platform::expose;
use crate::routes;

/// Which users to list, and where the page begins
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(example = json!({"search": "ann", "by": "user", "limit": 100}))]
pub struct ListUsers {
    /// Only users whose id, or address, begins with this text
    pub search: String,
    /// What to search and sort by: `user` or `email`
    #[schema(value_type = String, example = "user")]
    pub by: SearchField,
    /// Only users with this state, whatever `search` says: `problem`, `without_mail`, `watch_ends`,
    /// `unreachable`, `not_connected`, or the code of a problem
    #[schema(value_type = Option<String>, example = "grant_revoked")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<UserFilter>,
    /// The cursor `next` of the page before
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The greatest number of users, at most 1000; 100 if it is missing
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// What users are searched and sorted by.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchField {
    /// The user id.
    #[default]
    User,
    /// The address of the connected account.
    Email,
}

/// A state that an operator looks for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum UserFilter {
    /// The machine has reported a problem: this one, or any.
    Problem(Option<ProblemCode>),
    /// The user wants notifications and gets none now.
    WithoutMail,
    /// Gmail's watch ends within a day, or has ended.
    WatchEnds,
    /// The machine does not answer.
    Unreachable,
    /// No Google account is connected.
    NotConnected,
}

/// A page of users
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct UserList {
    /// The users, in order
    pub users: Vec<UserStatus>,
    /// The cursor of the next page, if there are more users
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The user to show
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"userId": "ann"}))]
pub struct ShowUser {
    /// The user's id
    #[schema(value_type = String)]
    pub user_id: UserId,
}

/// The user whose machine is to be joined
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"userId": "ann"}))]
pub struct ShowMachine {
    /// The user's id
    #[schema(value_type = String)]
    pub user_id: UserId,
}

/// What a controller needs to fetch its configuration
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineAccess {
    /// The platform's base URL: `POSTBELL_CONTROLLER__PLATFORM_URL`
    #[schema(value_type = String, example = "https://bell.example.com")]
    pub platform_url: Url,
    /// The machine's id: `KILOCLAW_SANDBOX_ID`
    #[schema(example = "ann")]
    pub sandbox_id: String,
    /// The machine's token, a secret: `OPENCLAW_GATEWAY_TOKEN`
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String)]
    pub gateway_token: SecretString,
}

/// A user to add. The Google account is connected later
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"userId": "ann", "url": "https://ann.example.com", "wakeOnMail": false}))]
pub struct AddUser {
    /// The user's id: 1 to 128 characters of `A-Z a-z 0-9 . _ : @ + - /`
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// The machine's id in its check-ins. If it is missing, the user id, or one with a random end if a user with this id was
    /// removed before
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<SandboxId>,
    /// Where the machine is
    #[serde(flatten)]
    pub machine: MachineFields,
    /// Whether the machine may be started for waiting mail
    #[serde(default)]
    pub wake_on_mail: bool,
}

/// What to change of a user; what is missing stays
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"userId": "ann", "url": "https://ann.example.com", "notifications": true}))]
pub struct ChangeUser {
    /// The user's id
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// Where the machine is
    #[serde(flatten)]
    pub machine: MachineFields,
    /// Another id for the machine's check-ins. It ends the machine's token, which is derived from the id
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<SandboxId>,
    /// Whether the machine gets such an id with a random end
    #[serde(default)]
    pub new_sandbox_id: bool,
    /// Whether the machine may be started for waiting mail
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_on_mail: Option<bool>,
    /// Whether mail is delivered; turning it on needs a connected account
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifications: Option<bool>,
}

/// Location and status of a machine
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineFields {
    /// The Fly app of the machine, with `flyMachineId`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fly_app_name: Option<String>,
    /// The Fly id of the machine, with `flyAppName`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fly_machine_id: Option<String>,
    /// The base URL of a machine that is not on Fly
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// `provisioned`, `starting`, `running`, `stopped` or `destroying`
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<InstanceStatus>,
}

/// The user to remove, with all their data
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"userId": "ann"}))]
pub struct RemoveUser {
    /// The user's id
    #[schema(value_type = String)]
    pub user_id: UserId,
}

/// Whether a user was removed, and what became of the permission at Google
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"removed": true, "googlePermission": "revoked"}))]
pub struct RemovedUser {
    /// Whether the user existed
    pub removed: bool,
    /// What became of the permission at Google, if an account was connected: `revoked`, `shared` (it stays, because
    /// another user has the mailbox), `not_revoked` (Google could not take it back now), or `own_project` (it was
    /// given to a project of the user's own)
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub google_permission: Option<GooglePermission>,
}

/// What became of the permission of an account that was disconnected.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GooglePermission {
    /// It was not given to the operator's client.
    OwnProject,
    /// Google has taken it back.
    Revoked,
    /// It stays, because another user has connected the same mailbox.
    Shared,
    /// Google could not take it back now. The platform tries again.
    NotRevoked,
}

/// Users to add, as CSV
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"csv": "user,url\nann,https://ann.example.com\n", "dryRun": true}))]
pub struct ImportUsers {
    /// A header, which has `user` and may have `sandbox_id`, `app`, `machine`, `url`, `status` and
    /// `wake_on_mail`, and a line per user; at most 2 MiB
    pub csv: String,
    /// Only report what would be done
    #[serde(default)]
    pub dry_run: bool,
}

/// What was done with each line
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportReport {
    /// How many users were added, or would be
    pub added: usize,
    /// How many exist already, and were not changed
    pub existing: usize,
    /// How many lines were refused
    pub refused: usize,
    /// Each line, in order
    pub lines: Vec<ImportedLine>,
}

/// What was done with a line
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"line": 2, "userId": "ann", "outcome": "added"}))]
pub struct ImportedLine {
    /// Its number in the file; the header is line 1
    pub line: u64,
    /// The user's id, as it stands there
    pub user_id: String,
    /// `added`, `existing` or `refused`
    #[schema(value_type = String)]
    pub outcome: ImportOutcome,
    /// Why it was refused
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What was done with a line of an import.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportOutcome {
    /// The user was added, or would be.
    Added,
    /// The user exists and was not changed.
    Existing,
    /// Nothing was added.
    Refused,
}

operation!(ListUsers, routes::OPERATOR_USERS_LIST, false, UserList);
operation!(ShowUser, routes::OPERATOR_USERS_SHOW, false, UserStatus);
operation!(
    ShowMachine,
    routes::OPERATOR_USERS_MACHINE,
    true,
    MachineAccess
);
operation!(AddUser, routes::OPERATOR_USERS_ADD, true, UserStatus);
operation!(ChangeUser, routes::OPERATOR_USERS_CHANGE, true, UserStatus);
operation!(RemoveUser, routes::OPERATOR_USERS_REMOVE, true, RemovedUser);
operation!(
    ImportUsers,
    routes::OPERATOR_USERS_IMPORT,
    true,
    ImportReport
);

impl ImportOutcome {
    /// The word that is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Existing => "existing",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for UserFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Problem(None) => "problem",
            Self::Problem(Some(code)) => code.as_str(),
            Self::WithoutMail => "without_mail",
            Self::WatchEnds => "watch_ends",
            Self::Unreachable => "unreachable",
            Self::NotConnected => "not_connected",
        })
    }
}

impl FromStr for UserFilter {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let code = || {
            ProblemCode::ALL
                .into_iter()
                .find(|code| code.as_str() == text)
        };
        match text {
            "problem" => Ok(Self::Problem(None)),
            "without_mail" => Ok(Self::WithoutMail),
            "watch_ends" => Ok(Self::WatchEnds),
            "unreachable" => Ok(Self::Unreachable),
            "not_connected" => Ok(Self::NotConnected),
            _ => code()
                .map(|code| Self::Problem(Some(code)))
                .ok_or(InvalidId {
                    expected: "problem, without_mail, watch_ends, unreachable, not_connected, or the code of a problem",
                }),
        }
    }
}

impl TryFrom<String> for UserFilter {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<UserFilter> for String {
    fn from(filter: UserFilter) -> Self {
        filter.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_back_from_its_word() {
        let codes = ProblemCode::ALL.map(|code| UserFilter::Problem(Some(code)));
        let others = [
            UserFilter::Problem(None),
            UserFilter::WithoutMail,
            UserFilter::WatchEnds,
            UserFilter::Unreachable,
            UserFilter::NotConnected,
        ];
        for filter in codes.into_iter().chain(others) {
            assert_eq!(filter.to_string().parse(), Ok(filter));
        }
        assert!("problems".parse::<UserFilter>().is_err());
    }

    #[test]
    fn an_unknown_field_of_a_request_is_refused() {
        for (text, good) in [
            (
                r#"{"userId": "ann", "url": "https://ann.example.com"}"#,
                true,
            ),
            (
                r#"{"userId": "ann", "flyAppName": "a", "flyMachineId": "m"}"#,
                true,
            ),
            (
                r#"{"userId": "ann", "URL": "https://ann.example.com"}"#,
                false,
            ),
            (r#"{"userId": "ann b"}"#, false),
        ] {
            let parsed = serde_json::from_str::<AddUser>(text);
            assert_eq!(parsed.is_ok(), good, "{text}: {parsed:?}");
        }
    }
}
