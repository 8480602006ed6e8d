//! Checks the path of a notification hop by hop and says how to repair it.
//!
//! Changes nothing. Its only visible effects are a test message to the bot's webhook, marked as a
//! test, and pushes that cannot be accepted. Independent hops are checked concurrently, each with a
//! time limit, and no answer is trusted.
//!
//! The crate opens no store and reads no configuration: the caller opens them and gathers [`Facts`]. Start reading at `facts.rs`; `checks/` has one file per hop.

mod account;
mod checker;
mod checks;
mod credentials;
mod facts;
mod google_error;
mod platform;
mod probe;
mod report;
mod run;
mod times;

pub use account::{LocalPlatform, MachineLookup, further_accounts, select_user};
pub use checker::Deps;
pub use credentials::StorageKey;
pub use facts::{
    Account, DatabaseFacts, DatabaseProblem, Destination, Facts, LocalWatch, MachineFacts,
    MailboxCredentials, OperatorProject, SetupState, WatchProblem, Webhook,
};
pub use report::{CheckResult, HopId, Report, Status};
pub use run::run_checks;
