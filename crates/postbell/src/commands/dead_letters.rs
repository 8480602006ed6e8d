//! `postbell dead-letters`

use std::process::ExitCode;

use postbell_core::{Clock, DeadLetter, DeliveryLog, Replayed, UserId, printable};
use postbell_store::StoreOptions;
use serde::Serialize;

use super::{open_log, table};
use crate::cli::{DeadLettersArgs, DeadLettersCommand, Which};
use crate::config::Config;
use crate::console::Console;

/// Page size when all dead letters are selected.
const PAGE: usize = 500;

/// Result for each selected dead letter.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    /// Replayed or dropped.
    done: Vec<i64>,
    /// Not replayed, because the message cannot be parsed.
    malformed: Vec<i64>,
    /// Not found.
    missing: Vec<i64>,
}

/// Lists, replays or drops dead letters.
pub(crate) async fn run(
    command: &DeadLettersCommand,
    console: &Console,
    config: &Config,
    clock: &dyn Clock,
) -> anyhow::Result<ExitCode> {
    let options = match command {
        DeadLettersCommand::List { .. } => StoreOptions::read_only(),
        DeadLettersCommand::Replay(_) | DeadLettersCommand::Drop(_) => StoreOptions::read_write(),
    };
    let log = open_log(config, options)?;
    match command {
        DeadLettersCommand::List {
            user,
            limit,
            before,
            json,
        } => {
            let dead_letters = log.dead_letters(user.as_ref(), *before, *limit).await?;
            list(&dead_letters, *json, console)?;
            Ok(ExitCode::SUCCESS)
        }
        DeadLettersCommand::Replay(args) => {
            let mut outcome = Outcome::default();
            for number in selected(&*log, &args.which).await? {
                match log.replay(number, clock.now()).await? {
                    Replayed::Queued => outcome.done.push(number),
                    Replayed::Unparseable => outcome.malformed.push(number),
                    Replayed::Missing => outcome.missing.push(number),
                }
            }
            report(&outcome, "Replayed", args, console)
        }
        DeadLettersCommand::Drop(args) => {
            let mut outcome = Outcome::default();
            for number in selected(&*log, &args.which).await? {
                if log.drop_dead_letter(number).await? {
                    outcome.done.push(number);
                } else {
                    outcome.missing.push(number);
                }
            }
            report(&outcome, "Dropped", args, console)
        }
    }
}

fn list(dead_letters: &[DeadLetter], json: bool, console: &Console) -> anyhow::Result<()> {
    if json {
        console.data(&serde_json::to_string(dead_letters)?)?;
    } else if dead_letters.is_empty() {
        console.error("There are no dead letters.");
    } else {
        let head = ["number", "since", "user", "reason", "history id", "cause"];
        let rows: Vec<_> = std::iter::once(head.map(str::to_owned).to_vec())
            .chain(dead_letters.iter().map(row))
            .collect();
        console.data(&table::lay_out(&rows, console.columns()))?;
    }
    Ok(())
}

fn row(dead_letter: &DeadLetter) -> Vec<String> {
    vec![
        dead_letter.id.to_string(),
        table::time(dead_letter.dead_lettered_at),
        dead_letter.user.to_string(),
        dead_letter.reason.as_str().to_owned(),
        dead_letter
            .history_id
            .map_or_else(|| "-".to_owned(), |id| id.to_string()),
        printable(&dead_letter.cause),
    ]
}

/// Returns the numbers of the selected dead letters, oldest first.
async fn selected(log: &dyn DeliveryLog, which: &Which) -> anyhow::Result<Vec<i64>> {
    let mut numbers = which.numbers.clone();
    if which.all || which.user.is_some() {
        numbers = all(log, which.user.as_ref()).await?;
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

async fn all(log: &dyn DeliveryLog, user: Option<&UserId>) -> anyhow::Result<Vec<i64>> {
    let mut numbers = Vec::new();
    loop {
        let before = numbers.last().copied();
        let page = log.dead_letters(user, before, PAGE).await?;
        numbers.extend(page.iter().map(|dead_letter| dead_letter.id));
        if page.len() < PAGE {
            return Ok(numbers);
        }
    }
}

/// Prints the result. Fails if a number given on the command line was not processed.
fn report(
    outcome: &Outcome,
    verb: &str,
    args: &DeadLettersArgs,
    console: &Console,
) -> anyhow::Result<ExitCode> {
    if args.json {
        console.data(&serde_json::to_string(outcome)?)?;
    } else {
        let count = outcome.done.len();
        console.data(&format!(
            "{verb} {count} dead letter{}.",
            if count == 1 { "" } else { "s" }
        ))?;
    }
    for number in &outcome.malformed {
        console.error(&format!(
            "{number} cannot be parsed and so cannot be delivered; `postbell dead-letters drop {number}` deletes it"
        ));
    }
    for number in &outcome.missing {
        console.error(&format!(
            "there is no dead letter {number}; `postbell dead-letters list` lists them"
        ));
    }
    let failed = outcome.malformed.len() + outcome.missing.len();
    let named = !args.which.numbers.is_empty();
    Ok(if named && failed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
