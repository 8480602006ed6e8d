//! `postbell audit`

use std::process::ExitCode;
use std::sync::Arc;

use postbell_core::{Clock, Timestamp, printable};
use postbell_protocol::api::operator::{AuditRecord, ListAudit};

use super::operator::{Access, Target, is_unknown, missing};
use super::table;
use crate::cli::AuditArgs;
use crate::config::Env;
use crate::console::Console;

/// The greatest page of a platform.
const PAGE: usize = 1000;

/// Prints entries of the audit log, the latest first.
pub(crate) async fn run(
    args: &AuditArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let access = if args.relay {
        Access::ReadQueue
    } else {
        Access::Read
    };
    let target = Target::open(&args.remote, access, env, clock)?;
    let request = ListAudit {
        user_id: args.user.clone(),
        before: args.before,
        limit: Some(args.limit),
        relay: args.relay,
    };
    let entries = target.perform(request).await?.entries;
    if args.json {
        console.data(&serde_json::to_string(&entries)?)?;
    } else if let Some(user) = &args.user
        && entries.is_empty()
        && is_unknown(&target, user).await?
    {
        return Ok(missing(user, console));
    } else if entries.is_empty() {
        console.error("There are no entries.");
    } else {
        let head = ["number", "when", "who", "from", "what", "whom", "detail"];
        let rows: Vec<_> = std::iter::once(head.map(str::to_owned).to_vec())
            .chain(entries.iter().map(row))
            .collect();
        console.data(&table::lay_out(&rows, console.columns()))?;
    }
    let is_full = entries.len() >= args.limit.min(PAGE);
    // The numbers rise by one, and end at 1.
    if let Some(last) = entries.last().filter(|last| is_full && last.number > 1) {
        console.error(&format!(
            "There may be more entries: --before {}",
            last.number
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(entry: &AuditRecord) -> Vec<String> {
    vec![
        entry.number.to_string(),
        table::time(Timestamp::from_millis(entry.at)),
        printable(&entry.actor),
        printable(&entry.origin),
        printable(&entry.action),
        entry.user_id.clone().unwrap_or_else(|| "-".to_owned()),
        printable(&entry.detail),
    ]
}
