//! The watcher, on the bot's machine or on this one.

use postbell_core::{MailProblem, ProblemCode};
use postbell_protocol::routes::CONTROLLER_PUSH;
use reqwest::Method;

use super::machine_client::Machine;
use crate::checker::Checker;
use crate::facts::{LocalWatch, WatchProblem};
use crate::probe::send;
use crate::report::{CheckResult, HopId};
use crate::times::minute;

/// Sends the controller a push that the watcher cannot accept. The answer shows the state of the
/// watcher.
pub(super) async fn on_machine(machine: &Machine<'_>) -> CheckResult {
    let request = machine.request(Method::POST, CONTROLLER_PUSH);
    let request = request
        .header("content-type", "application/json")
        .body("{}");
    let answer = match send(request).await {
        Ok(answer) => answer,
        Err(problem) => return machine.unexpected(problem),
    };
    match answer.status {
        200..=299 => CheckResult::ok("running"),
        401 | 403 => machine.token_rejected(),
        404 => CheckResult::failed(
            "the machine has none, because it has no Google account",
            "Restart the machine, so that it gets its credentials; or run `postbell setup`.",
        ),
        503 => CheckResult::failed(
            "it is not running",
            "See why in the controller's log on the machine. The controller restarts it; `postbell \
             watch status` shows what is missing.",
        ),
        500 => CheckResult::failed(
            "it is running, but does not answer",
            "See the controller's log on the machine, and restart the machine.",
        ),
        status => machine.unexpected(&format!("it answers {status} to a push")),
    }
}

/// What the watcher has reported: mail does not get through.
pub(super) fn problem(problem: MailProblem) -> CheckResult {
    let MailProblem { code, since } = problem;
    let since = minute(since.as_millis());
    let detail = format!("{code} since {since}: {}", code.summary());
    CheckResult::failed(detail, code.advice())
}

/// The problem, unless the hop of the watch reports it.
fn of_watcher(watch: &LocalWatch) -> Option<&WatchProblem> {
    let found = watch.problem.as_ref()?;
    let is_watchs = matches!(
        found.problem.code,
        ProblemCode::WatchExpired | ProblemCode::WatchMissing
    );
    (!is_watchs).then_some(found)
}

/// Checks the watcher of this machine, which locks its state file while it runs.
pub(super) fn local(checker: &Checker<'_>) -> CheckResult {
    let address = checker.watcher();
    if address.is_empty() {
        return CheckResult::unknown("the mailbox is not known on this machine");
    }
    match &checker.setup.watch {
        Ok(Some(watch)) if let Some(found) = of_watcher(watch) => {
            let MailProblem { code, since } = found.problem;
            let since = minute(since.as_millis());
            let next = format!(
                "{} Then check that it works: `postbell watch status --account {address}`.",
                code.advice()
            );
            CheckResult::failed(format!("{code} since {since}: {}", found.detail), next)
        }
        Ok(Some(watch)) if watch.is_running => CheckResult::ok(format!("running for {address}")),
        Ok(Some(_)) => {
            let command = if checker.is_pulled() { "pull" } else { "serve" };
            let next = if checker.is_standalone() {
                // Whether it pulls is not known before it has run.
                format!(
                    "Start `postbell watch pull` (or `serve`), or its service; or forget the mailbox: `postbell watch \
                     stop --account {address}`."
                )
            } else {
                format!(
                    "Start `postbell watch {command}`; `postbell setup` prints it with its options."
                )
            };
            CheckResult::failed(
                format!("none is running for {address} on this machine"),
                next,
            )
        }
        Ok(None) => CheckResult::requires(HopId::Watch),
        Err(result) => result.clone(),
    }
}
