//! `postbell dead-letters`

use std::process::ExitCode;
use std::sync::Arc;

use postbell_core::{Clock, DeadLetter, UserId, printable};
use postbell_protocol::api::operator::{
    DeadLetterOutcome, DeadLetterSelection, DropDeadLetters, ListDeadLetters, ReplayDeadLetters,
};

use super::operator::{Access, Target, is_unknown, missing};
use super::table;
use crate::cli::{DeadLettersArgs, DeadLettersCommand, DeadLettersCommandArgs, Which};
use crate::config::Env;
use crate::console::Console;

/// The greatest page of a platform.
const PAGE: usize = 1000;

/// Lists, replays or drops dead letters.
pub(crate) async fn run(
    args: &DeadLettersCommandArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let open = |access| Target::open(&args.remote, access, env, Arc::clone(&clock));
    match &args.command {
        DeadLettersCommand::List {
            user,
            limit,
            before,
            json,
        } => {
            let target = open(Access::ReadQueue)?;
            let dead_letters = read(&target, user.as_ref(), *before, *limit).await?;
            if let Some(user) = user
                && dead_letters.is_empty()
                && is_unknown(&target, user).await?
            {
                return Ok(missing(user, console));
            }
            list(&dead_letters, *json, console)?;
            Ok(ExitCode::SUCCESS)
        }
        DeadLettersCommand::Replay(args) => {
            let which = selection(&args.which);
            let target = open(Access::WriteQueue)?;
            let outcome = target.perform(ReplayDeadLetters { which }).await?;
            report(&target, &outcome, "Replayed", args, console).await
        }
        DeadLettersCommand::Drop(args) => {
            let which = selection(&args.which);
            let target = open(Access::WriteQueue)?;
            let outcome = target.perform(DropDeadLetters { which }).await?;
            report(&target, &outcome, "Dropped", args, console).await
        }
    }
}

fn selection(which: &Which) -> DeadLetterSelection {
    DeadLetterSelection {
        numbers: which.numbers.clone(),
        user_id: which.user.clone(),
        all: which.all,
    }
}

async fn read(
    target: &Target,
    user: Option<&UserId>,
    mut before: Option<i64>,
    limit: usize,
) -> anyhow::Result<Vec<DeadLetter>> {
    let mut all = Vec::new();
    loop {
        let size = PAGE.min(limit - all.len());
        let request = ListDeadLetters {
            user_id: user.cloned(),
            before,
            limit: Some(size),
        };
        let page = target.perform(request).await?.dead_letters;
        let is_last = page.len() < size;
        all.extend(page);
        if is_last || all.len() >= limit {
            return Ok(all);
        }
        before = all.last().map(|last| last.id);
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

/// Prints the result. Fails if a number given on the command line was not processed, or the user is unknown.
async fn report(
    target: &Target,
    outcome: &DeadLetterOutcome,
    verb: &str,
    args: &DeadLettersArgs,
    console: &Console,
) -> anyhow::Result<ExitCode> {
    if let Some(user) = &args.which.user
        && outcome.done.is_empty()
        && is_unknown(target, user).await?
    {
        return Ok(missing(user, console));
    }
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
