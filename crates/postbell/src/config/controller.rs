//! The `[controller]` table.

use std::num::NonZeroU16;

use secrecy::SecretString;
use serde::Deserialize;
use url::{Host, Url};

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
    /// [`ConfigError`] if both ports are the same, `gog` would get arguments of ours, the arguments name an account beside a
    /// platform, or a value is invalid.
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
        if self.platform_url.is_some() && name_an_account(&self.watcher_args) {
            return Err(ConfigError::contradiction(
                "controller.watcher_args",
                NO_ACCOUNT,
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

    /// Returns what is accepted and should be changed.
    pub(super) fn warnings(&self) -> Vec<String> {
        let url = self.platform_url.as_ref();
        let is_plain = url.is_some_and(|url| url.scheme() == "http" && !is_private(url));
        let plain = "controller.platform_url is not https: the machine's token and the mailbox's credentials can be read on the way";
        is_plain.then(|| plain.to_owned()).into_iter().collect()
    }
}

/// What the arguments of a watcher are expected to be that gets its accounts from a platform.
pub(super) const NO_ACCOUNT: &str =
    "no --account, --client or --credentials, since the platform gives the accounts";

/// Whether arguments of a watcher name an account. It would watch that one alone.
pub(super) fn name_an_account(arguments: &[String]) -> bool {
    const FLAGS: [&str; 3] = ["--account", "--client", "--credentials"];
    let mut names = arguments.iter().map(|argument| argument.split('=').next());
    names.any(|name| name.is_some_and(|name| FLAGS.contains(&name)))
}

/// Whether a URL names a host of a private network, by its address or a name that is used only in such networks.
fn is_private(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => {
            // 100.64.0.0/10 (RFC 6598) is also that of Tailscale.
            let [first, second, ..] = address.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            address.is_loopback() || address.is_private() || address.is_link_local() || is_shared
        }
        Some(Host::Ipv6(address)) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
        Some(Host::Domain(name)) => {
            let suffixes = [".internal", ".local", ".localhost", ".home.arpa"];
            !name.contains('.') || suffixes.iter().any(|suffix| name.ends_with(suffix))
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchers_arguments_name_no_account_beside_a_platform() {
        for (argument, is_refused) in [
            ("--account", true),
            ("--account=ann@example.com", true),
            ("--credentials=x.json", true),
            ("--accounting", false),
            ("--per-message", false),
        ] {
            let watcher_args = vec![argument.to_owned()];
            assert_eq!(name_an_account(&watcher_args), is_refused, "{argument}");
            for url in [None, Some("https://bell.example.com")] {
                let config = ControllerConfig {
                    watcher_args: watcher_args.clone(),
                    platform_url: url.map(|url| url.parse().unwrap()),
                    ..ControllerConfig::default()
                };
                let is_valid = url.is_none() || !is_refused;
                assert_eq!(config.check().is_ok(), is_valid, "{argument}");
            }
        }
    }

    #[test]
    fn a_platform_without_https_elsewhere_is_warned_of() {
        for (url, warns) in [
            ("https://bell.example.com", false),
            ("http://bell.example.com", true),
            ("http://203.0.113.7", true),
            ("http://127.0.0.1:8081", false),
            ("http://10.0.0.7", false),
            ("http://100.100.1.2", false),
            ("http://[fd00::1]", false),
            ("http://[2001:db8::1]", true),
            ("http://postbell.internal:8081", false),
            ("http://postbell", false),
        ] {
            let config = ControllerConfig {
                platform_url: Some(url.parse().unwrap()),
                ..ControllerConfig::default()
            };
            assert_eq!(!config.warnings().is_empty(), warns, "{url}");
        }
    }
}
