//! `postbell users invite`, `invitations` and `revoke-link`

use std::process::ExitCode;

use postbell_core::Timestamp;
use postbell_protocol::api::operator::{Invite, ListLinks, ListedLink, RevokeLink};
use secrecy::ExposeSecret;
use serde_json::json;

use super::{Context, new_user};
use crate::cli::{InvitationsArgs, InviteArgs, RevokeLinkArgs};
use crate::commands::operator::Access;
use crate::commands::table;

/// Prints a message that invites a user, who is added if necessary.
pub(super) async fn invite(args: &InviteArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let console = context.console;
    context.check_url()?;
    let target = context.open(Access::Create)?;
    let request = Invite {
        user: new_user(&args.user),
        valid_for_seconds: Some(args.valid_for.as_secs()),
    };
    let invitation = target.perform(request).await?;
    let expires_at = table::time(Timestamp::from_millis(invitation.expires_at));
    let message = invitation.message.expose_secret();
    if args.user.json {
        let shown = json!({
            "userId": invitation.user_id,
            "added": invitation.added,
            "url": invitation.url.expose_secret(),
            "expiresAt": expires_at,
            "message": message,
        });
        console.data(&shown.to_string())?;
    } else {
        console.data(message)?;
        let user = &invitation.user_id;
        let added = if invitation.added { "Added" } else { "Found" };
        console.error(&format!(
            "{added} {user}. Send the message to them: the link works once, until {expires_at}."
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists links that were not used.
pub(super) async fn list(
    args: &InvitationsArgs,
    context: &Context<'_>,
) -> anyhow::Result<ExitCode> {
    let console = context.console;
    let target = context.open(Access::Read)?;
    let request = ListLinks {
        after: args.after.map(postbell_core::LinkDigest::to_hex),
        limit: Some(args.limit),
    };
    let list = target.perform(request).await?;
    if args.json {
        console.data(&serde_json::to_string(&list.links)?)?;
    } else if list.links.is_empty() {
        console.error("There are no unused invitations or sign-in links.");
    } else {
        let head = ["user", "role", "ends", "id"];
        let rows: Vec<_> = std::iter::once(head.map(str::to_owned).to_vec())
            .chain(list.links.iter().map(row))
            .collect();
        console.data(&table::lay_out(&rows, console.columns()))?;
    }
    if let Some(next) = list.next {
        console.error(&format!("There are more: --after {next}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(link: &ListedLink) -> Vec<String> {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        or_none(&link.user_id),
        or_none(&link.role),
        table::time(Timestamp::from_millis(link.expires_at)),
        link.id.clone(),
    ]
}

/// Revokes a link.
pub(super) async fn revoke(
    args: &RevokeLinkArgs,
    context: &Context<'_>,
) -> anyhow::Result<ExitCode> {
    let console = context.console;
    let target = context.open(Access::Write)?;
    let id = args.id.to_hex();
    let removed = target.perform(RevokeLink { id }).await?.removed;
    if args.json {
        console.data(&json!({ "removed": removed }).to_string())?;
    } else if removed {
        console.data("Revoked the link.")?;
    } else {
        console.error("error: there is no such link: it was used, revoked or has ended");
    }
    Ok(if removed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
