//! Joins the parts of the controller.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::{Json, Router};
use postbell_core::{Clock, Tasks};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::checkin::{Checkin, MakeClient};
use crate::children::{self, Ports, WatcherProgram, WatcherSecrets};
use crate::credentials::{self, CarryOver};
use crate::loopback::Loopback;
use crate::machine::{Kept, Machine, WatcherParts};
use crate::presence::Door;
use crate::processes::Processes;
use crate::proxy::GatewayRoute;
use crate::routes::gmail_pubsub::PushRoute;
use crate::routes::{gateway, health};
use crate::settings::{GmailSettings, Settings};
use crate::state::{ControllerState, Stage, StateCell};
use crate::supervisor::{Child, ChildSpec, Supervisor, Timing};
use crate::variables::Variables;

/// What the routes work with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Controller {
    pub(crate) parts: Arc<Parts>,
}

pub(crate) struct Parts {
    pub(crate) gateway_token: Arc<SecretString>,
    pub(crate) state: StateCell,
    pub(crate) gateway_child: Child,
    pub(crate) loopback: Loopback,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) version: Version,
}

/// What a controller is made of.
pub struct ControllerParts {
    /// What the machine is told.
    pub settings: Settings,
    /// All variables of the machine, decrypted; the children get them.
    pub variables: Variables,
    /// Which program watches.
    pub watcher: WatcherProgram,
    /// Where the children listen.
    pub ports: Ports,
    /// How patient the supervisors are.
    pub timing: Timing,
    /// Starts the children.
    pub processes: Processes,
    /// Brings over what the watcher remembers.
    pub carry_over: Arc<CarryOver>,
    /// Makes the client that checks in.
    pub make_client: Box<MakeClient>,
    /// From 0 to 1.
    pub chance: fn() -> f64,
    /// A token that nobody can guess, for hooks, where none is set.
    pub fresh_token: SecretString,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What runs.
    pub version: Version,
}

/// What runs.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    /// The program's version.
    pub version: &'static str,
    /// What it was built from.
    pub commit: &'static str,
}

/// Starts a controller, and gives its routes: those for anybody answer from the first moment.
///
/// The tasks end once the children are reaped.
pub fn start(parts: ControllerParts, tasks: &Tasks) -> Router {
    let state = StateCell::new();
    let shared = Shared::of(&parts);
    let gateway = keep(
        children::gateway(&parts.settings, &shared.variables),
        parts.ports.gateway,
        &parts,
        tasks,
    );
    let watcher = parts
        .settings
        .gmail
        .clone()
        .map(|gmail| gmail.map(|gmail| watcher(gmail, &shared, &parts, tasks)));
    let settings = &parts.settings;
    let everybody = GatewayRoute::new(
        Arc::clone(&shared.gateway_token),
        settings.proxy_token,
        settings.tunnels,
        gateway.door.clone(),
    );
    let controller = Controller {
        parts: Arc::new(Parts {
            gateway_token: Arc::clone(&shared.gateway_token),
            state: state.clone(),
            gateway_child: gateway.child.clone(),
            loopback: everybody.loopback.clone(),
            clock: Arc::clone(&parts.clock),
            version: parts.version,
        }),
    };
    let watcher_door = match &watcher {
        Ok(watcher) => watcher.as_ref().map(|watcher| watcher.kept.door.clone()),
        // There would be one: what comes for it may come again.
        Err(_) => Some(Door::closed(parts.ports.watcher)),
    };
    let pushes = PushRoute::new(Arc::clone(&shared.gateway_token), watcher_door);
    let router = Router::new()
        .merge(health::routes())
        .merge(gateway::routes())
        .with_state(controller)
        .merge(health::for_anybody(state.clone()))
        .merge(pushes.router())
        .merge(everybody.clone().router());
    let tunnels = everybody.tunnels;
    tasks.start("tunnels", |stop| tunnels.end_with(stop));
    let machine = machine(state, shared, gateway, watcher, parts);
    tasks.start("machine", |stop| machine.run(stop));
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

/// What several parts need.
struct Shared {
    gateway_token: Arc<SecretString>,
    hooks_token: SecretString,
    /// Those of the children.
    variables: Variables,
}

impl Shared {
    fn of(parts: &ControllerParts) -> Self {
        let settings = &parts.settings;
        let hooks_token = settings.hooks_token.clone();
        let hooks_token = hooks_token.unwrap_or_else(|| parts.fresh_token.clone());
        let account = settings.gmail.as_ref().ok().and_then(Option::as_ref);
        let variables = credentials::variables_for(parts.variables.clone(), account);
        Self {
            gateway_token: Arc::new(settings.gateway_token.clone()),
            variables: variables.with("KILOCLAW_HOOKS_TOKEN", hooks_token.expose_secret()),
            hooks_token,
        }
    }
}

/// Starts the supervisor of a child, which does not run yet.
fn keep(spec: ChildSpec, port: u16, parts: &ControllerParts, tasks: &Tasks) -> Kept {
    let name = spec.name;
    let (processes, clock) = (parts.processes.clone(), Arc::clone(&parts.clock));
    let (supervisor, child) = Supervisor::new(spec, parts.timing, processes, clock);
    tasks.start(name, |stop| supervisor.run(stop));
    let (door, tell) = Door::new(port);
    Kept { child, door, tell }
}

fn watcher(
    gmail: GmailSettings,
    shared: &Shared,
    parts: &ControllerParts,
    tasks: &Tasks,
) -> WatcherParts {
    let secrets = WatcherSecrets {
        gateway_token: &shared.gateway_token,
        hooks_token: &shared.hooks_token,
    };
    let (program, variables) = (&parts.watcher, &shared.variables);
    let spec = children::watcher(program, &gmail, parts.ports, &secrets, variables);
    WatcherParts {
        kept: keep(spec, parts.ports.watcher, parts, tasks),
        renewal: children::renewal(program, &gmail, variables),
        gmail,
    }
}

fn machine(
    state: StateCell,
    shared: Shared,
    gateway: Kept,
    watcher: Result<Option<WatcherParts>, crate::Problem>,
    parts: ControllerParts,
) -> Machine {
    let checkin = parts.settings.checkin.map(|settings| Checkin {
        settings,
        gateway_token: shared.gateway_token,
        make_client: parts.make_client,
        chance: parts.chance,
    });
    Machine {
        state,
        variables: parts.variables,
        carry_over: parts.carry_over,
        processes: parts.processes,
        ports: parts.ports,
        gateway,
        watcher,
        checkin,
    }
}
