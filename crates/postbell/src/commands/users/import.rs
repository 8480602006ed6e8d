//! `postbell users import`

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use postbell_core::printable;
use postbell_protocol::api::operator::{ImportOutcome, ImportReport, ImportUsers, ImportedLine};

use super::Context;
use crate::cli::ImportArgs;
use crate::commands::operator::Access;
use crate::commands::table;
use crate::console::Console;

/// The largest file that a platform accepts.
const LONGEST: u64 = 2 * 1024 * 1024;

/// Adds the users of a CSV file. Fails if a line is refused.
pub(super) async fn run(args: &ImportArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let csv = read(&args.file)?;
    let access = if args.dry_run {
        Access::Read
    } else {
        Access::Create
    };
    let target = context.open(access)?;
    let dry_run = args.dry_run;
    let report = target.perform(ImportUsers { csv, dry_run }).await?;
    if args.json {
        context.console.data(&serde_json::to_string(&report)?)?;
    } else {
        show(&report, dry_run, context.console)?;
    }
    Ok(if report.refused == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(super) fn read(file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(LONGEST + 1).read_to_string(&mut text)
    } else {
        let file = std::fs::File::open(file).with_context(|| format!("{shown}"))?;
        file.take(LONGEST + 1).read_to_string(&mut text)
    };
    read.with_context(|| format!("{shown}"))?;
    if text.len() as u64 > LONGEST {
        bail!("{shown} has more than 2 MiB: split it");
    }
    Ok(text)
}

fn show(report: &ImportReport, dry_run: bool, console: &Console) -> anyhow::Result<()> {
    let is_refused = |line: &&ImportedLine| line.outcome == ImportOutcome::Refused;
    let refused = report.lines.iter().filter(is_refused);
    let rows: Vec<_> = refused.map(row).collect();
    if !rows.is_empty() {
        let head = ["line", "user", "problem"].map(str::to_owned).to_vec();
        let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
        console.data(&table::lay_out(&rows, console.columns()))?;
    }
    let ImportReport {
        added,
        existing,
        refused,
        ..
    } = report;
    let verb = if dry_run { "would be added" } else { "added" };
    console.error(&format!(
        "{added} {verb}, {existing} existed already, {refused} refused."
    ));
    Ok(())
}

fn row(line: &ImportedLine) -> Vec<String> {
    let problem = line.problem.as_deref().unwrap_or("-");
    vec![
        line.line.to_string(),
        printable(&line.user_id),
        printable(problem),
    ]
}
