//! The server and its clients over real connections.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod acme;
mod body;
mod listener;
mod server;
mod tls;
