//! The controller over real sockets with real processes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod checkin;
mod credentials;
mod fixture;
mod gateway;
mod health;
mod proxy;
mod push_route;
mod reload;
mod self_restart;
mod several_accounts;
mod supervisor;
mod websocket;
