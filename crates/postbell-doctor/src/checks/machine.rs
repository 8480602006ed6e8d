//! The bot's machine: its host, the platform and its controller must agree that it is running.

use postbell_core::{InstanceStatus, MachineLocation, ManagedMachine};
use postbell_protocol::routes::FORCE_INSTANCE_ID;
use reqwest::{Method, RequestBuilder};
use secrecy::ExposeSecret;
use url::Url;

use super::endpoint::redacted;
use super::{controller, user, watcher, webhook};
use crate::checker::Checker;
use crate::facts::MachineFacts;
use crate::probe::{Answer, send};
use crate::report::{CheckResult, HopId, Status};

const HEALTH: &str = "/health";

/// Hops that require the machine.
const ON_MACHINE: [HopId; 3] = [HopId::Controller, HopId::Watcher, HopId::Hook];

/// A machine whose controller has a known URL.
pub(super) struct Machine<'a> {
    pub(super) checker: &'a Checker<'a>,
    pub(super) facts: &'a MachineFacts,
    pub(super) url: &'a Url,
}

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
        None => Err(user::not_known(checker)),
    };
    match &machine {
        Ok(facts) => match &facts.controller {
            Ok(url) => {
                let machine = Machine {
                    checker,
                    facts,
                    url,
                };
                machine.check().await
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

impl Machine<'_> {
    async fn check(&self) -> Vec<(HopId, CheckResult)> {
        let checker = self.checker;
        let health = send(self.request(Method::GET, HEALTH));
        let running = checker.within(async { self.running(health.await) }).await;
        if !running.is_passable() {
            return without(running);
        }
        let (controller, watcher, gateway) = tokio::join!(
            checker.within(controller::check(self)),
            checker.within(watcher::on_machine(self)),
            checker.within(webhook::gateway(self)),
        );
        vec![
            (HopId::Machine, running),
            (HopId::Controller, controller),
            (HopId::Watcher, watcher),
            (HopId::Hook, gateway),
        ]
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let base = self.url.as_str().trim_end_matches('/');
        let client = &self.checker.deps.client;
        let mut request = client.request(method, format!("{base}{path}"));
        if let MachineLocation::Managed(ManagedMachine { machine, .. }) = &self.facts.location {
            request = request.header(FORCE_INSTANCE_ID, machine);
        }
        match &self.facts.token {
            Some(token) if path != HEALTH => request.bearer_auth(token.expose_secret()),
            _ => request,
        }
    }

    /// The controller's address for messages.
    pub(super) fn address(&self) -> String {
        redacted(self.url)
    }

    /// Compares what the host reports, what the platform has stored, and the health route.
    fn running(&self, health: Result<Answer, &'static str>) -> CheckResult {
        let start = match &self.facts.location {
            MachineLocation::Managed(ManagedMachine { app, machine }) => {
                format!("Start it: `fly machine start {machine} --app {app}`.")
            }
            _ => "Start `postbell controller` there.".to_owned(),
        };
        let status = match &self.facts.host_status {
            Some(Ok(status)) => *status,
            Some(Err(result)) if result.status == Status::Failed => return result.clone(),
            Some(Err(_)) | None => self.facts.status,
        };
        let word = status.as_str();
        if matches!(
            status,
            InstanceStatus::Stopped | InstanceStatus::Provisioned
        ) && self.facts.starts_on_mail
        {
            return CheckResult::unknown(format!("it is {word}, and is started when mail arrives"));
        }
        if matches!(self.facts.location, MachineLocation::Managed(_))
            && status != InstanceStatus::Running
        {
            return CheckResult::failed(format!("it is {word}"), start);
        }
        let address = self.address();
        match health {
            Ok(answer) if answer.status == 200 && status == InstanceStatus::Running => {
                CheckResult::ok(format!("running, at {address}"))
            }
            Ok(answer) if answer.status == 200 => CheckResult::failed(
                format!("{address} answers, but the platform has stored that it is {word}"),
                format!(
                    "Set it: `postbell users change {} --machine-status running`.",
                    self.checker.user_name()
                ),
            ),
            Ok(answer) => {
                let status = answer.status;
                let detail = format!("{address}{HEALTH} answers {status}, not 200");
                CheckResult::failed(detail.replace("//health", HEALTH), start)
            }
            Err(problem) => {
                CheckResult::failed(format!("{address} is unreachable: {problem}"), start)
            }
        }
    }

    /// The controller rejects the gateway token.
    pub(super) fn token_rejected(&self) -> CheckResult {
        CheckResult::failed(
            "the controller rejects the platform's token",
            format!(
                "Set OPENCLAW_GATEWAY_TOKEN on the machine to the token that follows from \
                 platform.gateway_secret and the sandbox id (`postbell users show {}`), and restart it.",
                self.checker.user_name()
            ),
        )
    }

    /// The answer is not that of a controller.
    pub(super) fn unexpected(&self, problem: &str) -> CheckResult {
        CheckResult::failed(
            format!("{}: {problem}", self.address()),
            "Check that `postbell controller` runs there, and that no other server answers for it.",
        )
    }
}
