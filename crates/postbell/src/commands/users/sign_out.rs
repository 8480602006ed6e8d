//! `postbell users sign-out`

use std::process::ExitCode;

use postbell_store::StoreOptions;
use serde_json::json;

use super::missing;
use crate::cli::SignOutArgs;
use crate::commands::open_users;
use crate::config::Config;
use crate::console::Console;

/// Ends sessions and revokes unused links. The platform may be running.
pub(super) async fn run(
    args: &SignOutArgs,
    console: &Console,
    config: &Config,
) -> anyhow::Result<ExitCode> {
    let users = open_users(config, StoreOptions::read_write())?;
    if let Some(user) = &args.user {
        if users.users().get(user).await?.is_none() {
            return Ok(missing(user, console));
        }
        users.sessions().revoke_user(user).await?;
    }
    if args.operators {
        users.sessions().revoke_operators().await?;
    }
    let who = match (&args.user, args.operators) {
        (Some(user), true) => format!("{user} and all operators"),
        (Some(user), false) => user.to_string(),
        (None, _) => "all operators".to_owned(),
    };
    if args.json {
        console.data(&json!({ "signedOut": who }).to_string())?;
    } else {
        console.data(&format!("Signed out: {who}."))?;
    }
    Ok(ExitCode::SUCCESS)
}
