//! `postbell users link`

use std::process::ExitCode;

use anyhow::Context;
use postbell_core::{Clock, Principal};
use postbell_store::open_existing_users;
use secrecy::ExposeSecret;
use serde_json::json;

use super::{missing, table};
use crate::cli::LinkArgs;
use crate::config::{Config, shown_store};
use crate::console::Console;
use crate::wiring::sign_in_links;

/// Prints a link that signs somebody in, once, beside a platform that may be running.
pub(super) async fn run(
    args: &LinkArgs,
    console: &Console,
    config: &Config,
    clock: &dyn Clock,
) -> anyhow::Result<ExitCode> {
    let store = &config.platform.store;
    let users = open_existing_users(store, config.platform.key_ring()?)
        .with_context(|| format!("platform.store {}", shown_store(store)))?;
    if let Some(user) = &args.user
        && users.instances.get(user).await?.is_none()
    {
        return Ok(missing(user, console));
    }
    let links = sign_in_links(&config.platform, users.sign_ins)?;
    let visitor = Principal {
        user: args.user.clone(),
        operator: args.operator.then(|| links.operator_name()),
    };
    let now = clock.now();
    let link = links.issue(&visitor, args.valid_for, now).await?;
    let expires_at = table::time(now + args.valid_for);
    let link = link.expose_secret();
    if args.json {
        let shown = json!({ "url": link, "expiresAt": expires_at });
        console.data(&shown.to_string())?;
    } else {
        console.data(link)?;
        console.error(&format!("It is good once, until {expires_at}."));
    }
    Ok(ExitCode::SUCCESS)
}
