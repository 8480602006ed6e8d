//! `postbell watch`: the watcher of one mailbox (protocol, section 5).

pub(super) mod account;
mod accounts;
mod alerts;
mod dead_letters;
mod delivery;
pub(super) mod install;
mod known;
mod mailboxes;
mod pull;
mod serve;
mod status;
pub(super) mod stored_credentials;
mod test;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postbell_core::Clock;
use postbell_google::GmailError;
use postbell_protocol::watch_state::{StateError, StateFile, WatchState, mailbox_of};
use postbell_watcher::SyncError;
use serde_json::json;

use self::account::Account;
use crate::cli::{RenewArgs, StartArgs, StopArgs, WatchCommand};
use crate::config::{BadSetting, ConfigError, Env};
use crate::console::Console;

/// Runs a subcommand of `watch`.
pub(crate) async fn run(
    command: &WatchCommand,
    command_line: &[OsString],
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    match command {
        WatchCommand::Start(args) => start(args, console, env, clock).await,
        WatchCommand::Status(args) => status::run(args, console, env, clock).await,
        WatchCommand::Test(args) => test::run(args, console, env, clock).await,
        WatchCommand::Renew(args) => renew(args, console, env, clock).await,
        WatchCommand::Stop(args) => stop(args, console, env, clock).await,
        WatchCommand::Serve(args) => serve::run(args, console, env, clock).await,
        WatchCommand::Pull(args) => pull::run(args, console, env, clock).await,
        WatchCommand::Install(command) => {
            install::run(command, command_line, console, env, clock).await
        }
        WatchCommand::Uninstall(args) => install::uninstall(args, console, env).await,
        WatchCommand::TestAlert(args) => alerts::test(args, console, env, clock).await,
        WatchCommand::DeadLetters(command) => dead_letters::run(command, console, env).await,
    }
}

async fn start(
    args: &StartArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let account = Account::new(&args.account, env, Arc::clone(&clock))?;
    anyhow::ensure!(
        !account.is_further_webhook(),
        BadSetting::new(
            "expected the address of a mailbox in --account: its webhooks share one watch"
        )
    );
    account.confirm(console).await?;
    let labels = label_ids(&args.labels, &account).await?;
    let saved = delivery::hook_options(&args.hook, env)?.given();
    let changes_nothing = |state: &WatchState| {
        state.topic == args.topic
            && is_same_set(&state.labels, &labels)
            && (saved.is_none() || state.hook == saved)
            && args.ttl.is_none()
    };
    let file = match account.open_state() {
        Ok(file) => file,
        Err(in_use) => {
            renew_beside_watcher(&account, in_use, changes_nothing, console).await?;
            return show(&account, console, args.json, &*clock);
        }
    };
    let state = WatchState {
        hook: saved.or(file.read()?.hook),
        renew_after_ms: renew_after(args.ttl, &*clock),
        ..file.read()?
    };
    file.write(&state)?;
    let renewal = account.renewal(file)?;
    let started = renewal.start(&args.topic, &labels).await;
    started.map_err(|error| not_started(error, &args.topic))?;
    show(&account, console, args.json, &*clock)
}

/// Why Gmail does not watch the mailbox for a topic.
fn not_started(error: SyncError, topic: &str) -> anyhow::Error {
    if matches!(error, SyncError::Gmail(GmailError::NotFound)) {
        return BadSetting::new(format!("the topic {topic} (--topic) does not exist")).into();
    }
    anyhow::Error::new(error).context(format!(
        "gmail does not watch the mailbox for {topic} (--topic): is it a topic of the credentials' own project, and may \
         gmail-api-push@system.gserviceaccount.com publish to it?"
    ))
}

/// Renews the watch at Gmail while a watcher runs, which keeps the state to itself. OpenClaw and KiloClaw renew the
/// watch of a running `gog` by `start` and `renew`.
///
/// Fails with `in_use` if the command would change the state.
async fn renew_beside_watcher(
    account: &Account,
    in_use: StateError,
    changes_nothing: impl FnOnce(&WatchState) -> bool,
    console: &Console,
) -> anyhow::Result<()> {
    if !matches!(in_use, StateError::InUse { .. }) {
        return Err(in_use.into());
    }
    let state = StateFile::peek(&account.state_folder, &account.address)?.unwrap_or_default();
    if state.topic.is_empty() || !changes_nothing(&state) {
        return Err(in_use.into());
    }
    let renewed = account.gmail()?.watch(&state.topic, &state.labels).await;
    renewed.context("cannot renew the watch")?;
    console.error("note: renewed Gmail's watch. The running watcher renews it by itself, too");
    Ok(())
}

fn is_same_set(some: &[String], others: &[String]) -> bool {
    some.len() == others.len() && some.iter().all(|one| others.contains(one))
}

/// Resolves labels, given by id or by name, to their ids.
async fn label_ids(labels: &[String], account: &Account) -> anyhow::Result<Vec<String>> {
    if labels.iter().all(|label| label.trim().is_empty()) {
        return Ok(Vec::new());
    }
    let known = account.gmail()?.labels().await;
    let known = known.context("cannot list the labels of the mailbox")?;
    let id = |label: &String| {
        let by_id = known.iter().find(|one| one.id == *label);
        let by_name = || {
            known
                .iter()
                .find(|one| one.name.eq_ignore_ascii_case(label))
        };
        let found = by_id.or_else(by_name).map(|one| one.id.clone());
        found.with_context(|| format!("--label {label}: expected a label of the mailbox"))
    };
    let named = labels.iter().filter(|label| !label.trim().is_empty());
    named.map(id).collect()
}

async fn renew(
    args: &RenewArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let account = Account::new(&args.account, env, Arc::clone(&clock))?;
    account.confirm(console).await?;
    let file = match account.open_state() {
        Ok(file) => file,
        Err(in_use) => {
            let changes_nothing = |_: &WatchState| args.ttl.is_none();
            renew_beside_watcher(&account, in_use, changes_nothing, console).await?;
            return show(&account, console, args.json, &*clock);
        }
    };
    let state = file.read()?;
    anyhow::ensure!(
        !state.topic.is_empty(),
        "no watch was started for this account: run `postbell watch start` first"
    );
    if args.ttl.is_some() {
        let renew_after_ms = renew_after(args.ttl, &*clock);
        file.write(&WatchState {
            renew_after_ms,
            ..state
        })?;
    }
    let renewal = account.renewal(file)?;
    renewal.renew().await.context("cannot renew the watch")?;
    show(&account, console, args.json, &*clock)
}

async fn stop(
    args: &StopArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let address = account::address(&args.account, &env.load()?, env)?;
    if mailbox_of(&address) == address {
        stop_mailbox(args, console, env, clock).await?;
    } else {
        // The watch is the mailbox's, and goes on for its other webhooks.
        let folder = account::state_folder(&address, env)?;
        account::started_watch(&folder, &address)?;
        StateFile::open(&folder, &address)?.remove()?;
    }
    if args.json {
        console.data(&json!({ "stopped": true }).to_string())?;
    } else {
        console.data("stopped\ttrue")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops Gmail's watch, and deletes the states of all webhooks of the mailbox.
async fn stop_mailbox(
    args: &StopArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<()> {
    let account = match Account::new(&args.account, env, clock) {
        Err(error) if has_no_credentials(&error) => {
            return forget_mailbox(args, console, env)?.ok_or(error);
        }
        account => account?,
    };
    account.confirm(console).await?;
    let files = open_states(&account.state_folder, &account.mailbox)?;
    account
        .gmail()?
        .stop()
        .await
        .context("cannot stop the watch")?;
    for file in files {
        file.remove()?;
    }
    Ok(())
}

/// Whether credentials are neither named nor saved, as after `postbell setup --undo`.
fn has_no_credentials(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(ConfigError::Contradiction { .. })
    )
}

/// Deletes the states of a mailbox without asking Gmail. `None` if there is none.
fn forget_mailbox(args: &StopArgs, console: &Console, env: &Env) -> anyhow::Result<Option<()>> {
    let mailbox = account::address(&args.account, &env.load()?, env)?;
    let folder = account::state_folder(&mailbox, env)?;
    if StateFile::peek(&folder, &mailbox)?.is_none() {
        return Ok(None);
    }
    for file in open_states(&folder, &mailbox)? {
        file.remove()?;
    }
    console.error(
        "note: no credentials of this mailbox are known here, so Gmail was not asked: its watch ends by itself \
         within seven days",
    );
    Ok(Some(()))
}

/// Opens the states of all webhooks of a mailbox. Fails while a watcher is running.
fn open_states(folder: &Path, mailbox: &str) -> Result<Vec<StateFile>, StateError> {
    let mut files = vec![StateFile::open(folder, mailbox)?];
    for address in StateFile::accounts(folder) {
        if address != mailbox_of(&address) && mailbox_of(&address).eq_ignore_ascii_case(mailbox) {
            files.push(StateFile::open(folder, &address)?);
        }
    }
    Ok(files)
}

fn show(
    account: &Account,
    console: &Console,
    json: bool,
    clock: &dyn Clock,
) -> anyhow::Result<ExitCode> {
    let state = StateFile::peek(&account.state_folder, &account.address)?;
    status::Status::of(state.unwrap_or_default(), clock.now()).print(console, json)?;
    // The watch was started or renewed, whatever else keeps mail from the bot.
    Ok(ExitCode::SUCCESS)
}

fn renew_after(ttl: Option<Duration>, clock: &dyn Clock) -> i64 {
    ttl.map_or(0, |ttl| (clock.now() + ttl).as_millis())
}
