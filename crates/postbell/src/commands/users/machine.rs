//! `postbell users machine`

use std::process::ExitCode;

use postbell_protocol::api::operator::ShowMachine;
use secrecy::ExposeSecret;

use super::Context;
use crate::cli::UserArgs;
use crate::commands::operator::{Access, found, missing};

/// Prints what the controller of a user's machine needs.
pub(super) async fn run(args: &UserArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let console = context.console;
    context.check_url()?;
    let target = context.open(Access::Write)?;
    let user_id = args.user.clone();
    let Some(machine) = found(target.perform(ShowMachine { user_id }).await)? else {
        return Ok(missing(&args.user, console));
    };
    if args.json {
        console.data(&serde_json::to_string(&machine)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let platform = machine.platform_url.as_str().trim_end_matches('/');
    let (id, token) = (machine.sandbox_id, machine.gateway_token.expose_secret());
    console.data(&format!(
        "POSTBELL_CONTROLLER__PLATFORM_URL={platform}\nKILOCLAW_SANDBOX_ID={id}\nOPENCLAW_GATEWAY_TOKEN={token}"
    ))?;
    console.error(&format!(
        "Set these on the machine of {} for `postbell controller` (docs/controller.md). The token is a secret.",
        args.user
    ));
    Ok(ExitCode::SUCCESS)
}
