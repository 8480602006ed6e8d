//! `postbell deliveries`

use std::process::ExitCode;
use std::sync::Arc;

use postbell_core::{Clock, DeliveryRecord, Outcome, printable};
use postbell_protocol::api::operator::{ListDeliveries, ShowUser};

use super::operator::{Access, Target, found, missing};
use super::table;
use crate::cli::DeliveriesArgs;
use crate::config::Env;
use crate::console::Console;

/// Prints the latest deliveries of a user, newest first.
pub(crate) async fn run(
    args: &DeliveriesArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let user = &args.user;
    let target = Target::open(&args.remote, Access::ReadQueue, env, clock)?;
    let user_id = user.clone();
    let deliveries = match found(target.perform(ListDeliveries { user_id }).await)? {
        Some(list) => list.deliveries,
        None if target.knows_users() => return Ok(missing(user, console)),
        None => Vec::new(),
    };
    if args.json {
        console.data(&serde_json::to_string(&deliveries)?)?;
    } else if deliveries.is_empty() {
        console.error(&format!("{user} has no deliveries yet."));
    } else {
        let head = [
            "ended",
            "outcome",
            "history id",
            "attempt",
            "latency",
            "trace",
            "cause",
        ];
        let rows = deliveries.iter().map(row);
        let rows: Vec<_> = std::iter::once(head.map(str::to_owned).to_vec())
            .chain(rows)
            .collect();
        console.data(&table::lay_out(&rows, console.columns()))?;
    }
    if !args.json && target.knows_users() {
        let user_id = user.clone();
        let shown = found(target.perform(ShowUser { user_id }).await)?;
        let further = shown.map_or_else(Vec::new, |user| user.further_accounts);
        let ids: Vec<_> = further.iter().map(|account| &*account.user_id).collect();
        if !ids.is_empty() {
            console.error(&format!(
                "Further accounts have deliveries of their own: {}",
                ids.join(", ")
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(delivery: &DeliveryRecord) -> Vec<String> {
    let latency = delivery.settled_at - delivery.accepted_at;
    vec![
        table::time(delivery.settled_at),
        match delivery.outcome {
            // Its name on the wire is older.
            Outcome::DeadLettered => "dead letter".to_owned(),
            outcome => outcome.as_str().to_owned(),
        },
        delivery.history_id.to_string(),
        (delivery.attempt + 1).to_string(),
        format!("{:.3} s", latency.as_secs_f64()),
        delivery
            .trace_id
            .map_or_else(String::new, |id| id.to_string()),
        printable(delivery.cause.as_deref().unwrap_or_default()),
    ]
}
