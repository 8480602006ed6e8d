//! `postbell controller`

mod memory;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postbell_controller::{
    ControllerParts, Ports, Processes, Settings, Stage, Timing, Variables, Version, WatcherProgram,
};
use postbell_core::{BoxError, Clock, Tasks};
use postbell_http::serve;
use postbell_protocol::env_crypto::decrypt_variables;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::rand::{GetRandomFlags, getrandom};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tracing::{error, info, warn};

use self::memory::Memory;
use crate::config::{Config, ConfigError, Surroundings, WatcherChoice};
use crate::gog::{self, GogFolders};
use crate::wiring;

/// How much longer than for the children is waited for what is in flight with them.
const GRACE_MARGIN: Duration = Duration::from_secs(2);

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
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let signals = wiring::StopSignals::listen()?;
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!(%error, "The children may read the controller's variables");
    }
    let variables: Variables = surroundings.variables().iter().cloned().collect();
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, postbell_controller::port(&variables)));
    // What is wrong is told even where the port is taken.
    let prepared = prepare(surroundings);
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} (PORT): is another controller there?")
    })?;
    let tasks = Tasks::new();
    let processes = Processes::new().context("cannot start a thread for the children")?;
    let timing = Timing::default();
    let router = match prepared {
        Ok(prepared) => {
            let parts = parts(prepared, timing, processes.clone(), clock)?;
            info!(%address, "The controller answers");
            postbell_controller::start(parts, &tasks)
        }
        Err(stage) => {
            info!(%address, "The controller answers, and only as to its health");
            postbell_controller::degraded(stage)
        }
    };
    let reaping = processes.clone();
    tasks.start("reaping", |stop| reaping.reap_orphans(stop));
    tasks.start("controller", |stop| serve(listener, router, stop));
    let ended = wiring::run_until(signals, tasks, timing.grace + GRACE_MARGIN).await;
    processes.kill_orphans().await;
    Ok(ended)
}

/// What the machine is told, once all of it is right.
struct Prepared {
    variables: Variables,
    /// What the variables mean to a child, too.
    surroundings: Surroundings,
    settings: Settings,
    config: Config,
}

/// Reads what the machine is told. What is wrong is for the log alone.
fn prepare(surroundings: &Surroundings) -> Result<Prepared, Stage> {
    let variables = surroundings.variables().iter().cloned();
    let variables = decrypt_variables(variables).map_err(|error| {
        error!(%error, "The controller cannot start: its variables cannot be decrypted");
        Stage::Bootstrap
    })?;
    let mut variables: Variables = variables.into_iter().collect();
    // A tarball is unpacked where all versions of `gog` look, unless these lead them elsewhere.
    for name in gog::FOLDER_VARIABLES {
        variables.remove(name);
    }
    // Our own watcher reads the same file.
    if let Some(file) = surroundings.named_file() {
        variables.set("POSTBELL_CONFIG", file);
    }
    let surroundings = surroundings.clone().with_variables(variables.iter());
    let config = surroundings.load().and_then(|config| {
        config.controller.check()?;
        Ok(config)
    });
    let config = config.map_err(|error: ConfigError| {
        error!(%error, "The controller cannot start: its configuration is wrong");
        Stage::RuntimeConfig
    });
    let settings = Settings::read(&variables).map_err(|problems| {
        for problem in &problems {
            error!(%problem, "The controller cannot start: a variable is wrong");
        }
        Stage::RuntimeConfig
    });
    let (config, settings) = (config?, settings?);
    Ok(Prepared {
        variables,
        surroundings,
        settings,
        config,
    })
}

fn parts(
    prepared: Prepared,
    timing: Timing,
    processes: Processes,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ControllerParts> {
    let Prepared {
        variables,
        surroundings,
        settings,
        config,
    } = prepared;
    let watcher = match config.controller.watcher {
        WatcherChoice::Gog => WatcherProgram::Gog,
        WatcherChoice::Postbell => {
            let us = std::env::current_exe().context("cannot find this program")?;
            WatcherProgram::Postbell(us)
        }
    };
    let gog_folders = GogFolders::of(&surroundings).ok();
    Ok(ControllerParts {
        settings,
        variables,
        gog_folder: gog_folders
            .as_ref()
            .map(|folders| folders.config().to_owned()),
        memory: Arc::new(Memory(gog_folders)),
        watcher,
        ports: Ports {
            gateway: config.controller.gateway_port.get(),
            watcher: config.controller.watcher_port.get(),
        },
        timing,
        processes,
        make_client: Box::new(|| postbell_http::client().map_err(BoxError::from)),
        chance: fastrand::f64,
        fresh_token: fresh_token()?,
        clock,
        version: VERSION,
    })
}

/// 256 random bits as hex digits.
fn fresh_token() -> anyhow::Result<SecretString> {
    // From the kernel: AWS-LC's generator takes 15 ms to begin, which a waking machine has not.
    let mut bytes = [0_u8; 32];
    let filled = getrandom(&mut bytes, GetRandomFlags::empty())?;
    anyhow::ensure!(filled == bytes.len(), "the system gives no random numbers");
    Ok(hex::encode(bytes).into())
}
