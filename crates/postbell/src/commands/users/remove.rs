//! `postbell users remove`

use std::io::{IsTerminal as _, stdin};
use std::process::ExitCode;

use postbell_protocol::api::operator::{GooglePermission, RemoveUser};
use postbell_setup::terminal::{Task, TerminalUi, UiOptions};
use postbell_setup::{Question, Ui as _};

use super::Context;
use crate::cli::{RemoveArgs, UserArgs};
use crate::commands::operator::{Access, missing};
use crate::commands::setup::ui_options;

/// Removes a user, and says what became of the permission at Google. Asks in a terminal.
pub(super) async fn run(args: &RemoveArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let RemoveArgs { user: args, yes } = args;
    let console = context.console;
    let target = context.open(Access::WriteBoth)?;
    let user_id = args.user.clone();
    let asks = !yes && !args.json && console.is_terminal() && stdin().is_terminal();
    if asks && !is_confirmed(args, context).await {
        console.error("Nothing was removed.");
        return Ok(ExitCode::FAILURE);
    }
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

async fn is_confirmed(args: &UserArgs, context: &Context<'_>) -> bool {
    let options = UiOptions {
        interactive: true,
        ..ui_options(*context.console, Task::Undo, context.env)
    };
    let ui = TerminalUi::new(Box::new(*context.console), options);
    let question = format!(
        "Remove {} with the stored credentials and notifications, and revoke the permission at Google?",
        args.user
    );
    let confirmed = ui.confirm(&Question::new(question, "--yes")).await;
    ui.restore();
    // Cancelled is not confirmed.
    confirmed.unwrap_or(false)
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
            "Google has not taken back the permission. If the platform could read the credentials, it tries again until Google \
             does. The owner of the mailbox can also remove the permission at https://myaccount.google.com/connections. \
             Gmail's watch ends within a week by itself."
        }
        GooglePermission::OwnProject => {
            "The account was connected with a project of the user's own, so its permission and its watch stay: \
             `postbell setup --undo` there ends them, or the owner at https://myaccount.google.com/connections."
        }
    }
}
