//! The platform: users, their machines and the pages.
//!
//! [`Platform`] is the JSON API (protocol, section 2), [`Pages`] are the HTML pages. Both change users
//! through the [`UserService`]; the [`Reconciler`] applies the changes and syncs the machines of the
//! [`Fleet`]. [`LocalDirectory`] serves a relay in the same process. This crate does not know how a
//! push is delivered or how anything is stored.
//!
//! Start reading at `user_service.rs`; then `api.rs`, which has one file per route, and `pages.rs`.

mod account_sessions;
mod api;
mod change;
mod contact_poll;
mod controllers;
mod directory;
mod fleet;
mod keyed_locks;
mod links;
mod machines;
mod mailbox_users;
mod operator;
mod operator_client;
mod origin;
mod pages;
mod random;
mod reconciler;
mod relays;
mod request_limit;
mod stored_credentials;
mod tarballs;
mod user_service;
mod user_token;
mod variables;

pub use api::{Platform, PlatformParts, user_status};
pub use change::{ChangeError, Changed, NewConnection, Notifications, SyncOutcome};
pub use contact_poll::ContactPoll;
pub use controllers::{ControllerUrl, Controllers, HttpControllers, Reload};
pub use directory::LocalDirectory;
pub use fleet::{Fleet, MachineStarter};
pub use links::SignInLinks;
pub use machines::{Configured, FlyMachines, Machines, MachinesError};
pub use mailbox_users::{MailboxUsers, MailboxUsersError, MailboxUsersParts};
pub use operator::{
    ApiKey, ApiKeys, CsvUser, OperatedQueue, Operator, OperatorError, Perform, users_of_csv,
};
pub use operator_client::{OperatorClient, OperatorClientParts, WatchRenewer};
pub use pages::{CookieCipher, IssuerSignIn, LocalRelay, Pages, PagesParts, SignInAccess};
pub use random::{Random, system_random};
pub use reconciler::{CommandQueue, Reconciler, ReconcilerParts};
pub use relays::{CheckIn, HttpRelays, Relays};
pub use tarballs::Tarballs;
pub use user_service::UserService;
pub use user_token::{UserTokens, VerifiedToken};
pub use variables::{Tarball, Variables};
