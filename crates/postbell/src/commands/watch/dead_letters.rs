//! `postbell watch dead-letters`: the mails that were set aside.

use std::path::PathBuf;
use std::process::ExitCode;

use postbell_core::{Timestamp, printable};
use postbell_protocol::watch_state::{DeadLetter, Stage, StateFile, WatchState};
use postbell_watcher::{DeadLetterAction, DeadLetterRequest, Requested};
use serde::Serialize;
use serde_json::json;

use super::super::table;
use super::account;
use crate::cli::{AccountArgs, DeadMailArgs, WatchDeadLettersCommand};
use crate::config::Env;
use crate::console::Console;

/// How a person finds a mail by its id.
const IN_GMAIL: &str = "In Gmail: https://mail.google.com/mail/u/0/#all/ID";

/// The columns of the list.
const HEAD: [&str; 6] = ["id", "since", "stage", "tries", "history id", "reason"];

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
            let addresses = account::webhooks(&args.account, &env.load()?, env)?;
            let mailboxes = addresses.into_iter().map(|it| Mailbox::open(it, env));
            let mailboxes: Vec<_> = mailboxes.collect::<anyhow::Result<_>>()?;
            if let [only] = &mailboxes[..] {
                list(&only.state.dead_letters, args.json, console)?;
            } else {
                list_all(&mailboxes, args.json, console)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        WatchDeadLettersCommand::Replay(args) => {
            let mailbox = Mailbox::only(&args.account, env)?;
            let outcome = mailbox.change(args, DeadLetterAction::Replay).await?;
            report(&outcome, "Replayed", args.json, console)
        }
        WatchDeadLettersCommand::Drop(args) => {
            let mailbox = Mailbox::only(&args.account, env)?;
            let outcome = mailbox.change(args, DeadLetterAction::Drop).await?;
            report(&outcome, "Dropped", args.json, console)
        }
    }
}

impl Mailbox {
    fn only(args: &AccountArgs, env: &Env) -> anyhow::Result<Self> {
        Self::open(account::address(args, &env.load()?, env)?, env)
    }

    fn open(address: String, env: &Env) -> anyhow::Result<Self> {
        let folder = account::state_folder(&address, env)?;
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
        let rows: Vec<_> = std::iter::once(HEAD.map(str::to_owned).to_vec())
            .chain(letters.iter().map(row))
            .collect();
        console.data(&table::lay_out(&rows, console.columns()))?;
        console.error(IN_GMAIL);
    }
    Ok(())
}

/// Lists the mails of several webhooks, each with the address of its webhook.
fn list_all(mailboxes: &[Mailbox], json: bool, console: &Console) -> anyhow::Result<()> {
    let letters = mailboxes.iter().flat_map(|mailbox| {
        let letters = mailbox.state.dead_letters.iter();
        letters.map(|letter| (&mailbox.address, letter))
    });
    if json {
        let of_webhook = |(address, letter): (&String, &DeadLetter)| {
            let mut letter = json!(letter);
            letter["account"] = json!(address);
            letter
        };
        let letters: Vec<_> = letters.map(of_webhook).collect();
        return Ok(console.data(&json!(letters).to_string())?);
    }
    let with = |address: &str, row: Vec<String>| [vec![printable(address)], row].concat();
    let head = with("account", HEAD.map(str::to_owned).to_vec());
    let rows = letters.map(|(address, letter)| with(address, row(letter)));
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    if rows.len() == 1 {
        console.error("No mail was set aside.");
    } else {
        console.data(&table::lay_out(&rows, console.columns()))?;
        console.error(IN_GMAIL);
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
