//! The controller's own routes, a file an area.

pub(crate) mod gateway;
pub(crate) mod gmail_pubsub;
pub(crate) mod health;
