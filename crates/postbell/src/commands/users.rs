//! `postbell users`

mod import;
mod invitations;
mod invite_all;
mod link;
mod machine;
mod remove;
mod sign_out;

use std::process::ExitCode;
use std::sync::Arc;

use postbell_core::{Clock, InstanceStatus, MailProblem, StoreError, Timestamp};
use postbell_protocol::api::operator::{
    AddUser, ChangeUser, IssueToken, ListUsers, MachineFields, SearchField, ShowUser,
};
use postbell_protocol::api::{AccountStatus, UserStatus};
use postbell_store::{OpenError, Store, StoreOptions};
use secrecy::ExposeSecret;
use serde_json::json;

use super::operator::{Access, Target, found, missing};
use super::table;
use crate::cli::{
    AddArgs, By, ChangeArgs, ListArgs, MachineArgs, RemoteArgs, TokenArgs, UsersArgs, UsersCommand,
};
use crate::config::Env;
use crate::console::Console;

/// The greatest page of a platform.
const PAGE: usize = 1000;

/// What the commands need.
struct Context<'a> {
    remote: &'a RemoteArgs,
    console: &'a Console,
    env: &'a Env,
    clock: Arc<dyn Clock>,
}

impl Context<'_> {
    fn open(&self, access: Access) -> anyhow::Result<Target> {
        Target::open(self.remote, access, self.env, Arc::clone(&self.clock))
    }

    /// Checks the URL of the pages, which is in what a command prints. Warns if only browsers on this machine can open it.
    fn check_url(&self) -> anyhow::Result<()> {
        if self.remote.platform.is_none() {
            let platform = self.env.load()?.platform;
            let url = platform.url()?;
            if platform.is_local_only() {
                self.console.error(&format!(
                    "warning: platform.url is not set, so {url} is used, which works on this machine only"
                ));
            }
        }
        Ok(())
    }
}

/// Manages users. The platform may be running.
pub(crate) async fn run(
    args: &UsersArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let context = Context {
        remote: &args.remote,
        console,
        env,
        clock,
    };
    match &args.command {
        UsersCommand::List(args) => list(args, &context).await,
        UsersCommand::Show(args) => {
            let target = context.open(Access::Read)?;
            let user_id = args.user.clone();
            match found(target.perform(ShowUser { user_id }).await)? {
                Some(user) => show(&user, args.json, console),
                None => Ok(missing(&args.user, console)),
            }
        }
        UsersCommand::Add(args) => add(args, &context).await,
        UsersCommand::Import(args) => import::run(args, &context).await,
        UsersCommand::Invite(args) => invitations::invite(args, &context).await,
        UsersCommand::InviteAll(args) => invite_all::run(args, &context).await,
        UsersCommand::Machine(args) => machine::run(args, &context).await,
        UsersCommand::Invitations(args) => invitations::list(args, &context).await,
        UsersCommand::RevokeLink(args) => invitations::revoke(args, &context).await,
        UsersCommand::Change(args) => change(args, &context).await,
        UsersCommand::Remove(args) => remove::run(args, &context).await,
        UsersCommand::Token(args) => token(args, &context).await,
        UsersCommand::Link(args) => link::run(args, &context).await,
        UsersCommand::SignOut(args) => sign_out::run(args, &context).await,
    }
}

async fn list(args: &ListArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let console = context.console;
    let target = context.open(Access::Read)?;
    let mut request = ListUsers {
        search: args.search.clone(),
        by: match args.by {
            By::User => SearchField::User,
            By::Email => SearchField::Email,
        },
        filter: args.filter,
        after: args.after.clone(),
        limit: None,
    };
    let mut users = Vec::new();
    let next = loop {
        let left = args.limit - users.len();
        request.limit = Some(left.min(PAGE));
        let page = target.perform(request.clone()).await?;
        users.extend(page.users);
        if page.next.is_none() || users.len() >= args.limit {
            break page.next;
        }
        request.after = page.next;
    };
    if args.json {
        console.data(&serde_json::to_string(&users)?)?;
    } else if users.is_empty() {
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
            .chain(users.iter().flat_map(rows))
            .collect();
        console.data(&table::lay_out(&rows, console.columns()))?;
    }
    if let Some(next) = next {
        console.error(&format!("There are more users: --after {next}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// A row of a user, and one of each further account.
fn rows(user: &UserStatus) -> Vec<Vec<String>> {
    let further = user.further_accounts.iter().map(|account| {
        vec![
            format!("  {}", account.user_id),
            String::new(),
            String::new(),
            address(account),
            on_or_off(account.gmail_notifications_enabled),
            code(account.problem),
        ]
    });
    std::iter::once(row(user)).chain(further).collect()
}

fn address(account: &AccountStatus) -> String {
    let email = account.google_account_email.clone();
    email.unwrap_or_else(|| "connected".to_owned())
}

fn code(problem: Option<MailProblem>) -> String {
    problem
        .map_or("-", |problem| problem.code.as_str())
        .to_owned()
}

fn row(user: &UserStatus) -> Vec<String> {
    vec![
        user.user_id.clone(),
        match user.unreachable_since {
            _ if is_unseen(user) => "not seen yet",
            Some(_) => "no answer",
            None => user.status.as_str(),
        }
        .to_owned(),
        machine(user),
        account(user),
        on_or_off(user.gmail_notifications_enabled),
        code(user.problem),
    ]
}

fn status(user: &UserStatus) -> String {
    let status = user.status.as_str();
    match user.unreachable_since {
        _ if is_unseen(user) => "not seen yet".to_owned(),
        Some(since) => format!(
            "{status}, but it has not answered since {}",
            table::time(Timestamp::from_millis(since))
        ),
        None => status.to_owned(),
    }
}

/// Whether a machine that should run was never heard of.
fn is_unseen(user: &UserStatus) -> bool {
    // Fly says by itself whether a machine runs.
    user.never_seen && user.status == InstanceStatus::Running && user.fly_machine_id.is_none()
}

fn machine(user: &UserStatus) -> String {
    match (&user.url, &user.fly_app_name, &user.fly_machine_id) {
        (Some(url), ..) => url.to_string(),
        (None, Some(app), Some(machine)) => format!("{app}/{machine}"),
        _ => "-".to_owned(),
    }
}

fn account(user: &UserStatus) -> String {
    match (&user.google_account_email, user.google_connected) {
        (Some(email), _) => email.clone(),
        (None, true) => "connected".to_owned(),
        (None, false) => "-".to_owned(),
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

fn show(user: &UserStatus, json: bool, console: &Console) -> anyhow::Result<ExitCode> {
    if json {
        console.data(&serde_json::to_string(user)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let time = |millis: i64| table::time(Timestamp::from_millis(millis));
    let rows = [
        ("user", user.user_id.clone()),
        ("sandbox id", user.sandbox_id.clone()),
        ("status", status(user)),
        ("machine", machine(user)),
        ("google account", account(user)),
        ("pushes signed by", or_none(&user.gmail_push_oidc_email)),
        ("notifications", on_or_off(user.gmail_notifications_enabled)),
        ("history id", or_none(&user.gmail_last_history_id)),
        ("watch ends", or_none(&user.watch_expires_at.map(time))),
        ("problem", or_none(&user.problem.map(problem))),
        ("wake on mail", on_or_off(user.wake_on_mail)),
        ("added", time(user.created_at)),
        ("changed", time(user.updated_at)),
    ];
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    let owner = user.account_of.iter();
    rows.extend(owner.map(|owner| vec!["account of".to_owned(), owner.clone()]));
    for account in &user.further_accounts {
        let notifications = on_or_off(account.gmail_notifications_enabled);
        let mut said = format!(
            "{} ({}), notifications {notifications}",
            address(account),
            account.user_id
        );
        if let Some(found) = account.problem {
            said = format!("{said}, {}", problem(found));
        }
        rows.push(vec!["further account".to_owned(), said]);
    }
    console.data(&table::lay_out(&rows, console.columns()))?;
    Ok(ExitCode::SUCCESS)
}

/// The request that adds a user.
fn new_user(args: &AddArgs) -> AddUser {
    AddUser {
        user_id: args.user.clone(),
        sandbox_id: args.sandbox_id.clone(),
        machine: machine_fields(&args.machine),
        wake_on_mail: args.wake_on_mail,
    }
}

fn machine_fields(args: &MachineArgs) -> MachineFields {
    MachineFields {
        fly_app_name: args.app.clone(),
        fly_machine_id: args.machine.clone(),
        url: args.url.clone(),
        status: args.machine_status,
    }
}

async fn add(args: &AddArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let console = context.console;
    let created = created_store(context)?;
    let target = context.open(Access::Create)?;
    let added = target.perform(new_user(args)).await;
    let user = added.map_err(|error| {
        let user = &args.user;
        if error.is::<StoreError>() {
            error.context(format!(
                "{user} may have been stored: see `postbell users show {user}`"
            ))
        } else {
            error
        }
    })?;
    if args.json {
        return show(&user, true, console);
    }
    console.data(&format!("Added {}.", user.user_id))?;
    if let Some(store) = created {
        console.error(&format!(
            "This created {store}. If a platform is already running, it uses another store: run this command \
             with its configuration, in its directory."
        ));
    }
    if machine(&user) == "-" {
        console.error(&format!(
            "Its bot's machine is not known yet: postbell users change {} --url URL",
            user.user_id
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the store of the configuration if a command that adds a user creates it.
fn created_store(context: &Context<'_>) -> anyhow::Result<Option<String>> {
    if context.remote.platform.is_some() {
        return Ok(None);
    }
    let store = context.env.load()?.platform.store;
    let opened = Store::open(store.expose(), StoreOptions::read_only());
    Ok(matches!(opened, Err(OpenError::Missing)).then(|| store.to_string()))
}

async fn change(args: &ChangeArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let target = context.open(Access::Write)?;
    let request = ChangeUser {
        user_id: args.user.clone(),
        machine: machine_fields(&args.machine),
        sandbox_id: args.sandbox_id.clone(),
        new_sandbox_id: args.new_sandbox_id,
        wake_on_mail: args.wake_on_mail,
        notifications: args.notifications,
    };
    let renames = args.new_sandbox_id || args.sandbox_id.is_some();
    let Some(user) = found(target.perform(request).await)? else {
        return Ok(missing(&args.user, context.console));
    };
    if renames {
        context.console.error(
            "The machine gets no mail until it has the sandbox id, and the token that belongs to it (docs/controller.md).",
        );
    }
    show(&user, args.json, context.console)
}

async fn token(args: &TokenArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let console = context.console;
    if !args.json {
        context.check_url()?;
    }
    let target = context.open(Access::Write)?;
    let request = IssueToken {
        user_id: args.user.clone(),
        valid_for_seconds: Some(args.valid_for.as_secs()),
    };
    let Some(issued) = found(target.perform(request).await)? else {
        return Ok(missing(&args.user, console));
    };
    let token = issued.token.expose_secret();
    let expires_at = table::time(Timestamp::from_millis(issued.expires_at));
    if args.json {
        let shown = json!({ "token": token, "expiresAt": expires_at, "id": issued.id });
        console.data(&shown.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    console.data(token)?;
    let id = issued.id;
    console.error(&format!(
        "Valid until {expires_at}; `postbell keys revoke {id}` revokes it."
    ));
    let url = match &context.remote.platform {
        Some(url) => Some(url.clone()),
        None => context.env.load()?.platform.url().ok(),
    };
    if let Some(url) = url {
        let user = &args.user;
        console.error(&format!(
            "The user sets POSTBELL_USER_TOKEN to it, and runs:\n  postbell setup --platform {url} --user {user}"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
