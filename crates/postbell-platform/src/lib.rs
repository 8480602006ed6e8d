//! Who the users are, and the switch they see.
//!
//! [`Platform`] is the JSON API (contract, section 2); [`UserService`] has the rules, for the API and
//! for pages alike; [`Pages`] are what people see of it; [`Fleet`] knows how the machines are and wakes them; [`LocalDirectory`] is what
//! a relay in the same process asks. How a push is delivered, and how anything is stored, is not
//! known here.
//!
//! Start reading at `user_service.rs`; then `api.rs`, where each route has a file, and `pages.rs`.

mod api;
mod directory;
mod fleet;
mod links;
mod machines;
mod pages;
mod random;
mod reconciler;
mod relays;
mod user_service;
mod user_token;
mod variables;

pub use api::{Platform, PlatformParts, Status};
pub use directory::LocalDirectory;
pub use fleet::Fleet;
pub use links::SignInLinks;
pub use machines::{Configured, FlyMachines, Machines, MachinesError};
pub use pages::{CookieCipher, GoogleSignIn, LocalRelay, Pages, PagesParts};
pub use random::{Random, system_random};
pub use reconciler::CommandQueue;
pub use relays::{CheckIn, HttpRelays, Relays};
pub use user_service::{
    ChangeError, Changed, NewConnection, Notifications, SyncOutcome, UserService,
};
pub use user_token::UserTokens;
pub use variables::{Tarball, Variables};
