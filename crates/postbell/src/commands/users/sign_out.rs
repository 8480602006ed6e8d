//! `postbell users sign-out`

use std::process::ExitCode;

use postbell_protocol::api::operator::SignOut;
use serde_json::json;

use super::{Context, found, missing};
use crate::cli::SignOutArgs;
use crate::commands::operator::Access;

/// Ends sessions and revokes unused links. The platform may be running.
pub(super) async fn run(args: &SignOutArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let console = context.console;
    let target = context.open(Access::Write)?;
    let request = SignOut {
        user_id: args.user.clone(),
        operators: args.operators,
    };
    if found(target.perform(request).await)?.is_none() {
        let user = args.user.as_ref();
        return Ok(user.map_or(ExitCode::FAILURE, |user| missing(user, console)));
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
