//! `postbell deliveries`

use std::process::ExitCode;

use postbell_core::{DeliveryRecord, UserId, printable};
use postbell_store::StoreOptions;

use super::users::missing;
use super::{open_log, open_users, table};
use crate::config::Config;
use crate::console::Console;

/// Prints the latest deliveries of a user, newest first.
pub(crate) async fn run(
    user: &UserId,
    json: bool,
    console: &Console,
    config: &Config,
) -> anyhow::Result<ExitCode> {
    let deliveries = open_log(config, StoreOptions::read_only())?
        .deliveries(user)
        .await?;
    if deliveries.is_empty() && !is_known(user, config).await? {
        return Ok(missing(user, console));
    }
    if json {
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
    Ok(ExitCode::SUCCESS)
}

/// Whether there is such a user, as far as this configuration can tell: a relay alone knows none.
async fn is_known(user: &UserId, config: &Config) -> anyhow::Result<bool> {
    if !config.platform.is_configured() {
        return Ok(true);
    }
    let users = open_users(config, StoreOptions::read_only())?.users();
    Ok(users.get(user).await?.is_some())
}

fn row(delivery: &DeliveryRecord) -> Vec<String> {
    let latency = delivery.settled_at - delivery.accepted_at;
    vec![
        table::time(delivery.settled_at),
        delivery.outcome.as_str().to_owned(),
        delivery.history_id.to_string(),
        (delivery.attempt + 1).to_string(),
        format!("{:.3} s", latency.as_secs_f64()),
        delivery
            .trace_id
            .map_or_else(String::new, |id| id.to_string()),
        printable(delivery.cause.as_deref().unwrap_or_default()),
    ]
}
