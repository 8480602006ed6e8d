//! `postbell users remove`

use std::process::ExitCode;

use postbell_protocol::api::operator::{GooglePermission, RemoveUser};

use super::Context;
use crate::cli::UserArgs;
use crate::commands::operator::{Access, missing};

/// Removes a user, and says what became of the permission at Google.
pub(super) async fn run(args: &UserArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let console = context.console;
    let target = context.open(Access::WriteBoth)?;
    let user_id = args.user.clone();
    let answer = target.perform(RemoveUser { user_id }).await?;
    if args.json {
        console.data(&serde_json::to_string(&answer)?)?;
    } else if answer.removed {
        console.data(&format!("Removed {}.", args.user))?;
    }
    if let Some(permission) = answer.google_permission.filter(|_| !args.json) {
        console.error(outcome(permission));
    }
    Ok(if answer.removed {
        ExitCode::SUCCESS
    } else {
        missing(&args.user, console)
    })
}

const fn outcome(permission: GooglePermission) -> &'static str {
    match permission {
        GooglePermission::Revoked => {
            "Google has taken back the permission to read the mailbox, and its watch has ended."
        }
        GooglePermission::Shared => {
            "The permission at Google stays, because another user has the same mailbox."
        }
        GooglePermission::NotRevoked => {
            "Google could not take back the permission: the owner of the mailbox removes it at \
             https://myaccount.google.com/connections. Gmail's watch ends within a week by itself."
        }
        GooglePermission::OwnProject => {
            "The account was connected with a project of the user's own, so its permission and its watch stay: \
             `postbell setup --undo` there ends them, or the owner at https://myaccount.google.com/connections."
        }
    }
}
