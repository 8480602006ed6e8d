//! Alerts: reports to people when mail stops or flows again, and the services that carry them.
//!
//! [`AlertState`] decides which [`AlertEvent`] follows from what is known of a mailbox, once per change.
//! An [`AlertTarget`] is parsed from one URL text, and [`AlertClient`] sends an event to it. An alert
//! never contains a mail's text or subject, and a target's text is a secret that no log or error shows.
//!
//! [`Monitor`] observes a platform's users and a relay's queue through their ports and puts events into
//! the outbox; [`Sender`] sends what is in it. This crate knows neither stores nor parts. Start reading
//! at `event.rs` and `state.rs`.

mod burst;
mod client;
mod event;
mod mail;
mod mail_fields;
mod message;
mod monitor;
mod observed_since;
mod request;
mod send_error;
mod sender;
mod state;
mod target;

pub use burst::Burst;
pub use client::{AlertClient, Reach};
pub use event::{AlertEvent, AlertKind};
pub use mail::MailServer;
pub use mail_fields::MailFields;
pub use monitor::{Monitor, MonitorParts, ObservedUsers};
pub use observed_since::ObservedSince;
pub use postbell_core::{AlertId, TargetId};
pub use send_error::SendError;
pub use sender::{Sender, SenderParts, UserTargets};
pub use state::{AlertRules, AlertState, Change, MailboxFacts, Observation};
pub use target::{AlertTarget, InvalidTarget};
