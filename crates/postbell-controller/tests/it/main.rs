//! The controller over real sockets, with real processes behind it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod checkin;
mod credentials;
mod gateway;
mod gmail_pubsub;
mod health;
mod proxy;
mod supervisor;
mod websocket;
mod world;
