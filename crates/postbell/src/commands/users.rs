//! `postbell users`

mod link;
mod sign_out;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use postbell_core::{
    Clock, Listing, MachineLocation, MailProblem, ManagedMachine, NewUser, SandboxId, UserId,
    UserRecord, Users, UsersError, update_user,
};
use postbell_platform::{UserTokens, user_status};
use postbell_store::{OpenError, Store, StoreOptions};
use secrecy::ExposeSecret;
use serde_json::json;

use super::{open_users, table};
use crate::cli::{AddArgs, By, ChangeArgs, ListArgs, MachineArgs, TokenArgs, UsersCommand};
use crate::config::Config;
use crate::console::Console;

/// Manages users. The platform may be running.
pub(crate) async fn run(
    command: &UsersCommand,
    console: &Console,
    config: &Config,
    clock: &dyn Clock,
) -> anyhow::Result<ExitCode> {
    match command {
        UsersCommand::List(args) => list(args, console, config).await,
        UsersCommand::Show(args) => {
            let record = open(config)?.get(&args.user).await?;
            match record {
                Some(record) => show(&record, args.json, console),
                None => Ok(missing(&args.user, console)),
            }
        }
        UsersCommand::Add(args) => add(args, console, config, clock).await,
        UsersCommand::Change(args) => change(args, console, config, clock).await,
        UsersCommand::Remove(args) => {
            let removed = remove(&args.user, config).await?;
            if args.json {
                console.data(&json!({ "removed": removed }).to_string())?;
            } else if removed {
                console.data(&format!("Removed {}.", args.user))?;
            }
            Ok(if removed {
                ExitCode::SUCCESS
            } else {
                missing(&args.user, console)
            })
        }
        UsersCommand::Token(args) => token(args, console, config, clock).await,
        UsersCommand::Link(args) => link::run(args, console, config, clock).await,
        UsersCommand::SignOut(args) => sign_out::run(args, console, config).await,
    }
}

/// Opens the users' store read-only.
fn open(config: &Config) -> anyhow::Result<Arc<dyn Users>> {
    Ok(open_users(config, StoreOptions::read_only())?.users())
}

/// Says that there is no such user.
pub(super) fn missing(user: &UserId, console: &Console) -> ExitCode {
    console.error(&format!(
        "error: there is no user {user}; `postbell users list` lists all users"
    ));
    ExitCode::FAILURE
}

/// Removes a user and all their data. If it fails half-way, running it again completes it.
async fn remove(user: &UserId, config: &Config) -> anyhow::Result<bool> {
    let users = open_users(config, StoreOptions::read_write())?;
    let removed = users.users().remove(user).await?;
    users.sessions().revoke_user(user).await?;
    match Store::open(config.relay.inbox.expose(), StoreOptions::read_write()) {
        Ok(store) => store.log().remove_user(user).await?,
        // The relay is remote and stores no data of its own here.
        Err(OpenError::Missing | OpenError::UnknownScheme) => (),
        Err(error) => {
            return Err(error).with_context(|| format!("relay.inbox {}", config.relay.inbox));
        }
    }
    Ok(removed)
}

async fn list(args: &ListArgs, console: &Console, config: &Config) -> anyhow::Result<ExitCode> {
    let users = open(config)?;
    let prefix = args.search.clone();
    let listing = match args.by {
        By::User => Listing::ByUser {
            prefix,
            after: args.after.clone(),
        },
        By::Email => {
            let after = match &args.after {
                Some(user) => users.get(user).await?,
                None => None,
            };
            let after = after.and_then(|record| Some((record.google?.email?, record.user)));
            Listing::ByEmail { prefix, after }
        }
    };
    // One more than is shown tells whether there are more.
    let mut records = users.list(&listing, args.limit.saturating_add(1)).await?;
    let is_cut = records.len() > args.limit;
    records.truncate(args.limit);
    if args.json {
        let shown: Vec<_> = records.iter().map(user_status).collect();
        console.data(&serde_json::to_string(&shown)?)?;
    } else if records.is_empty() {
        console.error("No users found.");
    } else {
        let head = [
            "user",
            "status",
            "machine",
            "google",
            "notifications",
            "problem",
        ];
        let rows: Vec<_> = std::iter::once(head.map(str::to_owned).to_vec())
            .chain(records.iter().map(row))
            .collect();
        console.data(&table::lay_out(&rows, console.columns()))?;
    }
    if let Some(last) = records.last().filter(|_| is_cut) {
        console.error(&format!("There are more users: --after {}", last.user));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(record: &UserRecord) -> Vec<String> {
    vec![
        record.user.to_string(),
        record.status.as_str().to_owned(),
        machine(&record.location),
        account(record),
        on_or_off(record.notifications_enabled),
        record
            .problem
            .map_or("-", |problem| problem.code.as_str())
            .to_owned(),
    ]
}

fn machine(location: &MachineLocation) -> String {
    match location {
        MachineLocation::Unknown => "-".to_owned(),
        MachineLocation::Managed(ManagedMachine { app, machine }) => format!("{app}/{machine}"),
        MachineLocation::Url(url) => url.to_string(),
    }
}

fn account(record: &UserRecord) -> String {
    match &record.google {
        None => "-".to_owned(),
        Some(google) => match &google.email {
            Some(email) => email.as_str().to_owned(),
            None => "connected".to_owned(),
        },
    }
}

/// What keeps mail from the bot, since when, and what to do about it.
fn problem(problem: MailProblem) -> String {
    let MailProblem { code, since } = problem;
    let (since, summary, advice) = (table::time(since), code.summary(), code.advice());
    format!("{code} since {since}: {summary}. {advice}")
}

fn on_or_off(is_on: bool) -> String {
    if is_on { "on" } else { "off" }.to_owned()
}

fn show(record: &UserRecord, json: bool, console: &Console) -> anyhow::Result<ExitCode> {
    if json {
        console.data(&serde_json::to_string(&user_status(record))?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let push_account = record
        .google
        .as_ref()
        .and_then(|google| google.push_account.as_ref());
    let rows = [
        ("user", record.user.to_string()),
        ("sandbox id", record.sandbox_id.to_string()),
        ("status", record.status.as_str().to_owned()),
        ("machine", machine(&record.location)),
        ("google account", account(record)),
        (
            "pushes signed by",
            push_account
                .map_or("-", |account| account.as_str())
                .to_owned(),
        ),
        ("notifications", on_or_off(record.notifications_enabled)),
        (
            "history id",
            record
                .last_history_id
                .map_or_else(|| "-".to_owned(), |id| id.to_string()),
        ),
        (
            "watch ends",
            record
                .watch_expires_at
                .map_or_else(|| "-".to_owned(), table::time),
        ),
        (
            "problem",
            record.problem.map_or_else(|| "-".to_owned(), problem),
        ),
        ("wake on mail", on_or_off(record.wake_on_mail)),
        ("added", table::time(record.created_at)),
        ("changed", table::time(record.updated_at)),
    ];
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    console.data(&table::lay_out(&rows, console.columns()))?;
    Ok(ExitCode::SUCCESS)
}

async fn add(
    args: &AddArgs,
    console: &Console,
    config: &Config,
    clock: &dyn Clock,
) -> anyhow::Result<ExitCode> {
    let location = location(&args.machine).unwrap_or_default();
    let assumed = location.assumed_status();
    let sandbox_id = args.sandbox_id.clone();
    let new = NewUser {
        user: args.user.clone(),
        sandbox_id: sandbox_id.unwrap_or_else(|| SandboxId::from(&args.user)),
        status: args.machine.machine_status.unwrap_or(assumed),
        location,
        wake_on_mail: args.wake_on_mail,
    };
    let store = &config.platform.store;
    let is_first = matches!(
        Store::open(store.expose(), StoreOptions::read_only()),
        Err(OpenError::Missing)
    );
    let users = open_users(config, StoreOptions::read_write().create())?;
    let added = users.users().add(new, clock.now()).await;
    let record = added.map_err(|error| match error {
        UsersError::Store(_) => anyhow::Error::from(error).context(format!(
            "{user} may have been stored: see `postbell users show {user}`",
            user = args.user
        )),
        error => error.into(),
    })?;
    if args.json {
        return show(&record, true, console);
    }
    console.data(&format!("Added {}.", record.user))?;
    if is_first {
        console.error(&format!(
            "This created {store}. If a platform is already running, it uses another store: run this command \
             with its configuration, in its directory."
        ));
    }
    if record.location == MachineLocation::Unknown {
        console.error(&format!(
            "Its bot's machine is not known yet: postbell users change {} --url URL",
            record.user
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the location of the machine, if one is given.
fn location(args: &MachineArgs) -> Option<MachineLocation> {
    match (&args.url, &args.app, &args.machine) {
        (Some(url), ..) => Some(MachineLocation::Url(url.clone())),
        (None, Some(app), Some(machine)) => Some(MachineLocation::Managed(ManagedMachine {
            app: app.clone(),
            machine: machine.clone(),
        })),
        _ => None,
    }
}

async fn change(
    args: &ChangeArgs,
    console: &Console,
    config: &Config,
    clock: &dyn Clock,
) -> anyhow::Result<ExitCode> {
    let users = open_users(config, StoreOptions::read_write())?.users();
    let changed = update_user(&*users, &args.user, None, clock, |record| {
        if let Some(location) = location(&args.machine) {
            record.move_to(location);
        }
        record.status = args.machine.machine_status.unwrap_or(record.status);
        record.wake_on_mail = args.wake_on_mail.unwrap_or(record.wake_on_mail);
        Ok::<_, UsersError>(())
    });
    match changed.await? {
        None => Ok(missing(&args.user, console)),
        Some(record) => show(&record, args.json, console),
    }
}

async fn token(
    args: &TokenArgs,
    console: &Console,
    config: &Config,
    clock: &dyn Clock,
) -> anyhow::Result<ExitCode> {
    let tokens = UserTokens::new(config.platform.gateway_secret()?);
    let Some(record) = open(config)?.get(&args.user).await? else {
        return Ok(missing(&args.user, console));
    };
    let expires_at = clock.now() + args.valid_for;
    let token = tokens.issue(&record, expires_at);
    let token = token.expose_secret();
    if args.json {
        let shown = json!({ "token": token, "expiresAt": table::time(expires_at) });
        console.data(&shown.to_string())?;
    } else {
        console.data(token)?;
        let expires_at = table::time(expires_at);
        console.error(&format!("Valid until {expires_at}."));
        if let Ok(url) = config.platform.url() {
            let user = &args.user;
            console.error(&format!(
                "The user sets POSTBELL_USER_TOKEN to it, and runs:\n  postbell setup --platform {url} --user {user}"
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}
