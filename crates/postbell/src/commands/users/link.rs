//! `postbell users link`

use std::process::ExitCode;

use postbell_core::{Clock, Principal};
use postbell_store::StoreOptions;
use secrecy::ExposeSecret;
use serde_json::json;

use super::{missing, table};
use crate::cli::LinkArgs;
use crate::commands::open_users;
use crate::config::Config;
use crate::console::Console;
use crate::wiring::sign_in_links;

/// Prints a one-time sign-in link. The platform may be running.
pub(super) async fn run(
    args: &LinkArgs,
    console: &Console,
    config: &Config,
    clock: &dyn Clock,
) -> anyhow::Result<ExitCode> {
    let users = open_users(config, StoreOptions::read_write())?;
    if let Some(user) = &args.user
        && users.users().get(user).await?.is_none()
    {
        return Ok(missing(user, console));
    }
    let links = sign_in_links(&config.platform, users.sessions())?;
    let principal = Principal {
        user: args.user.clone(),
        operator: args.operator.then(|| links.operator_name()),
        is_viewer: false,
    };
    let now = clock.now();
    let link = links.issue(&principal, args.valid_for, now).await?;
    let expires_at = table::time(now + args.valid_for);
    let link = link.expose_secret();
    if args.json {
        let shown = json!({ "url": link, "expiresAt": expires_at });
        console.data(&shown.to_string())?;
    } else {
        console.data(link)?;
        console.error(&format!("Valid once, until {expires_at}."));
    }
    Ok(ExitCode::SUCCESS)
}
