//! Delivers new mail of a Gmail account to the bot's webhook.
//!
//! A notification says only that the mailbox changed. A sync reads the changes from the cursor, which
//! is the history id up to which everything was accepted by the webhook or stored for another attempt,
//! and posts them. A message that fails alone is tried again and then set aside as a dead letter
//! (`failing.rs`), so that it never stops the others. A watcher knows one account and one webhook;
//! [`PushServers`] and [`Monitors`] join those of a process. This crate knows nothing of relays or users. Start reading at `watcher.rs`, then `sync_loop.rs` and `sync.rs`.

mod accounts;
mod alerter;
mod answer;
mod arrival;
mod attachment_folder;
mod attachment_name;
mod backlog;
mod dead_letters;
mod delivery;
mod error;
mod extras;
mod failing;
mod filter;
mod health;
mod hook_options;
mod mailbox;
mod mailbox_identity;
mod message_reader;
mod metrics;
mod monitor;
mod poster;
mod problems;
mod puller;
mod push_auth;
mod recently_read;
mod redelivery;
mod refusals;
mod renewal;
mod request_file;
mod request_watch;
mod resync;
mod server;
mod settings;
mod shorten;
mod state_store;
mod sync;
mod sync_loop;
mod sync_trace;
mod verify;
mod watcher;
mod webhook;
mod webhook_test;

pub use accounts::{AccountRoutes, Accounts, OpenAccount};
pub use alerter::Alerter;
pub use attachment_folder::AttachmentFolder;
pub use dead_letters::{DeadLetterAction, DeadLetterRequest, Requested};
pub use error::{NotSynced, SyncError};
pub use extras::Extras;
pub use failing::MessageRetries;
pub use filter::{Filter, SenderProof};
pub use health::{Assessment, FoundProblem, assess, hung_since};
pub use hook_options::HookOptions;
pub use mailbox_identity::{AddressMatch, IdentityError, MailboxIdentity, WrongAccount};
pub use monitor::{MONITOR_PATHS, Monitor, Monitors};
pub use postbell_mail::{BodyWanted, HeaderName};
pub use problems::{Problem, ProblemSource};
pub use puller::Puller;
pub use push_auth::{Oidc, PushAuth};
pub use renewal::WatchRenewal;
pub use server::{PushServer, PushServers};
pub use settings::{SyncTimes, WatcherSettings};
pub use sync::{SyncEngine, SyncOutcome};
pub use verify::{Verified, verify};
pub use watcher::Watcher;
pub use webhook::{WebhookClient, WebhookError};
pub use webhook_test::{TestOutcome, test_webhook};
