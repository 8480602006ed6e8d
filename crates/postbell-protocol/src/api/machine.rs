//! The check-in of a machine, and its report to the platform by a relay.

use postbell_core::{
    AccountReport, EmailAddress, MAX_ACCOUNTS_OF_USER, MachineReport, MailProblem, Timestamp,
    UserId,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::UserRequest;

/// A machine is running
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = Running)]
pub struct RunningReport {
    /// The user
    #[serde(flatten)]
    pub user: UserRequest,
    /// The mailbox of the first account
    #[serde(flatten)]
    pub mailbox: MailboxReport,
    /// The mailboxes of the user's further accounts; left out by a machine that does not watch several accounts. Not sent by
    /// KiloClaw
    #[serde(
        default,
        deserialize_with = "readable",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Vec<FurtherMailboxReport>, required = false)]
    pub accounts: Option<Vec<FurtherMailboxReport>>,
}

/// A machine's check-in
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = Machine)]
#[serde(rename_all = "camelCase")]
pub struct CheckInRequest {
    /// The machine's id
    #[schema(required = true, value_type = String)]
    pub sandbox_id: Option<String>,
    /// The mailbox of the first account
    #[serde(flatten)]
    pub mailbox: MailboxReport,
    /// The mailboxes of the user's further accounts; left out by a machine that does not watch several accounts. Not sent by
    /// KiloClaw
    #[serde(
        default,
        deserialize_with = "readable",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Vec<FurtherMailboxReport>, required = false)]
    pub accounts: Option<Vec<FurtherMailboxReport>>,
}

/// What a machine says of the mailbox of a further account
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = FurtherMailbox)]
pub struct FurtherMailboxReport {
    /// The account's address
    #[schema(value_type = String, example = "team@example.com")]
    pub email: EmailAddress,
    /// Its mailbox
    #[serde(flatten)]
    pub mailbox: MailboxReport,
}

/// What a machine says of a mailbox
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = Mailbox)]
#[serde(rename_all = "camelCase")]
pub struct MailboxReport {
    /// When Gmail's watch expires, in milliseconds since the epoch; left out if it is not known
    #[serde(
        default,
        deserialize_with = "Timestamp::deserialize_or_none",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<i64>, example = 1_764_597_780_000_i64)]
    pub watch_expires_at: Option<Timestamp>,
    /// What keeps mail from reaching the bot: its code, and since when in milliseconds since the
    /// epoch; left out if nothing does. Not sent by KiloClaw
    #[serde(
        default,
        deserialize_with = "MailProblem::deserialize_or_none",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(
        value_type = Option<Object>,
        example = json!({"code": "grant_revoked", "since": 1_764_597_780_000_i64})
    )]
    pub problem: Option<MailProblem>,
    /// How many mails the watcher has set aside; left out if none. Not sent by KiloClaw
    #[serde(
        default,
        deserialize_with = "count_or_zero",
        skip_serializing_if = "is_zero"
    )]
    #[schema(required = false)]
    pub dead_letters: u64,
}

impl RunningReport {
    /// Reports that a user's machine has checked in, and what it said.
    #[must_use]
    pub fn new(user: &UserId, report: MachineReport, accounts: Option<&[AccountReport]>) -> Self {
        Self {
            user: UserRequest::new(user),
            mailbox: report.into(),
            accounts: accounts.map(|them| them.iter().cloned().map(Into::into).collect()),
        }
    }
}

impl From<AccountReport> for FurtherMailboxReport {
    fn from(AccountReport { email, report }: AccountReport) -> Self {
        let mailbox = report.into();
        Self { email, mailbox }
    }
}

impl From<FurtherMailboxReport> for AccountReport {
    fn from(FurtherMailboxReport { email, mailbox }: FurtherMailboxReport) -> Self {
        let report = mailbox.into();
        Self { email, report }
    }
}

impl From<MachineReport> for MailboxReport {
    fn from(report: MachineReport) -> Self {
        let MachineReport {
            watch_expires_at,
            problem,
            dead_letters,
        } = report;
        Self {
            watch_expires_at,
            problem,
            dead_letters,
        }
    }
}

impl From<MailboxReport> for MachineReport {
    fn from(report: MailboxReport) -> Self {
        let MailboxReport {
            watch_expires_at,
            problem,
            dead_letters,
        } = report;
        Self {
            watch_expires_at,
            problem,
            dead_letters,
        }
    }
}

/// Reads those of a list that this version can read, and at most as many as a user may have.
fn readable<'de, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<Vec<FurtherMailboxReport>>, D::Error> {
    let Value::Array(all) = Value::deserialize(value)? else {
        return Ok(None);
    };
    let readable = all
        .into_iter()
        .filter_map(|it| serde_json::from_value(it).ok());
    Ok(Some(readable.take(MAX_ACCOUNTS_OF_USER).collect()))
}

/// Reads a number, or 0 from any other value.
fn count_or_zero<'de, D: Deserializer<'de>>(value: D) -> Result<u64, D::Error> {
    Ok(Value::deserialize(value)?.as_u64().unwrap_or(0))
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use postbell_core::ProblemCode;
    use serde_json::json;

    use super::*;

    const PROBLEM: MailProblem = MailProblem {
        code: ProblemCode::GrantRevoked,
        since: Timestamp::from_millis(7),
    };

    #[test]
    fn a_check_in_is_read_whatever_the_form_of_its_problem() {
        for (problem, read) in [
            (json!({"code": "grant_revoked", "since": 7}), Some(PROBLEM)),
            (
                json!({"code": "moon_phase", "since": 7, "detail": 1}),
                Some(MailProblem {
                    code: ProblemCode::Unknown,
                    ..PROBLEM
                }),
            ),
            (json!(null), None),
            (json!("grant_revoked"), None),
            (json!({"code": 7}), None),
        ] {
            let body = json!({"sandboxId": "sandbox", "problem": problem});
            let check_in: CheckInRequest = serde_json::from_value(body).unwrap();
            assert_eq!(check_in.mailbox.problem, read, "{problem}");
            assert_eq!(check_in.sandbox_id.as_deref(), Some("sandbox"));
        }
        let body = RunningReport::new(
            &"ann".parse().unwrap(),
            MachineReport {
                watch_expires_at: None,
                problem: Some(PROBLEM),
                dead_letters: 3,
            },
            None,
        );
        let problem = json!({"code": "grant_revoked", "since": 7});
        let expected = json!({"userId": "ann", "problem": problem, "deadLetters": 3});
        assert_eq!(serde_json::to_value(&body).unwrap(), expected);
    }

    #[test]
    fn a_check_in_reports_each_further_account_and_one_that_cannot_be_read_hides_no_other() {
        let reported = json!({
            "email": "team@example.com", "watchExpiresAt": 9,
            "problem": {"code": "grant_revoked", "since": 7},
        });
        let team = FurtherMailboxReport {
            email: "team@example.com".parse().unwrap(),
            mailbox: MailboxReport {
                watch_expires_at: Some(Timestamp::from_millis(9)),
                problem: Some(PROBLEM),
                dead_letters: 0,
            },
        };
        assert_eq!(serde_json::to_value(&team).unwrap(), reported);
        for (accounts, expected) in [
            (
                json!([{"email": "nobody"}, 7, reported, {}]),
                Some(vec![team]),
            ),
            (json!([]), Some(vec![])),
            (json!("team@example.com"), None),
            (json!(null), None),
        ] {
            let body = json!({"sandboxId": "sandbox", "accounts": accounts});
            let check_in: CheckInRequest = serde_json::from_value(body).unwrap();
            assert_eq!(check_in.accounts, expected);
        }
        let silent: CheckInRequest = serde_json::from_value(json!({})).unwrap();
        assert_eq!(silent.accounts, None);
    }
}
