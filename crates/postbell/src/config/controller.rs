//! The `[controller]` table.

use std::num::NonZeroU16;

use serde::Deserialize;

use super::ConfigError;

/// The `[controller]` table. Environment variables of the machine set everything else (protocol,
/// section 4).
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControllerConfig {
    /// Program that watches the mailbox.
    pub watcher: WatcherChoice,

    /// Port of the bot's gateway, on 127.0.0.1.
    pub gateway_port: NonZeroU16,

    /// Port of the watcher, on 127.0.0.1.
    pub watcher_port: NonZeroU16,

    /// Further arguments of `postbell watch serve`.
    pub watcher_args: Vec<String>,
}

/// Program that watches the mailbox.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum WatcherChoice {
    /// `postbell watch serve`
    #[default]
    Postbell,
    /// `gog gmail watch serve`
    Gog,
}

impl Default for ControllerConfig {
    fn default() -> Self {
        const {
            Self {
                watcher: WatcherChoice::Postbell,
                gateway_port: NonZeroU16::new(3001).unwrap(),
                watcher_port: NonZeroU16::new(3002).unwrap(),
                watcher_args: Vec::new(),
            }
        }
    }
}

impl ControllerConfig {
    /// Checks combinations of values.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if both ports are the same, or `gog` would get arguments of ours.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.gateway_port == self.watcher_port {
            return Err(ConfigError::contradiction(
                "controller.watcher_port",
                "a port other than controller.gateway_port",
            ));
        }
        if self.watcher == WatcherChoice::Gog && !self.watcher_args.is_empty() {
            return Err(ConfigError::contradiction(
                "controller.watcher_args",
                "no arguments, since controller.watcher is gog",
            ));
        }
        Ok(())
    }
}
