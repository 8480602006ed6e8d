//! Alerts: what is told to people when mail stops or flows again, and the services that tell it.
//!
//! [`AlertState`] decides which [`AlertEvent`] follows from what is known of a mailbox, once per change.
//! An [`AlertTarget`] is parsed from one URL text, and [`AlertClient`] sends an event to it. An alert
//! never contains a mail's text or subject, and a target's text is a secret that no log or error shows.
//!
//! This crate knows neither stores nor the parts that observe mailboxes. Start reading at `event.rs`.

mod burst;
mod client;
mod event;
mod mail;
mod message;
mod request;
mod send_error;
mod state;
mod target;

pub use burst::Burst;
pub use client::{AlertClient, Reach};
pub use event::{AlertEvent, AlertKind};
pub use postbell_core::{AlertId, TargetId};
pub use send_error::SendError;
pub use state::{AlertRules, AlertState, Change, MailboxFacts, Observation};
pub use target::{AlertTarget, InvalidTarget};
