//! The controller on the bot's machine.

use postbell_core::{EmailAddress, MailProblem};
use postbell_protocol::routes::CONTROLLER_VERSION;
use reqwest::Method;
use serde_json::Value;

use super::machine_client::Machine;
use crate::probe::{printable, send};
use crate::report::CheckResult;

/// Asks for the version. A controller that knows what keeps mail from the bot says that, too.
pub(super) async fn check(machine: &Machine<'_>) -> (CheckResult, Reported) {
    let answer = match send(machine.request(Method::GET, CONTROLLER_VERSION)).await {
        Ok(answer) => answer,
        Err(problem) => return (machine.unexpected(problem), Reported::Unknown),
    };
    let result = match answer.status {
        200 => match answer.json().await {
            Some(version) => {
                return (
                    judge(machine, &version),
                    Reported::read(&version, machine.checker.further_mailbox()),
                );
            }
            None => machine.unexpected("its version is not JSON"),
        },
        401 | 403 => machine.token_rejected(),
        status => machine.unexpected(&format!("it answers {status} to a request for its version")),
    };
    (result, Reported::Unknown)
}

/// What a controller says of its watcher's mail.
pub(super) enum Reported {
    /// Nothing: it is of an earlier version, or of another implementation.
    Unknown,
    /// Mail gets through.
    NoProblem,
    /// This keeps mail from getting through.
    Problem(MailProblem),
}

impl Reported {
    /// Reads what is said of the first account, or of a further one with this address.
    fn read(version: &Value, further: Option<&str>) -> Self {
        let watcher = &version["watcher"];
        let mailbox = match further.map(str::parse::<EmailAddress>) {
            None => watcher,
            Some(address) => {
                let mut accounts = watcher["accounts"].as_array().into_iter().flatten();
                let is_its = |it: &&Value| {
                    let email = it["email"].as_str().unwrap_or_default();
                    address
                        .as_ref()
                        .is_ok_and(|address| address.is_same_mailbox(email))
                };
                accounts.find(is_its).unwrap_or(&Value::Null)
            }
        };
        match mailbox.get("problem") {
            None => Self::Unknown,
            Some(Value::Null) => Self::NoProblem,
            Some(problem) => {
                serde_json::from_value(problem.clone()).map_or(Self::Unknown, Self::Problem)
            }
        }
    }
}

fn judge(machine: &Machine<'_>, answer: &Value) -> CheckResult {
    let Some(version) = printable(&answer["version"]) else {
        return CheckResult::warning(
            "it does not report its version",
            "Update the machine's image, and restart the machine.",
        );
    };
    let controller = &answer["controllerState"];
    let state = printable(&controller["state"]).or_else(|| printable(controller));
    match state.as_deref() {
        Some("degraded") => CheckResult::failed(
            format!("version {version}, and its start failed"),
            format!(
                "See why: `curl {}/_kilo/health`, and the controller's log.",
                machine.address().trim_end_matches('/')
            ),
        ),
        Some(state @ ("bootstrapping" | "starting")) => CheckResult::warning(
            format!("version {version}, still {state}"),
            format!(
                "Check again in a minute: `postbell doctor {}`.",
                machine.checker.user_name()
            ),
        ),
        _ => CheckResult::ok(format!("version {version}")),
    }
}
