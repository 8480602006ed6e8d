//! `postbell users link`

use std::process::ExitCode;

use anyhow::bail;
use postbell_core::{AuditedPorts, Principal, Timestamp};
use postbell_protocol::api::operator::{IssueLink, IssuedLink};
use postbell_store::StoreOptions;
use secrecy::ExposeSecret;
use serde_json::json;

use super::{Context, found, missing, table};
use crate::cli::LinkArgs;
use crate::commands::open_users;
use crate::commands::operator::{Access, actor};
use crate::wiring::sign_in_links;

/// Prints a one-time sign-in link. The platform may be running.
pub(super) async fn run(args: &LinkArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let issued = match &args.user {
        Some(user) if !args.operator => {
            context.check_url()?;
            let request = IssueLink {
                user_id: user.clone(),
                valid_for_seconds: Some(args.valid_for.as_secs()),
            };
            let target = context.open(Access::Write)?;
            found(target.perform(request).await)?
        }
        _ => for_operator(args, context).await?,
    };
    let (Some(issued), console) = (issued, context.console) else {
        return Ok(args
            .user
            .as_ref()
            .map_or(ExitCode::FAILURE, |user| missing(user, context.console)));
    };
    let link = issued.url.expose_secret();
    let expires_at = table::time(Timestamp::from_millis(issued.expires_at));
    if args.json {
        let shown = json!({ "url": link, "expiresAt": expires_at });
        console.data(&shown.to_string())?;
    } else {
        console.data(link)?;
        console.error(&format!("Valid once, until {expires_at}."));
    }
    Ok(ExitCode::SUCCESS)
}

/// Issues a link for an operator: only beside the store, so that no API key makes operators.
async fn for_operator(
    args: &LinkArgs,
    context: &Context<'_>,
) -> anyhow::Result<Option<IssuedLink>> {
    if context.remote.platform.is_some() {
        bail!("operators are made beside the platform's store only: run this command there");
    }
    let config = context.env.load()?;
    let users = open_users(&config, StoreOptions::read_write())?;
    if let Some(user) = &args.user {
        let Some(record) = users.users().get(user).await? else {
            return Ok(None);
        };
        if let Some(owner) = record.owner {
            bail!("{user} is a further account of {owner}: name {owner}");
        }
    }
    let by = actor(&*context.clock);
    let links = sign_in_links(&config.platform, AuditedPorts::sessions(&users, &by))?;
    let principal = Principal {
        user: args.user.clone(),
        operator: Some(links.operator_name()),
        is_viewer: args.viewer,
    };
    let url = links.issue(&principal, args.valid_for, by.at).await?;
    Ok(Some(IssuedLink {
        url,
        expires_at: (by.at + args.valid_for).as_millis(),
    }))
}
