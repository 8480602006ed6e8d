//! `postbell keys`

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use postbell_core::{AuditedPorts, Clock, Timestamp, TokenScope};
use postbell_platform::{ApiKeys, system_random};
use postbell_protocol::api::operator::{ListTokens, ListedToken, RevokeToken};
use postbell_store::StoreOptions;
use secrecy::ExposeSecret;
use serde_json::json;

use super::operator::{Access, Target, actor};
use super::{open_users, table};
use crate::cli::{CreateKeyArgs, KeyScope, KeysArgs, KeysCommand, ListKeysArgs, RevokeKeyArgs};
use crate::config::Env;
use crate::console::Console;

/// Manages API keys. The platform may be running.
pub(crate) async fn run(
    args: &KeysArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let open = |access| Target::open(&args.remote, access, env, Arc::clone(&clock));
    match &args.command {
        KeysCommand::Create(_) if args.remote.platform.is_some() => {
            bail!("keys are created beside the platform's store only: run this command there")
        }
        KeysCommand::Create(args) => create(args, console, env, &*clock).await,
        KeysCommand::List(args) => list(args, console, &open(Access::Read)?).await,
        KeysCommand::Revoke(args) => revoke(args, console, &open(Access::Write)?).await,
    }
}

async fn create(
    args: &CreateKeyArgs,
    console: &Console,
    env: &Env,
    clock: &dyn Clock,
) -> anyhow::Result<ExitCode> {
    let store = open_users(&env.load()?, StoreOptions::read_write().create())?;
    let by = actor(clock);
    let keys = ApiKeys {
        tokens: AuditedPorts::tokens(&store, &by),
        random: system_random(),
    };
    let scope = match args.scope {
        KeyScope::Read => TokenScope::Read,
        KeyScope::Write => TokenScope::Write,
    };
    let created = keys.issue(&args.name, scope, args.valid_for, by.at).await?;
    let expires_at = table::time(created.token.expires_at);
    let (id, key) = (created.token.id, created.key.expose_secret());
    if args.json {
        let scope = scope.as_str();
        let shown =
            json!({ "id": id.as_str(), "key": key, "scope": scope, "expiresAt": expires_at });
        console.data(&shown.to_string())?;
    } else {
        let may = match args.scope {
            KeyScope::Read => "It may read; --scope write makes one that may also change.",
            KeyScope::Write => "It may read and change.",
        };
        console.data(key)?;
        console.error(&format!(
            "{may} Valid until {expires_at}; it is not shown again. `postbell keys revoke {id}` revokes it.\n\
             Set POSTBELL_OPERATOR_KEY to it, and run: postbell users list --platform URL"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &ListKeysArgs, console: &Console, target: &Target) -> anyhow::Result<ExitCode> {
    let request = ListTokens {
        user_id: args.user.clone(),
        after: args.after.as_ref().map(ToString::to_string),
        limit: Some(args.limit),
    };
    let list = target.perform(request).await?;
    if args.json {
        console.data(&serde_json::to_string(&list.tokens)?)?;
    } else if list.tokens.is_empty() {
        console.error("There are no API keys or tokens.");
    } else {
        let head = [
            "id",
            "name",
            "scope",
            "user",
            "created",
            "ends",
            "last used",
        ];
        let rows: Vec<_> = std::iter::once(head.map(str::to_owned).to_vec())
            .chain(list.tokens.iter().map(row))
            .collect();
        console.data(&table::lay_out(&rows, console.columns()))?;
    }
    if let Some(next) = list.next {
        console.error(&format!("There are more: --after {next}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(token: &ListedToken) -> Vec<String> {
    let time = |millis: i64| table::time(Timestamp::from_millis(millis));
    vec![
        token.id.clone(),
        token.name.clone(),
        token.scope.clone(),
        token.user_id.clone().unwrap_or_else(|| "-".to_owned()),
        time(token.created_at),
        time(token.expires_at),
        token.last_used_at.map_or_else(|| "never".to_owned(), time),
    ]
}

async fn revoke(
    args: &RevokeKeyArgs,
    console: &Console,
    target: &Target,
) -> anyhow::Result<ExitCode> {
    let id = args.id.to_string();
    let removed = target.perform(RevokeToken { id }).await?.removed;
    if args.json {
        console.data(&json!({ "removed": removed }).to_string())?;
    } else if removed {
        console.data(&format!("Revoked {}.", args.id))?;
    } else {
        let id = &args.id;
        console.error(&format!(
            "error: there is no key or token {id}; `postbell keys list` lists them"
        ));
    }
    Ok(if removed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
