//! Delivers new mail of one Gmail account to the bot's webhook.
//!
//! A notification says only that the mailbox changed. A sync reads the changes from the cursor, which
//! is the history id up to which the webhook has accepted everything, and posts them. The cursor moves
//! only after the webhook accepted. This crate knows one account and nothing of relays or users. Start
//! reading at `watcher.rs`, then `sync.rs`.

mod alerter;
mod answer;
mod arrival;
mod dead_letters;
mod delivery;
mod error;
mod filter;
mod health;
mod hook_options;
mod mailbox;
mod mailbox_identity;
mod message_reader;
mod metrics;
mod monitor;
mod problems;
mod puller;
mod push_auth;
mod renewal;
mod request_file;
mod request_watch;
mod server;
mod settings;
mod state_store;
mod sync;
mod verify;
mod watcher;
mod webhook;

pub use alerter::Alerter;
pub use dead_letters::{DeadLetterAction, DeadLetterRequest, Requested};
pub use error::SyncError;
pub use filter::Filter;
pub use health::{Assessment, FoundProblem, assess};
pub use hook_options::HookOptions;
pub use mailbox_identity::{AddressMatch, IdentityError, MailboxIdentity, WrongAccount};
pub use monitor::{MONITOR_PATHS, Monitor};
pub use postbell_mail::BodyWanted;
pub use problems::{Problem, ProblemSource};
pub use puller::Puller;
pub use push_auth::{Oidc, PushAuth};
pub use renewal::WatchRenewal;
pub use server::PushServer;
pub use settings::WatcherSettings;
pub use sync::{SyncEngine, SyncOutcome};
pub use verify::{Verified, verify};
pub use watcher::Watcher;
pub use webhook::{WebhookClient, WebhookError};
