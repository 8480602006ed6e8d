//! The relay over real HTTP, with a sandboxed Google and user directory; its dispatcher in paused
//! time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod check_in;
mod claims;
mod delivery;
mod dispatcher;
mod fake_machine;
mod forget;
mod limits;
mod metrics;
mod push;
mod relays;
mod shared_subscription;
mod trace;
mod unanswered;
mod url_token;
mod world;
