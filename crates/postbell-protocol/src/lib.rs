//! The wire formats of Postbell, both halves of each side by side.
//!
//! Everything here must also be got right by another implementation of the protocol, and is
//! described in `docs/protocol.md`. This crate knows nothing of stores, servers or Google's APIs.

pub mod api;
pub mod credential_envelope;
pub mod env_crypto;
pub mod gateway_token;
pub mod gog_dirs;
pub mod gog_keyring;
pub mod private_file;
pub mod routes;
pub mod tarball;
pub mod user_token;
pub mod watch_state;
pub mod watched_accounts;
pub mod webhook;
