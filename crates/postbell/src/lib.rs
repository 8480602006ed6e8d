//! Command line, configuration and wiring of the parts.
//!
//! `commands` has one file per command, `config` reads the settings, `wiring` builds the parts,
//! `demo` runs them end to end. Start reading at [`run`].

pub mod config;
pub mod demo;
pub mod wiring;

mod cli;
mod commands;
mod console;
mod logging;

use std::io::ErrorKind;
use std::process::ExitCode;

use mimalloc::MiMalloc;
use postbell_core::SystemClock;
use postbell_store::{BackupError, OpenError};
use postbell_watcher::WrongAccount;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tracing::{error, warn};

use crate::cli::{Cli, Command, GmailCommand};
use crate::config::{BadSetting, Config, ConfigError, Env};
use crate::console::Console;
use crate::logging::LogGuard;

/// A push is allocated on one thread and freed on another; the system's allocator then waits for its
/// own locks (`docs/performance.md`).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Exit code for an invalid configuration: `EX_CONFIG` of `sysexits.h`.
const BAD_CONFIGURATION: u8 = 78;

/// Exit code for wrong usage, as clap has it.
const WRONG_USAGE: u8 = 2;

const NO_FILE: &str = "note: there is no configuration file here: neither ./postbell.toml nor \
    /etc/postbell/postbell.toml exists. Name yours with --config or POSTBELL_CONFIG.";

/// Runs the command that the process was started with.
///
/// Invalid usage ends the process with code 2, as clap does.
#[must_use]
pub fn run() -> ExitCode {
    let console = Console::from_process();
    let cli = match Cli::read(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && console.wraps(&error.to_string()) => {
            console.error(error.to_string().trim_end());
            return ExitCode::from(WRONG_USAGE);
        }
        Err(help) => help.exit(),
    };
    let env = match Env::from_process(cli.config.clone()) {
        Ok(env) => env,
        Err(error) => return fail(&console, &error.into()),
    };
    let log = match start_log(&cli, &env) {
        Ok(log) => log,
        Err(error) => return fail(&console, &error),
    };
    raise_file_limit(&cli.command);
    let outcome = runtime_for(&cli.command)
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(dispatch(cli, &console, &env)));
    // The log's lines come before the error message.
    drop(log);
    outcome.unwrap_or_else(|error| {
        let code = fail(&console, &error);
        if (error.is::<ConfigError>() || is_missing_store(&error)) && env.existing_file().is_none()
        {
            console.error(NO_FILE);
        }
        code
    })
}

/// Starts the log. The controller falls back to its default filter if the configured one is invalid:
/// it must run to report the error through its health routes.
fn start_log(cli: &Cli, env: &Env) -> anyhow::Result<LogGuard> {
    let default = cli.command.default_filter();
    let filter = logging::filter(env).unwrap_or(default);
    match (logging::start(filter, cli.log_format), &cli.command) {
        (Err(error), Command::Controller) => {
            let log = logging::start(default, cli.log_format)?;
            error!(%error, "The log uses its default filter");
            Ok(log)
        }
        (started, _) => started,
    }
}

/// Raises the limit of open files to the maximum: each connection needs one, and many systems start
/// processes with 1024. The controller keeps its limit, because its children inherit it and programs
/// that use select(2) break with more.
fn raise_file_limit(command: &Command) {
    let limit = getrlimit(Resource::Nofile);
    // macOS refuses more than `OPEN_MAX` (setrlimit(2)) even if the maximum is unlimited.
    let current = if cfg!(target_os = "macos") {
        Some(limit.maximum.map_or(10_240, |maximum| maximum.min(10_240)))
    } else {
        limit.maximum
    };
    if matches!(command, Command::Controller) || limit.current == current {
        return;
    }
    let raised = Rlimit { current, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "Could not raise the limit of open files");
    }
}

/// The controller and the watcher run on one thread, because a bot's machine has one processor and little memory, and
/// so does a health check, which runs every few seconds. The watcher waits for Gmail and its quota most of the time, and its few
/// tasks wait for one another. The servers use all processors.
fn runtime_for(command: &Command) -> std::io::Result<Runtime> {
    let mut builder = match command {
        Command::Controller | Command::Healthcheck(_) | Command::Watch(_) => {
            Builder::new_current_thread()
        }
        _ => Builder::new_multi_thread(),
    };
    builder.enable_all().build()
}

async fn dispatch(cli: Cli, console: &Console, env: &Env) -> anyhow::Result<ExitCode> {
    let clock = std::sync::Arc::new(SystemClock::new());
    let command_line = &cli.command_line;
    match cli.command {
        Command::Demo(args) => commands::demo::run(&args, console, clock).await,
        Command::Sandbox(args) => commands::sandbox::run(&args, console, env).await,
        Command::Controller => commands::controller::run(env, clock).await,
        Command::Serve => commands::serve::run(&load_for_service(env)?, clock).await,
        Command::Relay => commands::relay::run(&load_for_service(env)?, clock).await,
        Command::Platform => commands::platform::run(&load_for_service(env)?, clock).await,
        Command::Users(args) => commands::users::run(&args, console, env, clock).await,
        Command::Keys(args) => commands::keys::run(&args, console, env, clock).await,
        Command::Audit(args) => commands::audit::run(&args, console, env, clock).await,
        Command::Setup(args) => commands::setup::run(*args, console, env, clock).await,
        Command::Status(args) => commands::status::run(&args, console, env, &*clock).await,
        Command::Doctor(args) => commands::doctor::run(*args, console, env, clock).await,
        Command::Watch(command) | Command::Gmail(GmailCommand::Watch(command)) => {
            commands::watch::run(&command, command_line, console, env, clock).await
        }
        Command::Deliveries(args) => commands::deliveries::run(&args, console, env, clock).await,
        Command::DeadLetters(args) => commands::dead_letters::run(&args, console, env, clock).await,
        Command::Backup(args) => commands::backup::backup(&args, console, &env.load()?, &*clock),
        Command::Restore(args) => commands::backup::restore(&args, console, &env.load()?, &*clock),
        Command::Store(command) => commands::store::run(&command, console).await,
        Command::Migrate { json } => commands::migrate::run(json, console, &env.load()?),
        Command::Config(command) => commands::config::run(&command, console, env, &*clock),
        Command::Healthcheck(args) => commands::healthcheck::run(&args).await,
        Command::Completions { shell } => commands::completions::run(shell, console),
        Command::Man { folder } => commands::man::run(&folder),
    }
}

/// Loads the configuration, and logs what should be changed in it.
fn load_for_service(env: &Env) -> Result<Config, ConfigError> {
    let config = env.load()?;
    for warning in env.warnings(&config) {
        warn!("{warning}");
    }
    Ok(config)
}

/// Prints the error with its causes and returns the exit code. A reader that has seen enough, such as `head`,
/// is no error: the exit code alone says that the output is not whole.
fn fail(console: &Console, error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::FAILURE;
    }
    match error.downcast_ref::<ConfigError>() {
        // Each on its own line, unless a context says what they are about.
        Some(errors) if error.chain().count() == 1 => {
            for error in errors.each() {
                console.error(&format!("error: {error}"));
            }
        }
        _ => console.error(&format!("error: {error:#}")),
    }
    let is_bad =
        error.is::<ConfigError>() || error.is::<BadSetting>() || error.is::<WrongAccount>();
    if is_bad {
        ExitCode::from(BAD_CONFIGURATION)
    } else {
        ExitCode::FAILURE
    }
}

/// Whether a store was looked for that does not exist.
fn is_missing_store(error: &anyhow::Error) -> bool {
    let is_missing = |error: &OpenError| matches!(error, OpenError::Missing);
    error.chain().any(|cause| {
        let of_backup = cause.downcast_ref::<BackupError>();
        let of_backup = of_backup.and_then(|error| match error {
            BackupError::Store(error) => Some(error),
            _ => None,
        });
        cause.downcast_ref().or(of_backup).is_some_and(is_missing)
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    error.chain().count() == 1 && cause.is_some_and(|it| it.kind() == ErrorKind::BrokenPipe)
}
