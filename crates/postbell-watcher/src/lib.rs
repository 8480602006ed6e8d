//! From a history id to the bot's hook: reads from Gmail what is new, and posts it.
//!
//! It knows of one account, and of no relays or users. A notification says that something changed;
//! what changed is read from the place where the last look ended, which moves only once the hook
//! has taken everything up to it. Start reading at `watcher.rs`, then `look.rs`.

mod answer;
mod carry_over;
mod filter;
mod hook;
mod look;
mod message;
mod push_auth;
mod renewal;
mod server;
mod state;
mod watcher;

pub use carry_over::{carry_over, raise};
pub use filter::Filter;
pub use hook::{Hook, HookError, InvalidSigningKey, SigningKey};
pub use look::LookError;
pub use message::BodyWanted;
pub use push_auth::{Oidc, PushAuth};
pub use state::{StateError, StateFile};
pub use watcher::{Looked, Watcher, WatcherSettings};
