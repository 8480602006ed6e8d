//! From Google's push to the user's machine.
//!
//! Two halves share only the [`DeliveryQueue`](postbell_core::DeliveryQueue): [`Ingress`] accepts pushes and answers
//! once they are durable; [`Dispatcher`] delivers them to the machines, with retries. Neither knows
//! how a notification is stored, nor what the machine does with it.
//!
//! [`HttpDirectory`] and [`HttpMachine`] implement the ports to the platform and to the machines
//! (protocol, sections 2 and 3). Start reading at `ingress/push.rs`.

mod delivery;
mod directory_cache;
mod dispatcher;
mod history_reports;
mod host_pattern;
mod http_directory;
mod http_machine;
mod ingress;
mod metrics;
mod rate_limit;
mod unanswered_lookups;

pub use delivery::{Attempt, Deliverer};
pub use directory_cache::DirectoryCache;
pub use dispatcher::{Dispatcher, DispatcherSettings};
pub use host_pattern::{HostPattern, InvalidHostPattern};
pub use http_directory::HttpDirectory;
pub use http_machine::{HttpMachine, InvalidTemplate};
pub use ingress::{Ingress, IngressParts, IngressService, RejectPolicy, UrlTokenKey};
pub use metrics::Metrics;
pub use rate_limit::{Rate, RateLimit};
