//! The relay over real HTTP, with a sandboxed Google and user directory; its dispatcher in paused
//! time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod checkin;
mod dispatcher;
mod forget;
mod limits;
mod metrics;
mod push;
mod shared_subscription;
mod tidy;
mod url_token;
mod world;
