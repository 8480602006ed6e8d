//! The process on the bot's machine (contract, section 4): it supervises the bot's gateway and the
//! watcher of its mailbox, hands pushes to the watcher, and is the door to the gateway.
//!
//! It knows nothing of Gmail: a push is a body to pass on, credentials are a folder to unpack, and
//! what the watcher remembers is read by who knows how. It reads no variable by itself and asks no
//! clock.
//!
//! Start reading at [`start`]; then `startup.rs`, which brings the machine up, and
//! `supervisor.rs`. `routes` has a file for each area of the controller's own routes, `proxy.rs`
//! what goes to the gateway.

mod bearer;
mod checkin;
mod children;
mod controller;
mod credentials;
mod endpoint;
mod loopback;
mod processes;
mod proxy;
mod renewal;
mod routes;
mod settings;
mod startup;
mod state;
mod stats;
mod supervisor;
mod variables;
mod watch_expiry;

pub use self::checkin::MakeClient;
pub use self::children::{Ports, WatcherProgram};
pub use self::controller::{ControllerParts, Version, degraded, start};
pub use self::credentials::WatcherMemory;
pub use self::endpoint::Endpoint;
pub use self::processes::Processes;
pub use self::proxy::Proxy;
pub use self::routes::gmail_pubsub::PushRoute;
pub use self::settings::{
    CheckinSettings, GmailSettings, Problem, Problems, ProxyToken, Settings, TunnelLimits, port,
};
pub use self::state::{ControllerState, Phase, Stage};
pub use self::supervisor::{
    Alive, Child, ChildSpec, ChildState, ChildStatus, CommandError, Exit, Supervisor, Timing,
};
pub use self::variables::Variables;
