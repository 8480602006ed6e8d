//! The checks, one file per hop or group of hops.

pub(crate) mod clock;
mod controller;
pub(crate) mod database;
pub(crate) mod endpoint;
pub(crate) mod google;
pub(crate) mod grant;
pub(crate) mod history;
pub(crate) mod keys;
pub(crate) mod machine;
mod machine_client;
mod subscription;
pub(crate) mod user;
pub(crate) mod watch;
mod watcher;
pub(crate) mod webhook;
