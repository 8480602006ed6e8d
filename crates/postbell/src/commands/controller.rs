//! `postbell controller`

use std::fs::File;
use std::io::Read;
use std::net::{Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postbell_controller::{
    ControllerParts, Ports, Processes, Settings, SharedClient, Stage, Timing, Variables, Version,
    WatcherProgram,
};
use postbell_core::{Clock, Tasks, Tracer};
use postbell_http::{Listener, serve};
use postbell_protocol::env_crypto::{KEY_VARIABLE, decrypt_variables};
use postbell_protocol::gog_dirs::{GOG_DIR_VARIABLES, GogDirs};
use secrecy::SecretString;
use tracing::{error, info};

use crate::config::{Config, ConfigError, ControllerConfig, Env, WatchConfig, WatcherChoice};
use crate::wiring::{Service, Telemetry};

/// Time for requests in flight to finish after the children have been stopped.
const GRACE_MARGIN: Duration = Duration::from_secs(2);

/// What the service manager tells this process alone. A child that used it would report for the
/// controller, or take its sockets.
const SERVICE_VARIABLES: [&str; 7] = [
    "CREDENTIALS_DIRECTORY",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// The arguments of the gateway. Only OpenClaw needs some.
const GATEWAY_ARGS: &str = "KILOCLAW_GATEWAY_ARGS";

/// The version that the controller reports. Release builds set `POSTBELL_COMMIT`.
const VERSION: Version = Version {
    version: env!("CARGO_PKG_VERSION"),
    commit: match option_env!("POSTBELL_COMMIT") {
        Some(commit) => commit,
        None => "unknown",
    },
};

/// Runs the controller until the process is asked to stop, then stops the children.
pub(crate) async fn run(env: &Env, clock: Arc<dyn Clock>) -> anyhow::Result<ExitCode> {
    let timing = Timing::default();
    let service = Service::new(timing.grace + GRACE_MARGIN)?;
    let processes = Processes::new().context("cannot supervise processes")?;
    let variables: Variables = env.variables().iter().cloned().collect();
    let port = postbell_controller::port(&variables);
    // Configuration errors are logged even if the port is in use.
    let prepared = prepare(env);
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listener = Listener::bind(&address.into()).await.context("PORT")?;
    let address = listener.address()?;
    let tasks = Tasks::new();
    let (router, status) = match prepared {
        Ok(prepared) => {
            let config = &prepared.config.telemetry;
            let telemetry = Telemetry::new(config, "postbell-controller", &clock)?;
            let tracer = telemetry.tracer.clone();
            telemetry.start(&tasks);
            let parts = parts(prepared, timing, processes.clone(), tracer, clock)?;
            info!(%address, "Controller listening");
            let router = postbell_controller::start(parts, &tasks);
            (router, "supervising gateway and watcher".to_owned())
        }
        Err(stage) => {
            info!(%address, "Controller listening; only its health routes are available");
            let status = "invalid configuration: only the health routes are available";
            (postbell_controller::degraded(stage), status.to_owned())
        }
    };
    let reaping = processes.clone();
    tasks.start("reaping", |stop| reaping.reap_orphans(stop));
    tasks.start("controller", |stop| serve(listener, router, stop));
    let responding = processes.clone();
    let problem = async || {
        responding.respond().await;
        None
    };
    let ended = service.run(tasks, status, problem).await;
    processes.kill_orphans().await;
    Ok(ended)
}

/// The validated configuration of the machine.
struct Prepared {
    variables: Variables,
    /// The same variables as a child sees them.
    env: Env,
    settings: Settings,
    config: Config,
    /// The secret with which a fetched configuration is encrypted on disk.
    seal_secret: SecretString,
}

/// Reads the configuration. Errors are logged in full; the health routes report only the stage.
fn prepare(env: &Env) -> Result<Prepared, Stage> {
    let env_key = env.variable(KEY_VARIABLE).map(SecretString::from);
    let variables = env.variables().iter().cloned();
    let variables = decrypt_variables(variables).map_err(|error| {
        error!(%error, "Cannot start: the encrypted variables cannot be decrypted");
        Stage::Bootstrap
    })?;
    let mut variables: Variables = variables.into_iter().collect();
    // The tarball is unpacked into the default folder of every version of `gog`; these variables
    // would select another folder.
    for name in GOG_DIR_VARIABLES {
        variables.remove(name);
    }
    for name in SERVICE_VARIABLES {
        variables.remove(name);
    }
    // Postbell's own watcher reads the same configuration file.
    if let Some(file) = env.named_file() {
        variables.set("POSTBELL_CONFIG", file);
    }
    let env = env.clone().with_variables(variables.iter());
    let config = env.load().and_then(|config| {
        config.controller.check()?;
        config.telemetry.check()?;
        Ok(config)
    });
    let config = config.map_err(|error: ConfigError| {
        error!(%error, "Cannot start: invalid configuration");
        Stage::RuntimeConfig
    });
    if let Ok(config) = &config
        && variables.get(GATEWAY_ARGS).is_none()
        && let Some(default) = default_gateway_arguments(&config.controller)
    {
        variables.set(GATEWAY_ARGS, &default);
    }
    let platform = config.as_ref().ok();
    let platform = platform.and_then(|config| config.controller.platform_url.as_ref());
    let settings = Settings::read(&variables).and_then(|settings| match platform {
        Some(url) => settings.with_platform(url, &variables),
        None => Ok(settings),
    });
    let settings = settings.map_err(|problems| {
        for problem in &problems {
            error!(%problem, "Cannot start: invalid environment variable");
        }
        Stage::RuntimeConfig
    });
    let (config, mut settings) = (config?, settings?);
    if let Some(token) = &config.controller.hook_token {
        settings.hooks_token = Some(token.clone());
    }
    let seal_secret = env_key.unwrap_or_else(|| settings.gateway_token.expose().into());
    Ok(Prepared {
        seal_secret,
        variables,
        env,
        settings,
        config,
    })
}

/// The gateway's arguments if no variable has them, as JSON. Another gateway needs none, and OpenClaw its port; without
/// a platform of ours, its arguments are KiloClaw's to give.
fn default_gateway_arguments(controller: &ControllerConfig) -> Option<String> {
    let port = controller.gateway_port;
    if !controller.is_openclaw() {
        Some("[]".to_owned())
    } else if controller.platform_url.is_some() {
        Some(format!(r#"["--port","{port}","--bind","loopback"]"#))
    } else {
        None
    }
}

fn parts(
    prepared: Prepared,
    timing: Timing,
    processes: Processes,
    tracer: Tracer,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ControllerParts> {
    let Prepared {
        variables,
        env,
        settings,
        config,
        seal_secret,
    } = prepared;
    let watcher = match config.controller.watcher {
        WatcherChoice::Gog => WatcherProgram::Gog,
        WatcherChoice::Postbell => {
            let program = std::env::current_exe().context("cannot find this program's file")?;
            WatcherProgram::Postbell {
                program,
                arguments: config.controller.watcher_args,
            }
        }
    };
    Ok(ControllerParts {
        settings,
        variables,
        gateway_command: config.controller.gateway_command,
        hook_url: config.controller.hook_url,
        tables: config.watch.iter().flat_map(WatchConfig::states).collect(),
        gog_dirs: GogDirs::from_variables(|name| env.variable(name)).ok(),
        watcher,
        ports: Ports {
            gateway: config.controller.gateway_port.get(),
            watcher: config.controller.watcher_port.get(),
        },
        timing,
        processes,
        client: Arc::new(SharedClient::new(|| {
            postbell_http::require_ca_certificates()?;
            Ok(postbell_http::client()?)
        })),
        seal_secret,
        jitter: fastrand::f64,
        fresh_token: fresh_token()?,
        clock,
        version: VERSION,
        tracer,
    })
}

/// Returns 256 random bits as hex digits.
fn fresh_token() -> anyhow::Result<SecretString> {
    // From the kernel: AWS-LC's generator takes 15 ms to start, which delays a machine that was
    // started for mail.
    let mut bytes = [0_u8; 32];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read random numbers")?;
    Ok(hex::encode(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openclaw_gets_its_port_where_a_platform_configures_the_machine() {
        let of = |command: &[&str], platform: Option<&str>| {
            default_gateway_arguments(&ControllerConfig {
                gateway_command: command.iter().map(|word| (*word).to_owned()).collect(),
                platform_url: platform.map(|url| url.parse().unwrap()),
                ..ControllerConfig::default()
            })
        };
        let platform = Some("https://bell.example.com");
        let openclaw = ["openclaw", "gateway"];
        assert_eq!(
            of(&openclaw, platform).as_deref(),
            Some(r#"["--port","3001","--bind","loopback"]"#)
        );
        assert_eq!(of(&openclaw, None), None);
        for platform in [None, platform] {
            assert_eq!(of(&["bot"], platform).as_deref(), Some("[]"));
        }
    }
}
