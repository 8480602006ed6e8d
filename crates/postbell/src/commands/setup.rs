//! `postbell setup`

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postbell_core::Clock;
use postbell_google::GoogleUrls;
use postbell_protocol::gog_dirs::GogDirs;
use postbell_setup::terminal::{Output, Task, TerminalUi, UiOptions};
use postbell_setup::{
    Blocker, Browser, ConfiguredUrls, Deps, Destination, GoogleApis, Mode, ProgressFile, Question,
    Report, ResourceNames, SetupContext, SetupError, SetupRequest, Timeouts, Ui, WatchStates,
    Webhook, WebhookSecrets,
};
use secrecy::{ExposeSecret, SecretString};

use super::secrets;
use crate::cli::{Cli, Command, SetupArgs};
use crate::config::{Config, Env, GoogleConfig};
use crate::console::Console;
use crate::wiring;

/// Secrets come from variables, because process lists show arguments.
pub(super) const USER_TOKEN_VARIABLE: &str = "POSTBELL_USER_TOKEN";
pub(super) const ACCESS_TOKEN_VARIABLE: &str = "POSTBELL_SETUP_ACCESS_TOKEN";

/// How long a test notification may take.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(3 * 60);

/// The watcher's state files in the folders of `gog`.
///
/// # Errors
///
/// If there is no home folder.
pub(super) fn watch_states(env: &Env) -> anyhow::Result<WatchStates> {
    let dirs = GogDirs::from_variables(|name| env.variable(name))?;
    Ok(WatchStates(dirs))
}

/// Runs setup, its plan or its undo, until it ends or the user stops it.
pub(crate) async fn run(
    args: SetupArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let config = env.load()?;
    postbell_http::require_ca_certificates()?;
    let task = match (args.plan, args.undo) {
        (true, _) => Task::Plan,
        (_, true) => Task::Undo,
        _ => Task::Apply,
    };
    let options = UiOptions {
        interactive: !args.yes,
        json: args.json,
        ..ui_options(*console, task, env)
    };
    let ui = Arc::new(TerminalUi::new(Box::new(*console), options));
    let deps = deps(&args, &config, &ui, env, &clock)?;
    let request = request(&args, &config, env)?;
    let outcome = tokio::select! {
        outcome = execute(task, deps, request) => outcome,
        signal = wiring::stop_signal() => {
            signal?;
            Err(SetupError::new(Blocker::Cancelled))
        }
    };
    let service = match &outcome {
        Ok(report) if task == Task::Apply => tokio::select! {
            wanted = wanted_service(&args, &*ui, report) => wanted,
            // Setup itself is complete.
            signal = wiring::stop_signal() => signal.map(|()| None)?,
        },
        _ => None,
    };
    ui.restore();
    if let (Some(command_line), Ok(report)) = (service, &outcome) {
        let env = match &report.hook_token {
            Some(token) => &env.with_variable(secrets::HOOK_TOKEN_VARIABLE, token.expose_secret()),
            None => env,
        };
        return install(command_line, console, env, clock).await;
    }
    Ok(match outcome {
        Ok(report) if report.has_failed() => ExitCode::FAILURE,
        Ok(_) if args.install && task == Task::Apply => no_service(console),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            ui.fail(&error);
            ExitCode::FAILURE
        }
    })
}

fn deps(
    args: &SetupArgs,
    config: &Config,
    ui: &Arc<TerminalUi>,
    env: &Env,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Deps> {
    Ok(Deps {
        google: GoogleApis {
            client: postbell_http::client()?,
            urls: google_urls(&config.google),
            clock: Arc::clone(clock),
        },
        random,
        ui: Arc::<TerminalUi>::clone(ui),
        watch_states: watch_states(env)?,
        timeouts: Timeouts {
            total: args.wait,
            arrival: ARRIVAL_TIMEOUT.min(args.wait),
            ..Timeouts::default()
        },
        progress_file: ProgressFile::new(requested_progress_file(args, env)?),
    })
}

/// Reports that `--install` had no effect.
fn no_service(console: &Console) -> ExitCode {
    console.error("--install: no service is installed: setup is not complete, or lacks --hook-url");
    ExitCode::FAILURE
}

/// Returns the command that installs the watcher as a service, if the user wants that.
async fn wanted_service(args: &SetupArgs, ui: &dyn Ui, report: &Report) -> Option<Vec<OsString>> {
    if !report.is_done() || report.watcher.is_empty() {
        return None;
    }
    let question = Question::new(
        "Run the watcher as a service of your user, and start it now?",
        "--install",
    );
    let asks = !args.yes && !args.json;
    let is_wanted = args.install || (asks && ui.confirm(&question).await.unwrap_or(false));
    let command = ["postbell", "watch", "install"].map(OsString::from);
    let arguments = report.watcher.iter().map(OsString::from);
    is_wanted.then(|| command.into_iter().chain(arguments).collect())
}

async fn install(
    command_line: Vec<OsString>,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let cli = Cli::read(command_line)?;
    match cli.command {
        Command::Watch(command) => {
            super::watch::run(&command, &cli.command_line, console, env, clock).await
        }
        _ => anyhow::bail!("expected the command of a watcher"),
    }
}

async fn execute(task: Task, deps: Deps, request: SetupRequest) -> Result<Report, SetupError> {
    if task == Task::Plan {
        // A plan changes nothing and needs no lock.
        let mut ctx = SetupContext::new(deps, request, Mode::Plan)?;
        return postbell_setup::run(&mut ctx).await;
    }
    let _lock = deps.progress_file.lock()?;
    let mut ctx = SetupContext::new(deps, request, Mode::Apply)?;
    if task == Task::Undo {
        return postbell_setup::undo(&mut ctx).await;
    }
    postbell_setup::run(&mut ctx).await
}

/// Options of the user interface for setup and doctor.
pub(super) fn ui_options(console: Console, task: Task, env: &Env) -> UiOptions {
    let is_dumb = env.variable("TERM") == Some("dumb");
    let no_color = env.variable("NO_COLOR");
    UiOptions {
        task,
        interactive: false,
        json: false,
        is_terminal: console.is_terminal() && !is_dumb,
        colours: no_color.is_none_or(str::is_empty),
        home: env.variable("HOME").map(str::to_owned),
    }
}

impl Output for Console {
    fn data(&self, line: &str) -> std::io::Result<()> {
        Self::data(*self, line)
    }

    fn message(&self, line: &str) {
        self.raw_error(&format!("{line}\n"));
    }

    fn control(&self, sequence: &str) {
        self.raw_error(sequence);
    }
}

pub(super) fn random(bytes: &mut [u8]) {
    #[expect(
        clippy::expect_used,
        reason = "setup cannot create secrets without randomness"
    )]
    aws_lc_rs::rand::fill(bytes).expect("the system provides random bytes");
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

/// The progress file of the arguments. That of an operator has another name: a bot of the operator's own may be set
/// up, too.
fn requested_progress_file(args: &SetupArgs, env: &Env) -> anyhow::Result<PathBuf> {
    match &args.state.state {
        None if args.destination.operator => {
            Ok(progress_file(None, env)?.with_file_name("operator.json"))
        }
        state => progress_file(state.clone(), env),
    }
}

/// The progress file: the requested one, or `setup.json` in the user's state folder
/// (<https://specifications.freedesktop.org/basedir-spec/latest/>).
pub(super) fn progress_file(requested: Option<PathBuf>, env: &Env) -> anyhow::Result<PathBuf> {
    if let Some(requested) = requested {
        return Ok(requested);
    }
    let absolute = |name: &str| {
        let folder = env.variable(name).map(PathBuf::from);
        folder.filter(|folder| folder.is_absolute())
    };
    let default = || Some(absolute("HOME")?.join(".local/state"));
    let folder = absolute("XDG_STATE_HOME").or_else(default);
    let folder = folder.context("expected the user's home folder in HOME, or --state FILE")?;
    Ok(folder.join("postbell").join("setup.json"))
}

/// A secret from a variable.
pub(super) fn secret(env: &Env, name: &str) -> Option<SecretString> {
    let value = env.variable(name);
    value.filter(|value| !value.is_empty()).map(Into::into)
}

/// The user's browser, by `--no-browser`.
pub(super) fn browser(no_browser: bool) -> Browser {
    if no_browser {
        Browser::Remote
    } else {
        Browser::Local
    }
}

fn request(args: &SetupArgs, config: &Config, env: &Env) -> anyhow::Result<SetupRequest> {
    let secret = |name: &str| secret(env, name);
    let google = &args.google;
    let sign_in = google.sign_in_client.clone();
    let webhook = match secrets::hook_url(args.destination.hook_url.as_ref(), env)? {
        Some(url) => Some(Webhook {
            url,
            token: secrets::hook_token(None, env)?,
            signing: secrets::hook_signing(None, env)?,
        }),
        None => None,
    };
    let requested = &args.destination;
    let names_relay = requested.relay.is_some() || config.relay.audience.is_some();
    Ok(SetupRequest {
        webhook_secrets: WebhookSecrets {
            token: secrets::hook_token(None, env)?,
            signing: secrets::hook_signing(None, env)?,
        },
        home: env.variable("HOME").map(PathBuf::from),
        relay: match &requested.relay {
            None if requested.operator => config.relay.audience.clone(),
            relay => relay.clone(),
        },
        pages: requested
            .pages
            .clone()
            .or_else(|| config.platform.url.clone()),
        asks_relay: requested.platform.is_some() && !names_relay,
        client_file: google.client.clone(),
        sign_in_client_file: sign_in.or_else(|| config.google.sign_in_client_file.clone()),
        access_token: secret(ACCESS_TOKEN_VARIABLE),
        project: google.project.clone(),
        create_project: google.create_project,
        mailbox: google.mailbox.clone(),
        destination: destination(args, config, secret(USER_TOKEN_VARIABLE)),
        names: ResourceNames {
            topic: google.topic.clone(),
            subscription: google.subscription.clone(),
            account: google.service_account.clone(),
        },
        webhook,
        browser: browser(args.no_browser),
        repeat_tests: args.again,
        credentials: args.destination.credentials.as_deref().map(absolute),
        user_token: secret(USER_TOKEN_VARIABLE),
        delete_project: args.delete_project,
        is_for_operator: requested.operator,
        web_client_file: requested.web_client.clone(),
        secret_file: requested.secret_file.as_deref().map(absolute),
        configured: ConfiguredUrls {
            pages: config.platform.url.clone(),
            relay: config.relay.audience.clone(),
        },
    })
}

/// The next run may have another current folder.
fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

fn destination(
    args: &SetupArgs,
    config: &Config,
    token: Option<SecretString>,
) -> Option<Destination> {
    let requested = &args.destination;
    if requested.operator {
        return None;
    }
    if requested.pull {
        return Some(Destination::Pull { credentials: None });
    }
    if let Some(endpoint) = requested.serve.clone() {
        return Some(Destination::Serve {
            credentials: None,
            endpoint,
        });
    }
    let (platform, user) = (requested.platform.clone()?, requested.user.clone()?);
    let relay = requested.relay.clone();
    let relay = relay.or_else(|| config.relay.audience.clone());
    Some(Destination::Platform {
        relay: relay.unwrap_or_else(|| platform.clone()),
        platform,
        user,
        token,
        is_further: requested.further_account,
    })
}
