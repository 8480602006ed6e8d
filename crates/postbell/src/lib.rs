//! The command line, the configuration and the wiring: where the parts meet.
//!
//! No logic lives here that is worth a unit test of its own: `commands` has a file for each
//! command, `config` reads settings, `wiring` builds the parts, `demo` shows them at work. Start
//! reading at [`run`].

pub mod config;
pub mod demo;
pub mod wiring;

mod cli;
mod commands;
mod console;
mod gog;
mod logging;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use postbell_core::SystemClock;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tracing::{error, warn};

use crate::cli::{Cli, Command};
use crate::config::{ConfigError, Surroundings};
use crate::console::Console;
use crate::logging::LogGuard;

/// A push is allocated on one thread and freed on another, thread after thread: there the system's
/// allocator spends its time waiting for its own locks (`docs/performance.md`).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Exit code for a wrong configuration: `EX_CONFIG` of `sysexits.h`.
const BAD_CONFIGURATION: u8 = 78;

/// Runs the command that the process was started with.
///
/// Wrong usage ends the process with code 2, as clap does.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let console = Console::of_process();
    let surroundings = Surroundings::of_process(cli.config.clone());
    let log = match start_log(&cli, &surroundings) {
        Ok(log) => log,
        Err(error) => return fail(&console, &error),
    };
    raise_file_limit(&cli.command);
    let outcome = runtime_for(&cli.command)
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(dispatch(cli, &console, &surroundings)));
    // The log's lines come before the error message.
    drop(log);
    outcome.unwrap_or_else(|error| fail(&console, &error))
}

/// Starts the log. A controller works with the usual filter where the one given is wrong: a machine
/// whose health does not answer cannot say what is wrong.
fn start_log(cli: &Cli, surroundings: &Surroundings) -> anyhow::Result<LogGuard> {
    let usual = cli.command.default_filter();
    let given = logging::filter(surroundings).unwrap_or(usual);
    match (logging::start(given, cli.log_format), &cli.command) {
        (Err(wrong), Command::Controller) => {
            let log = logging::start(usual, cli.log_format)?;
            error!(error = %wrong, "The log uses its default filter");
            Ok(log)
        }
        (started, _) => started,
    }
}

/// Takes as many file descriptors as the system gives: many users' connections need them. A
/// controller stays with what it has, which its children inherit: programs that use select(2) break
/// with more.
fn raise_file_limit(command: &Command) {
    let limit = getrlimit(Resource::Nofile);
    if matches!(command, Command::Controller) || limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "The limit of open files stays as it is");
    }
}

/// A bot's machine has one processor and little memory: its controller has one thread. What serves
/// many users takes all processors.
fn runtime_for(command: &Command) -> std::io::Result<Runtime> {
    let mut builder = match command {
        Command::Controller => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.enable_all().build()
}

async fn dispatch(
    cli: Cli,
    console: &Console,
    surroundings: &Surroundings,
) -> anyhow::Result<ExitCode> {
    let clock = std::sync::Arc::new(SystemClock::new());
    match cli.command {
        Command::Demo(args) => commands::demo::run(&args, console, clock).await,
        Command::Sandbox(args) => commands::sandbox::run(&args, console, surroundings).await,
        Command::Controller => commands::controller::run(surroundings, clock).await,
        Command::Serve => commands::serve::run(&surroundings.load()?, clock).await,
        Command::Relay => commands::relay::run(&surroundings.load()?, clock).await,
        Command::Platform => commands::platform::run(&surroundings.load()?, clock).await,
        Command::Users(command) => {
            commands::users::run(&command, console, &surroundings.load()?, &*clock).await
        }
        Command::Setup(args) => commands::setup::run(*args, console, surroundings, clock).await,
        Command::Doctor(args) => commands::doctor::run(*args, console, surroundings, clock).await,
        Command::Watch(command) => {
            commands::watch::run(&command, console, surroundings, clock).await
        }
        Command::Deliveries { user, json } => {
            commands::deliveries::run(&user, json, console, &surroundings.load()?).await
        }
        Command::DeadLetters(command) => {
            commands::dead_letters::run(&command, console, &surroundings.load()?, &*clock).await
        }
        Command::Config(command) => commands::config::run(&command, console, surroundings),
        Command::Completions { shell } => commands::completions::run(shell, console),
    }
}

/// Says what went wrong, with its causes, and chooses the exit code.
fn fail(console: &Console, error: &anyhow::Error) -> ExitCode {
    console.error(&format!("error: {error:#}"));
    if error.is::<ConfigError>() {
        ExitCode::from(BAD_CONFIGURATION)
    } else {
        ExitCode::FAILURE
    }
}
