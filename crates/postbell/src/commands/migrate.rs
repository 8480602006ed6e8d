//! `postbell migrate`

use std::process::ExitCode;

use anyhow::Context;
use postbell_store::{OpenError, Store};
use serde_json::json;

use crate::config::Config;
use crate::console::Console;

/// Brings the stores of the configuration to the schema of this version. At least one must exist.
pub(crate) fn run(json: bool, console: &Console, config: &Config) -> anyhow::Result<ExitCode> {
    let (inbox, users) = (&config.relay.inbox, &config.platform.store);
    let mut stores = vec![("relay.inbox", inbox)];
    if users != inbox {
        stores.push(("platform.store", users));
    }
    let mut migrated = Vec::new();
    let mut missing = None;
    for (key, url) in stores {
        match Store::migrate(url.expose()) {
            Ok(versions) => migrated.push((url.to_string(), versions)),
            Err(error @ OpenError::Missing) => missing = Some((key, url, error)),
            Err(error) => return Err(error).with_context(|| format!("{key} {url}")),
        }
    }
    if let (true, Some((key, url, error))) = (migrated.is_empty(), missing) {
        return Err(error).with_context(|| format!("{key} {url}"));
    }
    if json {
        let shown = migrated.iter().map(
            |(store, versions)| json!({ "store": store, "from": versions.from, "to": versions.to }),
        );
        console.data(&shown.collect::<serde_json::Value>().to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    for (store, versions) in migrated {
        console.text(&if versions.from == versions.to {
            format!("{store} already has schema version {}.", versions.to)
        } else {
            format!(
                "Migrated {store} from schema version {} to {}.",
                versions.from, versions.to
            )
        })?;
    }
    Ok(ExitCode::SUCCESS)
}
