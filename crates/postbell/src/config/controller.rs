//! What runs on the bot's machine.

use std::num::NonZeroU16;

use serde::Deserialize;

use super::ConfigError;

/// The `[controller]` table: what runs on the bot's machine. All else is told by the machine's
/// variables (contract, section 4).
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControllerConfig {
    /// Which program watches the mailbox.
    pub watcher: WatcherChoice,

    /// Where the gateway listens, on 127.0.0.1.
    pub gateway_port: NonZeroU16,

    /// Where the watcher listens, on 127.0.0.1.
    pub watcher_port: NonZeroU16,
}

/// Which program watches the mailbox.
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
            }
        }
    }
}

impl ControllerConfig {
    /// Finds what each value alone does not show.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where both children have one port.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.gateway_port == self.watcher_port {
            return Err(ConfigError::contradiction(
                "controller.watcher_port",
                "another port than controller.gateway_port",
            ));
        }
        Ok(())
    }
}
