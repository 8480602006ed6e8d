//! The bot's machine: its host, the platform and its controller must agree that it is running.

use postbell_core::{InstanceStatus, MachineLocation, ManagedMachine};
use reqwest::Method;
use tokio::time::timeout;

use super::controller::{self, Reported};
use super::machine_client::{HEALTH, Machine};
use super::{user, watcher, webhook};
use crate::checker::Checker;
use crate::probe::{Answer, send};
use crate::report::{CheckResult, HopId, Status};

/// Hops that require the machine.
const ON_MACHINE: [HopId; 3] = [HopId::Controller, HopId::Watcher, HopId::Hook];

/// Checks the machine, its controller, its watcher and its gateway.
pub(crate) async fn check(checker: &Checker<'_>) -> Vec<(HopId, CheckResult)> {
    if checker.is_local() {
        let not_on_path = || CheckResult::not_on_path("the mailbox is watched from this machine");
        return vec![
            (HopId::Machine, not_on_path()),
            (HopId::Controller, not_on_path()),
            (HopId::Watcher, watcher::local(checker)),
            (HopId::Hook, webhook::not_known()),
        ];
    }
    let machine = match checker.account {
        Some(Ok(account)) => account.machine.clone(),
        Some(Err(result)) => Err(result.clone()),
        None => Err(user::not_known(&checker.facts.configuration)),
    };
    match &machine {
        Ok(facts) => match &facts.controller {
            Ok(url) => {
                let machine = Machine {
                    checker,
                    facts,
                    url,
                };
                check_machine(&machine).await
            }
            Err(result) => without(result.clone()),
        },
        Err(result) => {
            // A failure is reported once, for the user.
            let result = match result.status {
                Status::Failed => CheckResult::requires(HopId::User),
                _ => result.clone(),
            };
            let all = [HopId::Machine].into_iter().chain(ON_MACHINE);
            all.map(|hop| (hop, result.clone())).collect()
        }
    }
}

fn without(machine: CheckResult) -> Vec<(HopId, CheckResult)> {
    let rest = ON_MACHINE.map(|hop| (hop, CheckResult::requires(HopId::Machine)));
    [(HopId::Machine, machine)]
        .into_iter()
        .chain(rest)
        .collect()
}

async fn check_machine(machine: &Machine<'_>) -> Vec<(HopId, CheckResult)> {
    let checker = machine.checker;
    let health = send(machine.request(Method::GET, HEALTH));
    let running = checker
        .within(async { running(machine, health.await) })
        .await;
    let of_platform = checker
        .account
        .and_then(|account| account.as_ref().ok()?.problem);
    if !running.is_passable() {
        let mut hops = without(running);
        if let Some(problem) = of_platform {
            let watcher = hops.iter_mut().find(|(hop, _)| *hop == HopId::Watcher);
            if let Some((_, result)) = watcher {
                *result = watcher::problem(problem);
            }
        }
        return hops;
    }
    let limit = checker.deps.time_limit;
    let (controller, watcher, gateway) = tokio::join!(
        timeout(limit, controller::check(machine)),
        checker.within(watcher::on_machine(machine)),
        checker.within(webhook::gateway(machine)),
    );
    let (controller, reported) =
        controller.unwrap_or_else(|_| (checker.no_answer(), Reported::Unknown));
    let problem = match reported {
        Reported::Unknown => of_platform,
        Reported::NoProblem => None,
        Reported::Problem(problem) => Some(problem),
    };
    let watcher = match problem {
        Some(found) if watcher.is_passable() => watcher::problem(found),
        _ => watcher,
    };
    vec![
        (HopId::Machine, running),
        (HopId::Controller, controller),
        (HopId::Watcher, watcher),
        (HopId::Hook, gateway),
    ]
}

/// Compares what the host reports, what the platform has stored, and the health route.
fn running(machine: &Machine<'_>, health: Result<Answer, &'static str>) -> CheckResult {
    let start = match &machine.facts.location {
        MachineLocation::Managed(ManagedMachine { app, machine: id }) => {
            format!("Start it: `fly machine start {id} --app {app}`.")
        }
        _ => "Start `postbell controller` there.".to_owned(),
    };
    let status = match &machine.facts.host_status {
        Some(Ok(status)) => *status,
        Some(Err(result)) if result.status == Status::Failed => return result.clone(),
        Some(Err(_)) | None => machine.facts.status,
    };
    let word = status.as_str();
    if matches!(
        status,
        InstanceStatus::Stopped | InstanceStatus::Provisioned
    ) && machine.facts.starts_on_mail
    {
        return CheckResult::unknown(format!("it is {word}, and is started when mail arrives"));
    }
    if matches!(machine.facts.location, MachineLocation::Managed(_))
        && status != InstanceStatus::Running
    {
        return CheckResult::failed(format!("it is {word}"), start);
    }
    let address = machine.address();
    match health {
        Ok(answer) if answer.status == 200 && status == InstanceStatus::Running => {
            CheckResult::ok(format!("running, at {address}"))
        }
        Ok(answer) if answer.status == 200 => CheckResult::failed(
            format!("{address} answers, but the platform has stored that it is {word}"),
            format!(
                "Set it: `postbell users change {} --machine-status running`.",
                machine.checker.user_name()
            ),
        ),
        Ok(answer) => {
            let status = answer.status;
            let detail = format!("{address}{HEALTH} answers {status}, not 200");
            CheckResult::failed(detail.replace("//health", HEALTH), start)
        }
        Err(problem) => CheckResult::failed(format!("{address} is unreachable: {problem}"), start),
    }
}
