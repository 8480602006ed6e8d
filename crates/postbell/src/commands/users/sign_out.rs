//! `postbell users sign-out`

use std::process::ExitCode;

use anyhow::Context;
use postbell_store::open_existing_users;
use serde_json::json;

use super::missing;
use crate::cli::SignOutArgs;
use crate::config::{Config, shown_store};
use crate::console::Console;

/// Ends sessions, and takes links back that were not used, beside a platform that may be running.
pub(super) async fn run(
    args: &SignOutArgs,
    console: &Console,
    config: &Config,
) -> anyhow::Result<ExitCode> {
    let store = &config.platform.store;
    let users = open_existing_users(store, config.platform.key_ring()?)
        .with_context(|| format!("platform.store {}", shown_store(store)))?;
    if let Some(user) = &args.user {
        if users.instances.get(user).await?.is_none() {
            return Ok(missing(user, console));
        }
        users.sign_ins.forget_user(user).await?;
    }
    if args.operators {
        users.sign_ins.forget_operators().await?;
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
