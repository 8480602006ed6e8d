//! A file for each command.

pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod relay;
pub(crate) mod sandbox;
