//! The user, their machine, and what runs there.

use std::time::Duration;

use postbell_core::{InstanceStatus, MachineLocation, ManagedMachine, UserId};
use reqwest::{Method, RequestBuilder};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::time::timeout;
use url::Url;

use super::probe::{Answer, ask, short};
use super::{Account, Exam, Finding, Health, HopId, MachineFacts};
use crate::site::Site;
use crate::wishes::{Destination, platform};

/// Asks a platform that is elsewhere, with the user's own token; `None` where none is named.
pub(super) async fn ask_platform(
    site: &Site,
    patience: Duration,
) -> Option<Result<Account, Finding>> {
    let Some(Destination::Platform { token, user, .. }) = &site.wishes.destination else {
        return None;
    };
    if token.is_none() {
        return Some(Err(Finding::unless(
            "the platform is elsewhere, and there is no token to ask it with",
            format!(
                "Put what the operator's `postbell users token {user}` prints into \
                 POSTBELL_USER_TOKEN."
            ),
        )));
    }
    let platform = platform(site)?;
    let connection = match timeout(patience, platform.connection()).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(trouble)) => return Some(Err(trouble.into())),
        Err(_) => {
            return Some(Err(Finding::unknown(
                "the platform does not answer in time",
            )));
        }
    };
    Some(Ok(Account {
        google_connected: connection.google_connected,
        notifications_enabled: connection.gmail_notifications_enabled,
        email: connection.email,
        push_account: connection.gmail_push_oidc_email,
        watch_ends_at: None,
        machine: Err(Finding::unless(
            "only the platform's operator sees the machine",
            format!("Ask the operator to run `postbell doctor {user}`."),
        )),
    }))
}

pub(super) async fn look(
    exam: &Exam<'_>,
    account: Option<&Result<Account, Finding>>,
) -> Vec<(HopId, Finding)> {
    let own = || Finding::elsewhere("the mailbox is watched from here");
    if exam.is_local() {
        return vec![
            (HopId::User, own()),
            (HopId::Machine, own()),
            (HopId::Controller, own()),
            (HopId::Watcher, local_watcher(exam)),
            (HopId::Hook, no_hook()),
        ];
    }
    let nobody = Finding::failed(
        "it is not known whose path this is: nobody is named here, or was set up from here",
        "Beside the platform, name the user: `postbell doctor USER`; `postbell users list` shows \
         them. Elsewhere run `postbell setup` first.",
    );
    let nobody = Err(if exam.facts.configuration.health == Health::Failed {
        Finding::needs(HopId::Configuration)
    } else {
        nobody
    });
    let account = account.unwrap_or(&nobody);
    let mut hops = vec![(HopId::User, user(exam, account))];
    let machine = match account {
        Ok(account) => account.machine.as_ref(),
        Err(finding) => Err(finding),
    };
    hops.extend(match machine {
        Ok(machine) => Visit::new(exam, machine).look().await,
        Err(finding) => {
            let rest = [
                HopId::Machine,
                HopId::Controller,
                HopId::Watcher,
                HopId::Hook,
            ];
            rest.map(|hop| (hop, unseen(finding))).to_vec()
        }
    });
    hops
}

/// What failed once is not said to have failed everywhere.
fn unseen(finding: &Finding) -> Finding {
    if finding.health == Health::Failed {
        Finding::needs(HopId::User)
    } else {
        finding.clone()
    }
}

fn user_of<'a>(exam: &'a Exam<'_>) -> Option<&'a UserId> {
    let remembered = match &exam.site.wishes.destination {
        Some(Destination::Platform { user, .. }) => Some(user),
        _ => None,
    };
    exam.facts.user.as_ref().or(remembered)
}

fn user(exam: &Exam<'_>, account: &Result<Account, Finding>) -> Finding {
    let account = match account {
        Ok(account) => account,
        Err(finding) => return finding.clone(),
    };
    let user = user_of(exam).map_or_else(|| "USER".to_owned(), ToString::to_string);
    if !account.google_connected {
        return Finding::failed(
            format!("{user} has no Google account connected"),
            format!(
                "Run `postbell setup --platform URL --user {user}`, with what `postbell users token \
                 {user}` prints in POSTBELL_USER_TOKEN."
            ),
        );
    }
    let email = account
        .email
        .as_deref()
        .unwrap_or("an account without a name");
    if account.push_account.is_none() {
        return Finding::failed(
            format!("{user} is connected as {email}, but nobody is known to sign the pushes"),
            "Run `postbell setup`: it tells the platform.",
        );
    }
    if !account.notifications_enabled {
        return Finding::failed(
            format!("{user} is connected as {email}, and has notifications turned off"),
            format!(
                "Turn them on: `curl -X POST URL/api/platform/gmail-notifications -H \
                 \"x-internal-api-key: $KEY\" --json '{{\"userId\":\"{user}\"}}'`."
            ),
        );
    }
    Finding::ok(format!("{user}, connected as {email}"))
}

/// The watcher of this machine holds its state as long as it runs.
fn local_watcher(exam: &Exam<'_>) -> Finding {
    let Some(address) = exam.site.wishes.mailbox.as_ref() else {
        return Finding::unknown("the mailbox is not known here");
    };
    let address = address.as_str();
    let command = if exam.is_pulled() { "pull" } else { "serve" };
    match exam.site.tools.memory.recall(address) {
        Ok(Some(memory)) if !memory.problem.is_empty() => Finding::failed(
            memory.problem,
            format!("Then see it work: `postbell watch status --account {address}`."),
        ),
        Ok(Some(memory)) if memory.watcher_runs => Finding::ok(format!("one runs for {address}")),
        Ok(Some(_)) => Finding::failed(
            format!("none runs for {address} on this machine"),
            format!(
                "Start `postbell watch {command}`; `postbell setup` prints it with its options."
            ),
        ),
        Ok(None) => Finding::needs(HopId::Watch),
        Err(trouble) => trouble.into(),
    }
}

fn no_hook() -> Finding {
    Finding::unless(
        "it is not known here where the bot takes mail",
        "Name it: `postbell doctor --hook-url URL`.",
    )
}

/// A look at one machine.
struct Visit<'a> {
    exam: &'a Exam<'a>,
    machine: &'a MachineFacts,
    user: String,
}

impl<'a> Visit<'a> {
    fn new(exam: &'a Exam<'a>, machine: &'a MachineFacts) -> Self {
        let user = user_of(exam).map_or_else(|| "USER".to_owned(), ToString::to_string);
        Self {
            exam,
            machine,
            user,
        }
    }

    async fn look(&self) -> Vec<(HopId, Finding)> {
        let rest = [HopId::Controller, HopId::Watcher, HopId::Hook];
        let url = match &self.machine.controller {
            Ok(url) => url,
            Err(finding) => {
                let needs = rest.map(|hop| (hop, Finding::needs(HopId::Machine)));
                return [(HopId::Machine, finding.clone())]
                    .into_iter()
                    .chain(needs)
                    .collect();
            }
        };
        let health = self.request(Method::GET, url, "/health");
        let up = self
            .exam
            .within(async { self.up(url, ask(health).await) })
            .await;
        if !up.is_passable() {
            let needs = rest.map(|hop| (hop, Finding::needs(HopId::Machine)));
            return [(HopId::Machine, up)].into_iter().chain(needs).collect();
        }
        let (controller, watcher, hook) = tokio::join!(
            self.exam.within(self.controller(url)),
            self.exam.within(self.watcher(url)),
            self.exam.within(self.gateway(url)),
        );
        vec![
            (HopId::Machine, up),
            (HopId::Controller, controller),
            (HopId::Watcher, watcher),
            (HopId::Hook, hook),
        ]
    }

    fn request(&self, method: Method, base: &Url, path: &str) -> RequestBuilder {
        let base = base.as_str().trim_end_matches('/');
        let client = &self.exam.site.tools.client;
        let mut request = client.request(method, format!("{base}{path}"));
        if let MachineLocation::Managed(ManagedMachine { machine, .. }) = &self.machine.place {
            request = request.header("fly-force-instance-id", machine);
        }
        match &self.machine.token {
            Some(token) if path != "/health" => request.bearer_auth(token.expose_secret()),
            _ => request,
        }
    }

    /// Whether it is up: by what its host says, by what the platform was told, and by its health.
    fn up(&self, url: &Url, health: Result<Answer, &'static str>) -> Finding {
        let start = match &self.machine.place {
            MachineLocation::Managed(ManagedMachine { app, machine }) => {
                format!("Start it: `fly machine start {machine} --app {app}`.")
            }
            _ => "Start `postbell controller` there.".to_owned(),
        };
        let seen = match &self.machine.seen {
            Some(Ok(seen)) => *seen,
            Some(Err(finding)) if finding.health == Health::Failed => return finding.clone(),
            Some(Err(_)) | None => self.machine.status,
        };
        let word = seen.as_str();
        if matches!(seen, InstanceStatus::Stopped | InstanceStatus::Provisioned)
            && self.machine.wakes
        {
            return Finding::unknown(format!("it is {word}, and is started once mail comes"));
        }
        if matches!(self.machine.place, MachineLocation::Managed(_))
            && seen != InstanceStatus::Running
        {
            return Finding::failed(format!("it is {word}"), start);
        }
        let address = super::endpoint::shown(url);
        match health {
            Ok(answer) if answer.status == 200 && seen == InstanceStatus::Running => {
                Finding::ok(format!("running, at {address}"))
            }
            Ok(answer) if answer.status == 200 => Finding::failed(
                format!("{address} answers, but the platform takes it to be {word}"),
                format!(
                    "Say that it runs: `postbell users change {} --machine-status running`.",
                    self.user
                ),
            ),
            Ok(answer) => {
                let status = answer.status;
                let detail =
                    format!("{address} answers {status} where a controller has its health");
                Finding::failed(detail, start)
            }
            Err(problem) => {
                Finding::failed(format!("{address} cannot be reached: {problem}"), start)
            }
        }
    }

    async fn controller(&self, url: &Url) -> Finding {
        let answer = match ask(self.request(Method::GET, url, "/_kilo/version")).await {
            Ok(answer) => answer,
            Err(problem) => return self.broken(url, problem),
        };
        match answer.status {
            200 => match answer.json().await {
                Some(version) => self.version(url, &version),
                None => self.broken(url, "what it answers is no version"),
            },
            401 | 403 => self.stranger(),
            status => self.broken(
                url,
                &format!("it answers {status} where its version should be"),
            ),
        }
    }

    fn version(&self, url: &Url, answer: &Value) -> Finding {
        let address = super::endpoint::shown(url);
        let Some(version) = short(&answer["version"]) else {
            return Finding::warning(
                "it does not say which version it is",
                "Bring the machine's image up to date, and restart the machine.",
            );
        };
        let controller = &answer["controllerState"];
        let state = short(&controller["state"]).or_else(|| short(controller));
        match state.as_deref() {
            Some("degraded") => Finding::failed(
                format!("version {version}, and its start has failed"),
                format!(
                    "See why: `curl {}/_kilo/health`, and the controller's log.",
                    address.trim_end_matches('/')
                ),
            ),
            Some(state @ ("bootstrapping" | "starting")) => Finding::warning(
                format!("version {version}, and it is {state} yet"),
                format!("Look again in a minute: `postbell doctor {}`.", self.user),
            ),
            _ => Finding::ok(format!("version {version}")),
        }
    }

    /// Hands the watcher a push that it can never take: what becomes of it says how the watcher is.
    async fn watcher(&self, url: &Url) -> Finding {
        let request = self.request(Method::POST, url, "/_kilo/gmail-pubsub");
        let request = request
            .header("content-type", "application/json")
            .body("{}");
        let answer = match ask(request).await {
            Ok(answer) => answer,
            Err(problem) => return self.broken(url, problem),
        };
        match answer.status {
            200..=299 => Finding::ok("it runs, and answers"),
            401 | 403 => self.stranger(),
            404 => Finding::failed(
                "the machine has none: it was given no Google account",
                "Restart the machine, so that it gets its credentials; or run `postbell setup`.",
            ),
            503 => Finding::failed(
                "it does not run",
                "See why in the controller's log on the machine; the controller starts it again by \
                 itself, and `postbell watch status` says what it lacks.",
            ),
            500 => Finding::failed(
                "it runs, and does not answer",
                "See the controller's log on the machine, and restart the machine.",
            ),
            status => self.broken(url, &format!("it answers {status} to a push")),
        }
    }

    /// The hook is the gateway's, and nobody but the machine reaches it.
    async fn gateway(&self, url: &Url) -> Finding {
        let answer = match ask(self.request(Method::GET, url, "/_kilo/gateway/ready")).await {
            Ok(answer) => answer,
            Err(problem) => return self.broken(url, problem),
        };
        let address = super::endpoint::shown(url);
        let next = format!(
            "See the bot's log on the machine. To restart it: `curl -X POST -H \"authorization: Bearer \
             $TOKEN\" {}/_kilo/gateway/restart`.",
            address.trim_end_matches('/')
        );
        match answer.status {
            200 => Finding::ok("the bot's gateway is ready"),
            401 | 403 => self.stranger(),
            502 => Finding::failed("the bot's gateway does not answer", next),
            503 => Finding::failed("the bot's gateway says that it is not ready", next),
            404 => Finding::unknown("this controller does not say how the bot's gateway is"),
            status => self.broken(url, &format!("it answers {status} for the bot's gateway")),
        }
    }

    fn stranger(&self) -> Finding {
        Finding::failed(
            "the controller does not take the platform's token",
            format!(
                "Give the machine the right OPENCLAW_GATEWAY_TOKEN, which follows from \
                 platform.gateway_secret and the sandbox id (`postbell users show {}`), and restart it.",
                self.user
            ),
        )
    }

    fn broken(&self, url: &Url, problem: &str) -> Finding {
        let address = super::endpoint::shown(url);
        Finding::failed(
            format!("{address}: {problem}"),
            "See that `postbell controller` runs there, and nothing else answers for it.",
        )
    }
}
