//! The process on the bot's machine (protocol, section 4). It supervises the bot's gateway and the
//! watcher of its mailboxes, forwards pushes to the watcher, and proxies all other requests to the
//! gateway.
//!
//! It knows nothing of Gmail: a push is a body to forward, credentials are a folder to unpack, in
//! which the watcher's state is kept. It does not read the environment or the clock itself.
//!
//! Start reading at [`start`], then `startup.rs` and `supervisor.rs`. [`Processes`], and so the
//! controller, needs Linux; the rest also compiles for macOS, where `postbell demo` uses
//! [`PushRoute`].

mod bearer;
mod checkin;
mod child_specs;
mod child_stats;
mod config_source;
mod configurator;
mod controller;
mod credentials;
mod endpoint;
mod gateway_routes;
mod health_routes;
mod installation;
mod loopback;
mod mail_monitor;
mod mail_settings;
mod merge_state;
mod metrics;
mod processes;
mod proxy;
mod push_route;
mod reload_route;
mod reloads;
mod renewal;
mod route_state;
mod sealed_config;
mod settings;
mod shared_client;
mod startup;
mod state;
mod supervisor;
mod variables;
mod watched_mailbox;
mod watcher_accounts;

pub use self::child_specs::{Ports, WatcherProgram};
pub use self::controller::{ControllerParts, degraded, start};
pub use self::endpoint::Endpoint;
pub use self::processes::Processes;
pub use self::proxy::Proxy;
pub use self::push_route::PushRoute;
pub use self::route_state::Version;
pub use self::settings::{
    CheckinSettings, GmailSettings, InvalidVariable, InvalidVariables, PlatformSettings,
    ProxyToken, Settings, TunnelLimits, port,
};
pub use self::shared_client::SharedClient;
pub use self::state::{ControllerState, Phase, Stage};
pub use self::supervisor::{
    Child, ChildSpec, ChildState, ChildStatus, CommandError, Exit, RunningProcess, Supervisor,
    Timing,
};
pub use self::variables::Variables;
