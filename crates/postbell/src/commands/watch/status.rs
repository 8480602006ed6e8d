//! `postbell watch status`

use std::process::ExitCode;

use postbell_core::{Clock, Timestamp};
use postbell_protocol::watch_state::WatchState;
use postbell_watcher::{GogDirs, StateFile};
use serde_json::json;

use super::super::table;
use super::account;
use crate::cli::StatusArgs;
use crate::config::Env;
use crate::console::{Console, printable};

/// Prints the state. The watcher may be running.
pub(super) fn run(
    args: &StatusArgs,
    console: &Console,
    env: &Env,
    clock: &dyn Clock,
) -> anyhow::Result<ExitCode> {
    let address = account::address(&args.account, env)?;
    let folder = GogDirs::from_variables(|name| env.variable(name))?.watch_state(&address);
    let Some(state) = StateFile::peek(&folder, &address)? else {
        anyhow::bail!(
            "no watch was started for this account: run `postbell watch start` (looked in {})",
            folder.display()
        );
    };
    show(&state, console, args.json, clock.now())
}

/// Prints a state. Fails if it contains a problem.
pub(super) fn show(
    state: &WatchState,
    console: &Console,
    json: bool,
    now: Timestamp,
) -> anyhow::Result<ExitCode> {
    let problem = problem(state, now);
    if json {
        console.data(&as_json(state, &problem)?)?;
    } else {
        console.data(&as_text(state, &problem))?;
    }
    Ok(if problem.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Returns the problem that prevents delivery, with a remedy. Empty if there is none.
fn problem(state: &WatchState, now: Timestamp) -> String {
    if !state.problem.is_empty() {
        state.problem.clone()
    } else if !state.topic.is_empty() && state.expires_at() <= Some(now) {
        "the watch has expired: run `postbell watch renew`, and keep `watch serve` or `watch pull` \
         running, which renew it"
            .to_owned()
    } else if !state.renewal_problem.is_empty() {
        format!("the renewal of the watch failed: {}", state.renewal_problem)
    } else {
        String::new()
    }
}

/// Returns the state file's JSON without secrets.
fn as_json(state: &WatchState, problem: &str) -> anyhow::Result<String> {
    let mut watch = serde_json::to_value(state)?;
    if let Some(hook) = watch["hook"].as_object_mut()
        && let Some(token) = hook.remove("token")
    {
        hook.insert("hasToken".to_owned(), json!(token != ""));
    }
    watch["problem"] = json!(problem);
    Ok(json!({ "watch": watch }).to_string())
}

fn as_text(state: &WatchState, problem: &str) -> String {
    let at = |millis: i64| match millis {
        0 => String::new(),
        millis => table::time(Timestamp::from_millis(millis)),
    };
    let history_id = state.history_id.map(|id| id.to_string());
    let hook = state.hook.as_ref();
    let lines = [
        ("account", state.account.clone()),
        ("topic", state.topic.clone()),
        ("labels", state.labels.join(",")),
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
        ("problem", problem.to_owned()),
    ];
    let lines = lines.iter().filter(|(_, value)| !value.is_empty());
    let lines: Vec<_> = lines
        .map(|(name, value)| format!("{name}\t{}", printable(value)))
        .collect();
    lines.join("\n")
}
