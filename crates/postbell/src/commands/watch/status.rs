//! `postbell watch status`

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, Timestamp, printable};
use postbell_protocol::watch_state::{StateFile, WatchState, mailbox_of};
use postbell_watcher::{Assessment, MailboxIdentity, Verified, assess, hung_since, verify};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::super::table;
use super::account::{self, Account};
use super::install;
use crate::cli::{AccountArgs, StatusArgs};
use crate::config::Env;
use crate::console::Console;

/// The time limit of Gmail's and Pub/Sub's answers.
const LIMIT: Duration = Duration::from_secs(5);

/// Prints the state of each webhook that the command is about. The watcher may be running.
pub(super) async fn run(
    args: &StatusArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let config = env.load()?;
    let addresses = account::webhooks(&args.account, &config, env)?;
    if let [address] = &addresses[..] {
        account::started_watch(&account::state_folder(address, env)?, address)?;
    }
    let mut all = Vec::new();
    for address in &addresses {
        all.push(of_webhook(address, args, env, &clock).await?);
    }
    if let [only] = &all[..] {
        return only.print(console, args.json);
    }
    let is_well = all.iter().all(Status::is_well);
    if args.json {
        let webhooks: Result<Vec<_>, _> = all.iter().map(Status::as_json).collect();
        console.data(&json!({ "ok": is_well, "webhooks": webhooks? }).to_string())?;
    } else {
        let texts: Vec<_> = all
            .iter()
            .map(|one| one.as_text(console.columns()))
            .collect();
        console.data(&texts.join("\n\n"))?;
    }
    Ok(exit_code(is_well))
}

/// The state of a webhook: that of its mailbox, as long as no watcher has run for it.
async fn of_webhook(
    address: &str,
    args: &StatusArgs,
    env: &Env,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Status> {
    let folder = account::state_folder(address, env)?;
    let state = match StateFile::peek(&folder, address)? {
        None => StateFile::peek(&folder, mailbox_of(address))?.map(|state| WatchState {
            topic: state.topic,
            labels: state.labels,
            expiration_ms: state.expiration_ms,
            provider_expiration_ms: state.provider_expiration_ms,
            ..WatchState::default()
        }),
        state => state,
    };
    let state = WatchState {
        account: address.to_owned(),
        ..state.unwrap_or_default()
    };
    let now = clock.now();
    let is_running = StateFile::is_in_use(&folder, address);
    let mut status = Status {
        is_running: Some(is_running),
        hung_since: hung_since(&state, now).filter(|_| is_running),
        service: install::installed(address, env),
        ..Status::of(state, now)
    };
    if status.assessment.problem.is_none() && !args.offline {
        let args = AccountArgs {
            account: Some(address.to_owned()),
            ..args.account.clone()
        };
        match Account::new(&args, env, Arc::clone(clock)) {
            Ok(account) => status.ask(&account, now).await,
            Err(error) => status.unanswered.push(format!("no credentials: {error:#}")),
        }
    }
    Ok(status)
}

fn exit_code(is_well: bool) -> ExitCode {
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The state of a watch, and how it is judged.
pub(super) struct Status {
    state: WatchState,
    assessment: Assessment,
    /// Whether a watcher is running; `None` after a command that needs none.
    is_running: Option<bool>,
    /// Since when the running watcher has done nothing, if it hangs.
    hung_since: Option<Timestamp>,
    /// How to see the service that `watch install` made, if there is one.
    service: Option<String>,
    /// What Gmail and Pub/Sub were not asked, and why.
    unanswered: Vec<String>,
}

impl Status {
    /// Judges a state without asking Gmail.
    pub(super) fn of(state: WatchState, now: Timestamp) -> Self {
        Self {
            assessment: assess(&state, now),
            state,
            is_running: None,
            hung_since: None,
            service: None,
            unanswered: Vec::new(),
        }
    }

    async fn ask(&mut self, account: &Account, now: Timestamp) {
        let gmail = match account.gmail() {
            Ok(gmail) => gmail,
            Err(error) => return self.unanswered.push(error.to_string()),
        };
        let pubsub = account.pubsub();
        let identity = MailboxIdentity::unconfirmed(&account.mailbox);
        let asking = verify(&gmail, &pubsub, &self.state, &identity, now);
        let verified = timeout(LIMIT, asking).await.unwrap_or_else(|_| Verified {
            unanswered: vec![format!("no answer within {} s", LIMIT.as_secs())],
            ..Verified::default()
        });
        self.assessment.problem = verified.problem;
        self.unanswered.extend(verified.unanswered);
    }

    /// Whether every mail gets through: nothing keeps it, and a watcher runs.
    fn is_well(&self) -> bool {
        self.assessment.is_well() && self.is_running != Some(false) && self.hung_since.is_none()
    }

    /// Prints the status. Fails if a mail does not get through.
    pub(super) fn print(&self, console: &Console, json: bool) -> anyhow::Result<ExitCode> {
        console.data(&if json {
            self.as_json()?.to_string()
        } else {
            self.as_text(console.columns())
        })?;
        Ok(exit_code(self.is_well()))
    }

    /// Returns the state file's JSON without secrets, and the findings.
    fn as_json(&self) -> anyhow::Result<Value> {
        let mut watch = serde_json::to_value(&self.state)?;
        if let Some(hook) = watch["hook"].as_object_mut()
            && let Some(token) = hook.remove("token")
        {
            hook.insert("hasToken".to_owned(), json!(token != ""));
        }
        if let Some(watch) = watch.as_object_mut() {
            // Alerts name their targets.
            watch.remove("alerts");
        }
        watch["problem"] = json!(self.problem());
        if let Some(problem) = &self.assessment.problem {
            watch["problemCode"] = json!(problem.code);
            watch["problemSinceMs"] = json!(problem.since.as_millis());
        }
        let advice = self.assessment.problem.as_ref();
        let advice = advice.map_or(Value::Null, |problem| json!(problem.code.advice()));
        Ok(json!({
            "ok": self.is_well(),
            "watch": watch,
            "advice": advice,
            "running": self.is_running,
            "hungSinceMs": self.hung_since.map(Timestamp::as_millis),
            "unanswered": self.unanswered,
        }))
    }

    /// Returns what keeps mail from getting through. Empty if nothing does.
    fn problem(&self) -> String {
        match &self.assessment.problem {
            Some(problem) => problem.detail.clone(),
            None if self.assessment.renewal_problem.is_empty() => String::new(),
            None => format!(
                "the renewal of the watch failed: {}",
                self.assessment.renewal_problem
            ),
        }
    }

    /// Returns one line for each value: in columns for a terminal, with a tab as `gog` does for programs.
    fn as_text(&self, columns: Option<usize>) -> String {
        let problem = self.assessment.problem.as_ref();
        let of_problem = [
            ("problem", self.problem()),
            (
                "problem_code",
                problem.map(|one| one.code.to_string()).unwrap_or_default(),
            ),
            (
                "problem_since",
                problem
                    .map(|one| table::time(one.since))
                    .unwrap_or_default(),
            ),
            (
                "next",
                problem
                    .map(|one| one.code.advice().to_owned())
                    .unwrap_or_default(),
            ),
            ("dead_letters", self.dead_letters()),
            ("not_asked", self.unanswered.join("; ")),
        ];
        let running = self.is_running.map(|is_running| {
            let text = match self.hung_since {
                Some(since) => format!(
                    "running, but it has done nothing since {}: restart it",
                    table::time(since)
                ),
                None if is_running => "running".to_owned(),
                None => "not running: start `postbell watch pull` (or `serve`), or its service"
                    .to_owned(),
            };
            ("watcher", text)
        });
        let lines = state_lines(&self.state)
            .into_iter()
            .chain(running)
            .chain(self.service.clone().map(|command| ("service", command)))
            .chain(of_problem)
            .filter(|(_, value)| !value.is_empty());
        let rows: Vec<_> = lines
            .map(|(name, value)| vec![name.to_owned(), printable(&value)])
            .collect();
        if columns.is_some() {
            return table::lay_out(&rows, columns);
        }
        let lines: Vec<_> = rows.iter().map(|row| row.join("\t")).collect();
        lines.join("\n")
    }

    fn dead_letters(&self) -> String {
        let Some(last) = self.state.dead_letters.last() else {
            return String::new();
        };
        let count = self.state.dead_letters.len();
        format!(
            "{count}, the last one {}: {}; list them with `postbell watch dead-letters list`",
            last.id, last.reason
        )
    }
}

fn state_lines(state: &WatchState) -> Vec<(&'static str, String)> {
    let at = |millis: i64| match millis {
        0 => String::new(),
        millis => table::time(Timestamp::from_millis(millis)),
    };
    let history_id = state.history_id.map(|id| id.to_string());
    let hook = state.hook.as_ref();
    vec![
        ("account", state.account.clone()),
        ("topic", state.topic.clone()),
        ("labels", state.labels.join(",")),
        ("subscription", state.subscription.clone()),
        ("history_id", history_id.unwrap_or_default()),
        ("expiration", at(state.expiration_ms)),
        ("provider_expiration", at(state.provider_expiration_ms)),
        ("renew_after", at(state.renew_after_ms)),
        ("updated_at", at(state.updated_at_ms)),
        (
            "hook_url",
            hook.map(|hook| hook.url.clone()).unwrap_or_default(),
        ),
        ("last_delivery_status", state.last_delivery_status.clone()),
        ("last_delivery_at", at(state.last_delivery_at_ms)),
        (
            "last_delivery_note",
            state.last_delivery_status_note.clone(),
        ),
        ("last_sync_at", at(state.last_poll_at_ms)),
    ]
}
