//! Builds the controller from its parts.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use parking_lot::Mutex;
use postbell_core::{Clock, Tasks, Tracer};
use postbell_http::error_response;
use postbell_protocol::gog_dirs::GogDirs;
use secrecy::SecretString;
use tracing::warn;
use url::Url;

use crate::checkin::Checkin;
use crate::child_specs::{ChildSpecs, Ports, WatcherProgram};
use crate::config_source::ConfigSource;
use crate::configurator::{Configurator, Reloading};
use crate::endpoint::Endpoint;
use crate::installation::Installation;
use crate::loopback::Loopback;
use crate::mail_monitor::MailMonitor;
use crate::processes::Processes;
use crate::proxy::Proxy;
use crate::push_route::PushRoute;
use crate::reloads::Reloads;
use crate::route_state::{RouteState, Version};
use crate::sealed_config::SealedConfig;
use crate::settings::Settings;
use crate::shared_client::SharedClient;
use crate::startup::{Startup, Supervised};
use crate::state::{ControllerState, Stage, StateCell};
use crate::supervisor::{ChildSpec, Supervisor, Timing};
use crate::variables::Variables;
use crate::watched_mailbox::WatchedMailbox;
use crate::{gateway_routes, health_routes, reload_route};

/// The dependencies and settings of a controller.
pub struct ControllerParts {
    /// The validated settings.
    pub settings: Settings,
    /// All environment variables, decrypted. The children get them.
    pub variables: Variables,
    /// The folders of `gog`, if the variables determine them.
    pub gog_dirs: Option<GogDirs>,
    /// The program of the bot's gateway, and its first arguments.
    pub gateway_command: Vec<String>,
    /// Where mail is posted to, if not to the gateway's `/hooks/gmail`.
    pub hook_url: Option<Url>,
    /// The program that watches the mailbox.
    pub watcher: WatcherProgram,
    /// The mailboxes in the watcher's own configuration. If there are any, they are watched, and not an account of
    /// the variables or of a platform.
    pub tables: Vec<String>,
    /// The ports of the children.
    pub ports: Ports,
    /// The waits of the supervisors.
    pub timing: Timing,
    /// Starts the children.
    pub processes: Processes,
    /// The client for the platform.
    pub client: Arc<SharedClient>,
    /// The secret with which a fetched configuration is encrypted on disk.
    pub seal_secret: SecretString,
    /// Returns a random number from 0 to 1.
    pub jitter: fn() -> f64,
    /// A random webhook token, used if none is set.
    pub fresh_token: SecretString,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The version to report.
    pub version: Version,
    /// Continues the traces of pushes.
    pub tracer: Tracer,
}

/// Starts the controller's tasks and returns its routes. The public routes work at once.
///
/// The tasks end once the children are reaped.
pub fn start(parts: ControllerParts, tasks: &Tasks) -> Router {
    let state = StateCell::new();
    let mailbox = WatchedMailbox::default();
    let token = parts.settings.gateway_token.clone();
    let ports = parts.ports;
    let gateway = supervise("gateway", ports.gateway, &parts, tasks);
    let watcher = supervise("watcher", ports.watcher, &parts, tasks);
    let mail = mail_monitor(&mailbox, &watcher.endpoint, &gateway.endpoint, &parts);
    let proxy = Proxy::new(
        token.clone(),
        parts.settings.proxy_token,
        parts.settings.tunnels,
        gateway.endpoint.clone(),
    );
    let (reloads, reloading) = reloading(&parts).unzip();
    let route_state = RouteState {
        gateway_token: token.clone(),
        state: state.clone(),
        gateway: gateway.child.clone(),
        watcher: watcher.child.clone(),
        mailbox: mailbox.clone(),
        reloads: reloads.clone(),
        mail: mail.clone(),
        loopback: proxy.loopback.clone(),
        clock: Arc::clone(&parts.clock),
        version: parts.version,
        tracer: parts.tracer.clone(),
    };
    let push_route = PushRoute::new(token, Some(watcher.endpoint.clone()))
        .traced(parts.tracer.clone(), Arc::clone(&parts.clock))
        .fetching(reloads)
        .of_several(watches_several(&parts));
    let router = Router::new()
        .merge(health_routes::authenticated())
        .merge(gateway_routes::routes())
        .merge(reload_route::routes())
        .with_state(route_state)
        .merge(health_routes::public(state.clone(), Some(mail.clone())))
        .merge(push_route.of(mailbox.clone(), mail.clone()).router())
        .merge(proxy.clone().router());
    tasks.start("tunnels", |stop| proxy.tunnels.close_on(stop));
    tasks.start("mail-monitor", |stop| mail.clone().run(stop));
    let configurator = configurator(mailbox, [&gateway, &watcher], mail.clone(), state, &parts);
    let startup = Startup {
        configurator,
        processes: parts.processes.clone(),
        gateway,
        watcher,
        mail,
        checkin: checkin(&parts),
        reloading,
        clock: Arc::clone(&parts.clock),
    };
    tasks.start("startup", |stop| startup.run(stop));
    router
}

/// Returns the routes of a controller whose configuration is invalid: only health works.
pub fn degraded(stage: Stage) -> Router {
    let state = StateCell::new();
    state.set(ControllerState::Degraded { stage });
    let error = "The controller could not start: see its log";
    let refuse = async move || error_response(StatusCode::SERVICE_UNAVAILABLE, error);
    health_routes::public(state, None).fallback(refuse)
}

/// Starts the supervisor of a child, but not the child, whose program is set later.
fn supervise(name: &'static str, port: u16, parts: &ControllerParts, tasks: &Tasks) -> Supervised {
    let spec = ChildSpec::unset(name, Some(port));
    let (processes, clock) = (parts.processes.clone(), Arc::clone(&parts.clock));
    let (supervisor, child) = Supervisor::new(spec, parts.timing, processes, clock);
    tasks.start(name, |stop| supervisor.run(stop));
    let (endpoint, probe) = Endpoint::supervised(child.clone(), port);
    Supervised {
        child,
        endpoint,
        probe,
    }
}

/// Observes the mailbox, if one is watched.
fn mail_monitor(
    mailbox: &WatchedMailbox,
    watcher: &Endpoint,
    gateway: &Endpoint,
    parts: &ControllerParts,
) -> MailMonitor {
    let answers = match parts.watcher {
        WatcherProgram::Postbell { .. } => Some(Loopback::new(watcher.port())),
        WatcherProgram::Gog => None,
    };
    let (watcher, gateway) = (watcher.clone(), gateway.clone());
    let clock = Arc::clone(&parts.clock);
    MailMonitor::new(
        mailbox.clone(),
        Some(watcher),
        answers,
        Some(gateway),
        clock,
    )
}

fn configurator(
    mailbox: WatchedMailbox,
    [gateway, watcher]: [&Supervised; 2],
    mail: MailMonitor,
    state: StateCell,
    parts: &ControllerParts,
) -> Configurator {
    let settings = &parts.settings;
    let hooks_token = settings.hooks_token.clone();
    let specs = ChildSpecs {
        gateway: [&parts.gateway_command[..], &settings.gateway_arguments].concat(),
        program: parts.watcher.clone(),
        tables: parts.tables.clone(),
        is_fetched: settings.platform.is_some(),
        ports: parts.ports,
        hook_url: parts.hook_url.clone(),
        gateway_token: settings.gateway_token.clone(),
        hooks_token: hooks_token.unwrap_or_else(|| parts.fresh_token.clone()),
        variables: parts.variables.clone(),
    };
    let configurator = Configurator {
        specs,
        gog_dirs: parts.gog_dirs.clone(),
        installation: Installation::new(parts.gog_dirs.clone()),
        gateway: gateway.child.clone(),
        watcher: watcher.child.clone(),
        mailbox,
        mail,
        state,
        renewal: Arc::new(Mutex::new(None)),
        variables: settings.gmail.clone(),
        applied: None,
    };
    if settings.platform.is_none() {
        configurator.expect();
    }
    configurator
}

/// What fetches the configuration, if it is fetched from a platform.
fn reloading(parts: &ControllerParts) -> Option<(Reloads, Reloading)> {
    let settings = parts.settings.platform.clone()?;
    let seal = |dirs| SealedConfig::new(dirs, &parts.seal_secret, &settings.sandbox_id);
    let sealed = parts.gog_dirs.as_ref().map(seal).map(Arc::new);
    let (reloads, requests) = Reloads::new();
    let source = ConfigSource {
        client: Arc::clone(&parts.client),
        settings,
        gateway_token: parts.settings.gateway_token.clone(),
        sealed,
        takes_several: takes_several(parts),
    };
    let reloading = Reloading {
        source,
        requests,
        timing: parts.timing,
        clock: Arc::clone(&parts.clock),
        jitter: parts.jitter,
    };
    Some((reloads, reloading))
}

/// Whether the watcher can watch several accounts.
const fn takes_several(parts: &ControllerParts) -> bool {
    matches!(parts.watcher, WatcherProgram::Postbell { .. })
}

/// Whether it watches several accounts of a user, if there are.
const fn watches_several(parts: &ControllerParts) -> bool {
    parts.settings.platform.is_some() && takes_several(parts)
}

fn checkin(parts: &ControllerParts) -> Option<Checkin> {
    let checkin = parts.settings.checkin.clone().unwrap_or_else(|error| {
        warn!(%error, "Check-ins with the platform are disabled");
        None
    });
    checkin.map(|settings| Checkin {
        settings,
        gateway_token: parts.settings.gateway_token.clone(),
        client: Arc::clone(&parts.client),
        watches_several: watches_several(parts),
        timing: parts.timing,
        clock: Arc::clone(&parts.clock),
        jitter: parts.jitter,
    })
}
