//! Sets up Google Cloud for Postbell, step by step, and undoes it.
//!
//! Setup knows no store and no other part of Postbell. It never prints, logs or saves a secret; the
//! administrator's tokens stay in memory.
//!
//! Start reading at `plan.rs`, which defines a step; then `run.rs`, which applies the steps, and
//! `steps.rs`, which lists them. `blocker.rs` and `remedy.rs` have the messages for users;
//! `terminal.rs` shows them.

mod ask;
mod blocker;
mod complete;
mod consent;
mod context;
mod error;
mod google_apis;
mod ledger;
mod next_commands;
mod openclaw;
mod operator;
mod plan;
mod platform;
mod progress;
mod progress_file;
mod remedy;
mod report;
mod request;
mod retry;
mod run;
mod steps;
pub mod terminal;
mod times;
mod ui;
mod undo;
mod watch_states;
mod webhook;

pub use context::{Deps, SetupContext};
pub use error::{Blocker, SetupError};
pub use google_apis::GoogleApis;
pub use progress::{Progress, ResourceNames, SavedDestination, WatchRecord};
pub use progress_file::ProgressFile;
pub use report::{Mode, Report, StepId, StepState};
pub use request::{
    Browser, ConfiguredUrls, Destination, SetupRequest, Webhook, WebhookSecrets, parse_endpoint,
};
pub use retry::Timeouts;
pub use run::{run, sign_in};
pub use ui::{Event, NoAnswer, Question, Ui};
pub use undo::undo;
pub use watch_states::{SavedWatch, WatchStates};
