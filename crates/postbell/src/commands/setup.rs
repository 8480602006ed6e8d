//! `postbell setup`

mod json;
mod memory;
mod onlooker;
mod prompts;
mod words;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postbell_core::Clock;
use postbell_google::GoogleUrls;
use postbell_setup::{
    Browser, Destination, HookWish, Mode, Names, Patience, ProgressFile, Report, Site, Tools,
    Trouble, Wall, Wishes,
};
use secrecy::SecretString;

pub(super) use self::memory::StateMemory;
pub(super) use self::onlooker::{Manner, Onlooker, Task};
pub(super) use self::words::{Style, Tone};
use crate::cli::SetupArgs;
use crate::config::{Config, GoogleConfig, Surroundings};
use crate::console::Console;
use crate::wiring;

/// Where secrets come from, which no process list shows.
pub(super) const USER_TOKEN_VARIABLE: &str = "POSTBELL_USER_TOKEN";
pub(super) const ACCESS_TOKEN_VARIABLE: &str = "POSTBELL_SETUP_ACCESS_TOKEN";
pub(super) const HOOK_TOKEN_VARIABLE: &str = "POSTBELL_WATCH_HOOK_TOKEN";

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long a notification may take.
const ARRIVAL: Duration = Duration::from_secs(3 * 60);

/// Sets Google Cloud up, says what would be done, or takes it back; until the person stops it.
pub(crate) async fn run(
    args: SetupArgs,
    console: &Console,
    surroundings: &Surroundings,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let config = surroundings.load()?;
    let manner = Manner {
        is_asked: !args.yes,
        is_program: args.json,
        task: Task::from(&args),
    };
    let onlooker = Arc::new(Onlooker::new(*console, manner, surroundings));
    let tools = Tools {
        client: postbell_http::client()?,
        google: google_urls(&config.google),
        clock,
        random,
        person: Arc::<Onlooker>::clone(&onlooker),
        memory: Arc::new(StateMemory::of(surroundings)?),
        patience: patience(&args),
        progress_file: ProgressFile::new(progress_file(args.state.state.clone(), surroundings)?),
    };
    let wishes = wishes(&args, &config, surroundings);
    let outcome = tokio::select! {
        outcome = work(&args, tools, wishes) => outcome,
        signal = wiring::stop_signal() => {
            signal?;
            Err(Trouble::new(Wall::Stopped))
        }
    };
    onlooker.restore();
    Ok(match outcome {
        Ok(report) if report.has_failed() => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(trouble) => {
            onlooker.give_up(&trouble);
            ExitCode::FAILURE
        }
    })
}

async fn work(args: &SetupArgs, tools: Tools, wishes: Wishes) -> Result<Report, Trouble> {
    // Whoever only looks changes nothing that another could.
    let _held = (!args.plan)
        .then(|| tools.progress_file.hold())
        .transpose()?;
    let mut site = Site::new(tools, wishes)?;
    if args.undo {
        return postbell_setup::undo(&mut site).await;
    }
    let mode = if args.plan { Mode::Plan } else { Mode::Apply };
    postbell_setup::run(&mut site, mode).await
}

pub(super) fn random(bytes: &mut [u8]) {
    #[expect(
        clippy::expect_used,
        reason = "without randomness there is no secret, and nothing that could go on"
    )]
    aws_lc_rs::rand::fill(bytes).expect("the system gives random bytes");
}

pub(super) fn google_urls(config: &GoogleConfig) -> GoogleUrls {
    GoogleUrls {
        auth: config.auth_url.clone(),
        token: config.token_url.clone(),
        gmail: config.gmail_url.clone(),
        pubsub: config.pubsub_url.clone(),
        iam: config.iam_url.clone(),
        resource_manager: config.resource_manager_url.clone(),
        service_usage: config.service_usage_url.clone(),
    }
}

fn patience(args: &SetupArgs) -> Patience {
    Patience {
        first: args.retry_after,
        longest: LONGEST_WAIT.max(args.retry_after),
        total: args.wait,
        arrival: ARRIVAL.min(args.wait),
        ..Patience::default()
    }
}

/// Where it is remembered how far setup came: what is named, or the user's folder for that
/// (<https://specifications.freedesktop.org/basedir-spec/latest/>).
pub(super) fn progress_file(
    named: Option<PathBuf>,
    surroundings: &Surroundings,
) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        return Ok(named);
    }
    let absolute = |name: &str| {
        let folder = surroundings.variable(name).map(PathBuf::from);
        folder.filter(|folder| folder.is_absolute())
    };
    let usual = || Some(absolute("HOME")?.join(".local/state"));
    let folder = absolute("XDG_STATE_HOME").or_else(usual);
    let folder = folder.context("expected the user's home in HOME, or --state FILE")?;
    Ok(folder.join("postbell").join("setup.json"))
}

/// A secret from a variable.
pub(super) fn secret(surroundings: &Surroundings, name: &str) -> Option<SecretString> {
    let value = surroundings.variable(name);
    value.filter(|value| !value.is_empty()).map(Into::into)
}

fn wishes(args: &SetupArgs, config: &Config, surroundings: &Surroundings) -> Wishes {
    let secret = |name: &str| secret(surroundings, name);
    let google = &args.google;
    let sign_in = google.sign_in_client.clone();
    Wishes {
        client_file: google.client.clone(),
        sign_in_client_file: sign_in.or_else(|| config.google.sign_in_client_file.clone()),
        access_token: secret(ACCESS_TOKEN_VARIABLE),
        project: google.project.clone(),
        create_project: google.create_project,
        mailbox: google.mailbox.clone(),
        destination: destination(args, config, secret(USER_TOKEN_VARIABLE)),
        names: Names {
            topic: google.topic.clone(),
            subscription: google.subscription.clone(),
            account: google.service_account.clone(),
        },
        hook: args.destination.hook_url.clone().map(|url| HookWish {
            url,
            token: secret(HOOK_TOKEN_VARIABLE),
        }),
        browser: if args.no_browser {
            Browser::Elsewhere
        } else {
            Browser::Here
        },
        again: args.again,
        credentials: args.destination.credentials.as_deref().map(absolute),
        user_token: secret(USER_TOKEN_VARIABLE),
        delete_project: args.delete_project,
    }
}

/// The next run may be somewhere else.
fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

fn destination(
    args: &SetupArgs,
    config: &Config,
    token: Option<SecretString>,
) -> Option<Destination> {
    let wanted = &args.destination;
    if wanted.pull {
        return Some(Destination::Pull { credentials: None });
    }
    if let Some(endpoint) = wanted.serve.clone() {
        return Some(Destination::Serve {
            credentials: None,
            endpoint,
        });
    }
    let (platform, user) = (wanted.platform.clone()?, wanted.user.clone()?);
    let relay = wanted
        .relay
        .clone()
        .or_else(|| config.relay.audience.clone());
    Some(Destination::Platform {
        relay: relay.unwrap_or_else(|| platform.clone()),
        platform,
        user,
        token,
    })
}
