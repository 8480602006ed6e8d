//! From Google's push to the user's machine.
//!
//! Two halves that meet in the [`Inbox`](postbell_core::Inbox) alone: the [`edge`] takes pushes in
//! and answers once they are durable; the [`dispatcher`] hands them to the machines, with retries.
//! Neither knows how a notification is stored, nor what the machine does with it.
//!
//! [`HttpDirectory`] and [`HttpMachine`] are the ports to the platform and to the machines as the
//! wire contract has them (sections 2 and 3). Start reading at `edge/push.rs`.

pub mod dispatcher;
pub mod edge;

mod directory;
mod machine;
mod metrics;
mod rate;
mod recall;
mod tidy;

pub use directory::HttpDirectory;
pub use dispatcher::{Dispatcher, DispatcherSettings};
pub use edge::{Edge, EdgeParts, Rejected, UrlTokenKey};
pub use machine::{HostPattern, HttpMachine, InvalidHostPattern, InvalidTemplate};
pub use metrics::Metrics;
pub use rate::{Rate, RateLimit};
pub use recall::Recall;
pub use tidy::forget_old_ids;
