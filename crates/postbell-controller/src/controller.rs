//! Builds the controller from its parts.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use postbell_core::{Clock, Tasks, Tracer};
use postbell_http::error_response;
use postbell_protocol::gog_dirs::GogDirs;
use secrecy::{ExposeSecret, SecretString};
use tracing::{info, warn};

use crate::checkin::{Checkin, MakeClient};
use crate::child_specs::{self, Ports, WatcherProgram, WatcherSecrets};
use crate::credentials;
use crate::endpoint::Endpoint;
use crate::loopback::Loopback;
use crate::mail_monitor::{MailMonitor, WatchStateFile};
use crate::processes::Processes;
use crate::proxy::Proxy;
use crate::push_route::PushRoute;
use crate::route_state::{RouteState, Version};
use crate::settings::{GmailSettings, Settings};
use crate::startup::{Gmail, Startup, Supervised, Watcher};
use crate::state::{ControllerState, Stage, StateCell};
use crate::supervisor::{ChildSpec, Supervisor, Timing};
use crate::variables::Variables;
use crate::{gateway_routes, health_routes};

/// The dependencies and settings of a controller.
pub struct ControllerParts {
    /// The validated settings.
    pub settings: Settings,
    /// All environment variables, decrypted. The children get them.
    pub variables: Variables,
    /// The folders of `gog`, if the variables determine them.
    pub gog_dirs: Option<GogDirs>,
    /// The program that watches the mailbox.
    pub watcher: WatcherProgram,
    /// The ports of the children.
    pub ports: Ports,
    /// The waits of the supervisors.
    pub timing: Timing,
    /// Starts the children.
    pub processes: Processes,
    /// Creates the client for check-ins.
    pub make_client: Box<MakeClient>,
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
    let token = parts.settings.gateway_token.clone();
    let (variables, hooks_token) = child_variables(&parts);
    let spec = child_specs::gateway(&parts.settings, parts.ports.gateway, &variables);
    let gateway = supervise(spec, parts.ports.gateway, &parts, tasks);
    let gmail = match parts.settings.gmail.clone() {
        Ok(None) => {
            info!("No mailbox is watched: KILOCLAW_GOG_CONFIG_TARBALL is not set");
            Gmail::NotConnected
        }
        Ok(Some(gmail)) => {
            let watcher = watcher(gmail, &variables, &hooks_token, &parts, tasks);
            Gmail::Watched(Box::new(watcher))
        }
        Err(error) => Gmail::Invalid(error),
    };
    let (watcher, pushes_to) = match &gmail {
        Gmail::NotConnected => (None, None),
        Gmail::Watched(watcher) => {
            let Supervised {
                child, endpoint, ..
            } = &watcher.supervised;
            (Some(child.clone()), Some(endpoint.clone()))
        }
        // Pushes are answered so that the relay retries: the settings may be fixed.
        Gmail::Invalid(_) => (None, Some(Endpoint::never_ready(parts.ports.watcher))),
    };
    let mail = mail_monitor(&gmail, pushes_to.clone(), gateway.endpoint.clone(), &parts);
    let proxy = Proxy::new(
        token.clone(),
        parts.settings.proxy_token,
        parts.settings.tunnels,
        gateway.endpoint.clone(),
    );
    let route_state = RouteState {
        gateway_token: token.clone(),
        state: state.clone(),
        gateway: gateway.child.clone(),
        watcher,
        mail: mail.clone(),
        loopback: proxy.loopback.clone(),
        clock: Arc::clone(&parts.clock),
        version: parts.version,
    };
    let push_route = PushRoute::new(token, pushes_to)
        .with_reasons_of(mail.clone())
        .traced(parts.tracer.clone(), Arc::clone(&parts.clock));
    let router = Router::new()
        .merge(health_routes::authenticated())
        .merge(gateway_routes::routes())
        .with_state(route_state)
        .merge(health_routes::public(state.clone(), Some(mail.clone())))
        .merge(push_route.router())
        .merge(proxy.clone().router());
    tasks.start("tunnels", |stop| proxy.tunnels.close_on(stop));
    tasks.start("mail-monitor", |stop| mail.clone().run(stop));
    let startup = startup(state, gateway, gmail, mail, parts);
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

/// Returns the variables of the children, and the webhook token.
fn child_variables(parts: &ControllerParts) -> (Variables, SecretString) {
    let settings = &parts.settings;
    let hooks_token = settings.hooks_token.clone();
    let hooks_token = hooks_token.unwrap_or_else(|| parts.fresh_token.clone());
    let account = settings.gmail.as_ref().ok().and_then(Option::as_ref);
    let variables = credentials::child_variables(parts.variables.clone(), account);
    let variables = variables.with("KILOCLAW_HOOKS_TOKEN", hooks_token.expose_secret());
    (variables, hooks_token)
}

/// Starts the supervisor of a child, but not the child.
fn supervise(spec: ChildSpec, port: u16, parts: &ControllerParts, tasks: &Tasks) -> Supervised {
    let name = spec.name;
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

fn watcher(
    gmail: GmailSettings,
    variables: &Variables,
    hooks_token: &SecretString,
    parts: &ControllerParts,
    tasks: &Tasks,
) -> Watcher {
    let secrets = WatcherSecrets {
        gateway_token: &parts.settings.gateway_token,
        hooks_token,
    };
    let spec = child_specs::watcher(&parts.watcher, &gmail, parts.ports, &secrets, variables);
    Watcher {
        supervised: supervise(spec, parts.ports.watcher, parts, tasks),
        renewal: child_specs::renewal(&parts.watcher, &gmail, variables),
        gmail,
    }
}

/// Observes the mailbox, if there is one.
fn mail_monitor(
    gmail: &Gmail,
    watcher: Option<Endpoint>,
    gateway: Endpoint,
    parts: &ControllerParts,
) -> MailMonitor {
    let account = match gmail {
        Gmail::Watched(watcher) => Some(watcher.gmail.account.clone()),
        Gmail::NotConnected | Gmail::Invalid(_) => None,
    };
    let file = account.zip(parts.gog_dirs.clone());
    let file = file.map(|(account, gog_dirs)| WatchStateFile { gog_dirs, account });
    let answers = match parts.watcher {
        WatcherProgram::Postbell { .. } => watcher
            .as_ref()
            .map(|watcher| Loopback::new(watcher.port())),
        WatcherProgram::Gog => None,
    };
    let clock = Arc::clone(&parts.clock);
    MailMonitor::new(file, watcher, answers, Some(gateway), clock)
}

fn startup(
    state: StateCell,
    gateway: Supervised,
    gmail: Gmail,
    mail: MailMonitor,
    parts: ControllerParts,
) -> Startup {
    let checkin = parts.settings.checkin.unwrap_or_else(|error| {
        warn!(%error, "Check-ins with the platform are disabled");
        None
    });
    let checkin = checkin.map(|settings| Checkin {
        settings,
        gateway_token: parts.settings.gateway_token,
        make_client: parts.make_client,
        timing: parts.timing,
        jitter: parts.jitter,
    });
    Startup {
        state,
        gog_dirs: parts.gog_dirs,
        processes: parts.processes,
        gateway,
        gmail,
        mail,
        checkin,
    }
}
