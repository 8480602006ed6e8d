//! `postbell watch dead-letters`: the mails that were set aside.

use std::path::PathBuf;
use std::process::ExitCode;

use postbell_core::{Timestamp, printable};
use postbell_protocol::gog_dirs::GogDirs;
use postbell_protocol::watch_state::{DeadLetter, Stage, StateFile, WatchState};
use postbell_watcher::{DeadLetterAction, DeadLetterRequest, Requested};
use serde::Serialize;
use serde_json::json;

use super::super::table;
use super::account;
use crate::cli::{AccountArgs, DeadMailArgs, WatchDeadLettersCommand};
use crate::config::Env;
use crate::console::Console;

/// The state of a mailbox's watch, and its folder.
struct Mailbox {
    address: String,
    folder: PathBuf,
    state: WatchState,
}

/// What became of the chosen mails.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    /// Replayed or dropped.
    done: Vec<String>,
    /// Not found.
    missing: Vec<String>,
    /// Whether the running watcher has not carried it out yet.
    pending: bool,
}

/// Lists, replays or drops the mails that were set aside. A watcher may be running.
pub(super) async fn run(
    command: &WatchDeadLettersCommand,
    console: &Console,
    env: &Env,
) -> anyhow::Result<ExitCode> {
    match command {
        WatchDeadLettersCommand::List(args) => {
            let mailbox = Mailbox::open(&args.account, env)?;
            list(&mailbox.state.dead_letters, args.json, console)?;
            Ok(ExitCode::SUCCESS)
        }
        WatchDeadLettersCommand::Replay(args) => {
            let mailbox = Mailbox::open(&args.account, env)?;
            let outcome = mailbox.change(args, DeadLetterAction::Replay).await?;
            report(&outcome, "Replayed", args.json, console)
        }
        WatchDeadLettersCommand::Drop(args) => {
            let mailbox = Mailbox::open(&args.account, env)?;
            let outcome = mailbox.change(args, DeadLetterAction::Drop).await?;
            report(&outcome, "Dropped", args.json, console)
        }
    }
}

impl Mailbox {
    fn open(args: &AccountArgs, env: &Env) -> anyhow::Result<Self> {
        let address = account::address(args, env)?;
        let folder = GogDirs::from_variables(|name| env.variable(name))?.watch_state(&address);
        let state = StateFile::peek(&folder, &address)?.unwrap_or_default();
        Ok(Self {
            address,
            folder,
            state,
        })
    }

    async fn change(
        &self,
        args: &DeadMailArgs,
        action: DeadLetterAction,
    ) -> anyhow::Result<Outcome> {
        let letters = self.state.dead_letters.iter().map(|letter| &letter.id);
        let failing = self.state.failing.iter().map(|failing| &failing.id);
        let known: Vec<_> = letters.chain(failing).cloned().collect();
        let chosen = if args.which.all {
            known.clone()
        } else {
            args.which.ids.clone()
        };
        let (done, missing): (Vec<_>, Vec<_>) =
            chosen.into_iter().partition(|id| known.contains(id));
        let mut outcome = Outcome {
            done,
            missing,
            pending: false,
        };
        if outcome.done.is_empty() {
            return Ok(outcome);
        }
        let request = DeadLetterRequest {
            action,
            ids: Some(outcome.done.clone()),
        };
        let requested = request.carry_out(&self.folder, &self.address).await?;
        outcome.pending = requested == Requested::Pending;
        Ok(outcome)
    }
}

fn list(letters: &[DeadLetter], json: bool, console: &Console) -> anyhow::Result<()> {
    if json {
        console.data(&json!(letters).to_string())?;
    } else if letters.is_empty() {
        console.error("No mail was set aside.");
    } else {
        let head = ["id", "since", "stage", "tries", "history id", "reason"];
        let rows: Vec<_> = std::iter::once(head.map(str::to_owned).to_vec())
            .chain(letters.iter().map(row))
            .collect();
        console.data(&table::lay_out(&rows, console.columns()))?;
    }
    Ok(())
}

fn row(letter: &DeadLetter) -> Vec<String> {
    let stage = match letter.stage {
        Stage::Webhook => "webhook",
        Stage::Gmail => "gmail",
    };
    vec![
        printable(&letter.id),
        table::time(Timestamp::from_millis(letter.at_ms)),
        stage.to_owned(),
        letter.tries.to_string(),
        letter.history_id.to_string(),
        printable(&letter.reason),
    ]
}

/// Prints the result. Fails if an id given on the command line was not found.
fn report(
    outcome: &Outcome,
    verb: &str,
    json: bool,
    console: &Console,
) -> anyhow::Result<ExitCode> {
    if json {
        console.data(&serde_json::to_string(outcome)?)?;
    } else {
        let count = outcome.done.len();
        let plural = if count == 1 { "" } else { "s" };
        console.data(&format!("{verb} {count} mail{plural}."))?;
    }
    if outcome.pending {
        console.error("note: the running watcher has not carried this out yet, and will");
    }
    for id in &outcome.missing {
        console.error(&format!(
            "no mail {} was set aside; `postbell watch dead-letters list` lists them",
            printable(id)
        ));
    }
    Ok(if outcome.missing.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
