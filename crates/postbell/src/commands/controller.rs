//! `postbell controller`

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postbell_controller::{
    CarryOver, ControllerParts, Guardian, Ports, Processes, SealError, Settings, Stage, Timing,
    Variables, Version, WatcherProgram, unseal,
};
use postbell_core::{BoxError, Clock, Tasks};
use postbell_relay::serve;
use postbell_watcher::{carry_over, raise};
use rustix::rand::{GetRandomFlags, getrandom};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tracing::{error, info};

use crate::config::{Config, Surroundings, WatcherChoice};
use crate::gog::{GogFolders, watch_state_in};
use crate::wiring;

/// How long the children have to end, and what is in flight with them.
const GRACE: Duration = Duration::from_secs(12);

/// What runs; who builds a release says from what in `POSTBELL_COMMIT`.
const VERSION: Version = Version {
    version: env!("CARGO_PKG_VERSION"),
    commit: match option_env!("POSTBELL_COMMIT") {
        Some(commit) => commit,
        None => "unknown",
    },
};

/// Keeps the machine up until the process is told to stop, then ends the children.
pub(crate) async fn run(
    surroundings: &Surroundings,
    guardian: Option<Guardian>,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let variables: Variables = surroundings.variables().iter().cloned().collect();
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, postbell_controller::port(&variables)));
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} (PORT): is another controller there?")
    })?;
    let tasks = Tasks::new();
    let processes = Processes::new(guardian).context("cannot start a thread for the children")?;
    let router = match prepare(variables, surroundings) {
        Ok(prepared) => {
            let parts = parts(prepared, surroundings, processes.clone(), clock)?;
            postbell_controller::start(parts, &tasks)
        }
        Err(stage) => postbell_controller::degraded(stage),
    };
    let reaping = processes.clone();
    tasks.start("reaping", |stop| reaping.reap(stop));
    tasks.start("controller", |stop| serve(listener, router, stop));
    info!(%address, "The controller answers");
    let ended = wiring::run_until_stopped(tasks, GRACE).await;
    processes.kill_strangers().await;
    ended
}

/// What the machine is told, once all of it is right.
struct Prepared {
    variables: Variables,
    settings: Settings,
    config: Config,
}

/// Reads what the machine is told. What is wrong is for the log alone.
fn prepare(variables: Variables, surroundings: &Surroundings) -> Result<Prepared, Stage> {
    let variables = unseal(variables).map_err(|error: SealError| {
        error!(%error, "The controller cannot start: its variables cannot be decrypted");
        Stage::Bootstrap
    })?;
    let surroundings = surroundings.clone().with_variables(variables.iter());
    let config = surroundings.load().map_err(|error| {
        error!(%error, "The controller cannot start: its configuration is wrong");
        Stage::RuntimeConfig
    });
    let settings = Settings::read(&variables).map_err(|problems| {
        error!(%problems, "The controller cannot start: its variables are wrong");
        Stage::RuntimeConfig
    });
    let (config, settings) = (config?, settings?);
    Ok(Prepared {
        variables,
        settings,
        config,
    })
}

fn parts(
    prepared: Prepared,
    surroundings: &Surroundings,
    processes: Processes,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ControllerParts> {
    let Prepared {
        mut variables,
        settings,
        config,
    } = prepared;
    // Our own watcher reads the same file.
    if let Some(file) = surroundings.named_file() {
        variables.set("POSTBELL_CONFIG", file);
    }
    let watcher = match config.controller.watcher {
        WatcherChoice::Gog => WatcherProgram::Gog,
        WatcherChoice::Postbell => {
            let us = std::env::current_exe().context("cannot find this program")?;
            WatcherProgram::Postbell(us)
        }
    };
    Ok(ControllerParts {
        carry_over: carry_over_of(&variables, surroundings),
        settings,
        variables,
        watcher,
        ports: Ports {
            gateway: config.controller.gateway_port,
            watcher: config.controller.watcher_port,
        },
        timing: Timing::default(),
        processes,
        make_client: Box::new(|| wiring::http_client().map_err(BoxError::from)),
        chance: fastrand::f64,
        fresh_token: fresh_token()?,
        clock,
        version: VERSION,
    })
}

/// What the watcher knows to do with its state.
fn carry_over_of(variables: &Variables, surroundings: &Surroundings) -> Arc<CarryOver> {
    let surroundings = surroundings.clone().with_variables(variables.iter());
    Arc::new(move |old, new, account, delivered| {
        let given = watch_state_in(new);
        carry_over(&watch_state_in(old), &given, account)?;
        if let Some(delivered) = delivered {
            let newer = GogFolders::of(&surroundings)?.newer_watch_state(account);
            raise(&newer.unwrap_or(given), account, delivered)?;
        }
        Ok(())
    })
}

/// 256 random bits as hex digits.
fn fresh_token() -> anyhow::Result<SecretString> {
    // From the kernel: AWS-LC's generator takes 15 ms to begin, which a waking machine has not.
    let mut bytes = [0_u8; 32];
    let filled = getrandom(&mut bytes, GetRandomFlags::empty())?;
    anyhow::ensure!(filled == bytes.len(), "the system gives no random numbers");
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(digits.into())
}
