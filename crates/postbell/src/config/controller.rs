//! The `[controller]` table.

use std::num::NonZeroU16;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::ConfigError;
use super::values::{is_http, sendable};

/// OpenClaw's gateway, which needs arguments in `KILOCLAW_GATEWAY_ARGS`.
const OPENCLAW: [&str; 2] = ["openclaw", "gateway"];

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

    /// Program of the bot's gateway and its first arguments.
    pub gateway_command: Vec<String>,

    /// Webhook that mail is posted to. The default is `/hooks/gmail` of the gateway.
    pub hook_url: Option<Url>,

    /// Bearer token of that webhook. The default is `KILOCLAW_HOOKS_TOKEN`.
    pub hook_token: Option<SecretString>,

    /// Base URL of the platform that credentials and settings are fetched from. By default, variables have them.
    pub platform_url: Option<Url>,
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
        let [gateway_port, watcher_port] = const {
            [
                NonZeroU16::new(3001).unwrap(),
                NonZeroU16::new(3002).unwrap(),
            ]
        };
        Self {
            watcher: WatcherChoice::Postbell,
            gateway_port,
            watcher_port,
            watcher_args: Vec::new(),
            gateway_command: OPENCLAW.map(str::to_owned).to_vec(),
            hook_url: None,
            hook_token: None,
            platform_url: None,
        }
    }
}

impl ControllerConfig {
    /// Whether the gateway is OpenClaw, which does not start without arguments.
    #[must_use]
    pub fn is_openclaw(&self) -> bool {
        self.gateway_command == OPENCLAW
    }

    /// Checks combinations of values.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if both ports are the same, `gog` would get arguments of ours, or a value is invalid.
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
        let is_program = self
            .gateway_command
            .first()
            .is_some_and(|word| !word.is_empty());
        let has_nul = self.gateway_command.iter().any(|word| word.contains('\0'));
        if !is_program || has_nul {
            return Err(ConfigError::contradiction(
                "controller.gateway_command",
                r#"a program and its arguments, such as ["openclaw", "gateway"]"#,
            ));
        }
        for (key, url) in [
            ("controller.hook_url", &self.hook_url),
            ("controller.platform_url", &self.platform_url),
        ] {
            if url.as_ref().is_some_and(|url| !is_http(url)) {
                return Err(ConfigError::contradiction(key, "an http or https URL"));
            }
        }
        match &self.hook_token {
            None => Ok(()),
            Some(token) => sendable(token, "controller.hook_token"),
        }
    }
}
