//! The controller on the bot's machine.

use postbell_protocol::routes::CONTROLLER_VERSION;
use reqwest::Method;
use serde_json::Value;

use super::machine_client::Machine;
use crate::probe::{printable, send};
use crate::report::CheckResult;

pub(super) async fn check(machine: &Machine<'_>) -> CheckResult {
    let answer = match send(machine.request(Method::GET, CONTROLLER_VERSION)).await {
        Ok(answer) => answer,
        Err(problem) => return machine.unexpected(problem),
    };
    match answer.status {
        200 => match answer.json().await {
            Some(version) => judge(machine, &version),
            None => machine.unexpected("its version is not JSON"),
        },
        401 | 403 => machine.token_rejected(),
        status => machine.unexpected(&format!("it answers {status} to a request for its version")),
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
