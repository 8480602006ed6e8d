//! The `[controller]` table.

use serde::Deserialize;

/// The `[controller]` table: what runs on the bot's machine. All else is told by the machine's
/// variables (contract, section 4).
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControllerConfig {
    /// Which program watches the mailbox.
    pub watcher: WatcherChoice,

    /// Where the gateway listens, on 127.0.0.1.
    pub gateway_port: u16,

    /// Where the watcher listens, on 127.0.0.1.
    pub watcher_port: u16,
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
        let postbell_controller::Ports { gateway, watcher } = postbell_controller::Ports::default();
        Self {
            watcher: WatcherChoice::default(),
            gateway_port: gateway,
            watcher_port: watcher,
        }
    }
}
