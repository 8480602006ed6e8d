//! Joins the parts of the controller.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::FromRef;
use axum::http::StatusCode;
use axum::{Json, Router};
use postbell_core::{Clock, Tasks};
use postbell_protocol::gateway_token::GatewayToken;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tracing::{info, warn};

use crate::checkin::{Checkin, MakeClient};
use crate::children::{self, Ports, WatcherProgram, WatcherSecrets};
use crate::credentials::{self, WatcherMemory};
use crate::endpoint::Endpoint;
use crate::loopback::Loopback;
use crate::processes::Processes;
use crate::proxy::Proxy;
use crate::routes::gmail_pubsub::PushRoute;
use crate::routes::{gateway, health};
use crate::settings::{GmailSettings, Settings};
use crate::startup::{Mail, Startup, Supervised, Watcher};
use crate::state::{ControllerState, Stage, StateCell};
use crate::supervisor::{Child, ChildSpec, Supervisor, Timing};
use crate::variables::Variables;

/// What a controller is made of.
pub struct ControllerParts {
    /// What the machine is told.
    pub settings: Settings,
    /// All variables of the machine, decrypted; the children get them.
    pub variables: Variables,
    /// The folder of `gog`, where the variables say where it is.
    pub gog_folder: Option<PathBuf>,
    /// What the watcher remembers.
    pub memory: Arc<dyn WatcherMemory>,
    /// Which program watches.
    pub watcher: WatcherProgram,
    /// Where the children listen.
    pub ports: Ports,
    /// How patient the supervisors are.
    pub timing: Timing,
    /// Starts the children.
    pub processes: Processes,
    /// Makes the client that checks in.
    pub make_client: Box<MakeClient>,
    /// A number from 0 to 1, another one each time.
    pub chance: fn() -> f64,
    /// A token that nobody can guess, for hooks, where none is set.
    pub fresh_token: SecretString,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Which program this is.
    pub version: Version,
}

/// Which program this is.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    /// Its version.
    pub version: &'static str,
    /// The commit that it was built from.
    pub commit: &'static str,
}

/// What the routes for whoever has the token work with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Controller {
    pub(crate) gateway_token: GatewayToken,
    pub(crate) state: StateCell,
    pub(crate) gateway: Child,
    /// Where an account is connected.
    pub(crate) watcher: Option<Child>,
    pub(crate) loopback: Loopback,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) version: Version,
}

impl FromRef<Controller> for GatewayToken {
    fn from_ref(controller: &Controller) -> Self {
        controller.gateway_token.clone()
    }
}

/// Starts a controller, and gives its routes: those for anybody answer from the first moment.
///
/// The tasks end once the children are reaped.
pub fn start(parts: ControllerParts, tasks: &Tasks) -> Router {
    let state = StateCell::new();
    let token = parts.settings.gateway_token.clone();
    let (variables, hooks_token) = for_children(&parts);
    let spec = children::gateway(&parts.settings, &variables);
    let gateway = supervise(spec, parts.ports.gateway, &parts, tasks);
    let mail = match parts.settings.gmail.clone() {
        Ok(None) => {
            info!("No mail is watched for: KILOCLAW_GOG_CONFIG_TARBALL is not set");
            Mail::NotConnected
        }
        Ok(Some(gmail)) => {
            let watcher = watcher(gmail, &variables, &hooks_token, &parts, tasks);
            Mail::Watched(Box::new(watcher))
        }
        Err(problem) => Mail::Wrong(problem),
    };
    let (watcher, pushes_to) = match &mail {
        Mail::NotConnected => (None, None),
        Mail::Watched(watcher) => {
            let Supervised {
                child, endpoint, ..
            } = &watcher.supervised;
            (Some(child.clone()), Some(endpoint.clone()))
        }
        // There would be one: what comes for it may come again.
        Mail::Wrong(_) => (None, Some(Endpoint::never_there(parts.ports.watcher))),
    };
    let proxy = Proxy::new(
        token.clone(),
        parts.settings.proxy_token,
        parts.settings.tunnels,
        gateway.endpoint.clone(),
    );
    let controller = Controller {
        gateway_token: token.clone(),
        state: state.clone(),
        gateway: gateway.child.clone(),
        watcher,
        loopback: proxy.loopback.clone(),
        clock: Arc::clone(&parts.clock),
        version: parts.version,
    };
    let router = Router::new()
        .merge(health::routes())
        .merge(gateway::routes())
        .with_state(controller)
        .merge(health::for_anybody(state.clone()))
        .merge(PushRoute::new(token, pushes_to).router())
        .merge(proxy.clone().router());
    tasks.start("tunnels", |stop| proxy.tunnels.end_with(stop));
    let startup = startup(state, gateway, mail, parts);
    tasks.start("startup", |stop| startup.run(stop));
    router
}

/// The routes of a controller that cannot start: health answers, and says no more than that.
pub fn degraded(stage: Stage) -> Router {
    let state = StateCell::new();
    state.set(ControllerState::Degraded { stage });
    let error = json!({ "error": "The controller could not start: its log says why" });
    let refuse = async move || (StatusCode::SERVICE_UNAVAILABLE, Json(error));
    health::for_anybody(state).fallback(refuse)
}

/// The variables of the children, and what hooks will show.
fn for_children(parts: &ControllerParts) -> (Variables, SecretString) {
    let settings = &parts.settings;
    let hooks_token = settings.hooks_token.clone();
    let hooks_token = hooks_token.unwrap_or_else(|| parts.fresh_token.clone());
    let account = settings.gmail.as_ref().ok().and_then(Option::as_ref);
    let variables = credentials::variables_for(parts.variables.clone(), account);
    let variables = variables.with("KILOCLAW_HOOKS_TOKEN", hooks_token.expose_secret());
    (variables, hooks_token)
}

/// Starts the supervisor of a child, which does not run yet.
fn supervise(spec: ChildSpec, port: u16, parts: &ControllerParts, tasks: &Tasks) -> Supervised {
    let name = spec.name;
    let (processes, clock) = (parts.processes.clone(), Arc::clone(&parts.clock));
    let (supervisor, child) = Supervisor::new(spec, parts.timing, processes, clock);
    tasks.start(name, |stop| supervisor.run(stop));
    let (endpoint, lookout) = Endpoint::of(child.clone(), port);
    Supervised {
        child,
        endpoint,
        lookout,
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
    let spec = children::watcher(&parts.watcher, &gmail, parts.ports, &secrets, variables);
    Watcher {
        supervised: supervise(spec, parts.ports.watcher, parts, tasks),
        renewal: children::renewal(&parts.watcher, &gmail, variables),
        gmail,
    }
}

fn startup(state: StateCell, gateway: Supervised, mail: Mail, parts: ControllerParts) -> Startup {
    let checkin = parts.settings.checkin.unwrap_or_else(|problem| {
        warn!(%problem, "The platform is not told that this machine is up");
        None
    });
    let checkin = checkin.map(|settings| Checkin {
        settings,
        gateway_token: parts.settings.gateway_token,
        make_client: parts.make_client,
        timing: parts.timing,
        chance: parts.chance,
    });
    Startup {
        state,
        gog_folder: parts.gog_folder,
        memory: parts.memory,
        processes: parts.processes,
        gateway,
        mail,
        checkin,
    }
}
