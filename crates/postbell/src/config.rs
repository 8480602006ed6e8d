//! The settings, from a file and from variables.

mod controller;
mod error;
mod overlay;
mod platform;
mod relay;
mod surroundings;
mod values;

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

pub use self::controller::{ControllerConfig, WatcherChoice};
pub use self::error::ConfigError;
pub(crate) use self::error::shown_store;
pub use self::platform::{FlyConfig, PlatformConfig, SignInConfig};
pub use self::relay::{RateConfig, RelayConfig, RetryConfig};
pub use self::surroundings::Surroundings;

/// A configuration file with every key, its default and what it means.
pub const EXAMPLE: &str = include_str!("../../../postbell.example.toml");

/// Reads the file that holds a secret, or says why it cannot.
pub type ReadSecret<'a> = dyn Fn(&Path) -> Result<String, String> + 'a;

/// All settings. What is not set has its default; a key that is none is refused.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How pushes come in and go out.
    pub relay: RelayConfig,

    /// The platform, where it runs elsewhere.
    pub directory: Option<DirectoryConfig>,

    /// What runs on the bot's machine.
    pub controller: ControllerConfig,

    /// Who the users are.
    pub platform: PlatformConfig,

    /// Where Google is.
    pub google: GoogleConfig,
}

/// The `[directory]` table: the platform, where it runs elsewhere.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryConfig {
    /// Base URL of the platform.
    pub url: Url,

    /// What the platform expects in `x-internal-api-key`.
    pub api_key: SecretString,
}

/// The `[google]` table: overridden by tests and by the sandbox.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GoogleConfig {
    /// Google's keys, with which it signs tokens.
    pub jwks_url: Url,
    /// Where access tokens come from.
    pub token_url: Url,
    /// Where a person consents.
    pub auth_url: Url,
    /// Base URL of Gmail.
    pub gmail_url: Url,
    /// Base URL of Pub/Sub.
    pub pubsub_url: Url,
    /// Base URL of IAM: service accounts.
    pub iam_url: Url,
    /// Base URL of Resource Manager: projects.
    pub resource_manager_url: Url,
    /// Base URL of Service Usage: which APIs a project uses.
    pub service_usage_url: Url,
    /// The OAuth client with which `postbell setup` signs in, as Google's console gives it. The
    /// user's own, where there is none.
    pub sign_in_client_file: Option<PathBuf>,
    /// What opens a watcher's mailbox: credentials of an authorized user, or of a service account.
    pub credentials_file: Option<PathBuf>,
}

impl Default for GoogleConfig {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "constants that a test parses")]
        let url = |text: &str| Url::parse(text).expect("a constant URL");
        Self {
            jwks_url: url("https://www.googleapis.com/oauth2/v3/certs"),
            token_url: url("https://oauth2.googleapis.com/token"),
            auth_url: url("https://accounts.google.com/o/oauth2/v2/auth"),
            gmail_url: url("https://gmail.googleapis.com"),
            pubsub_url: url("https://pubsub.googleapis.com"),
            iam_url: url("https://iam.googleapis.com"),
            resource_manager_url: url("https://cloudresourcemanager.googleapis.com"),
            service_usage_url: url("https://serviceusage.googleapis.com"),
            sign_in_client_file: None,
            credentials_file: None,
        }
    }
}

impl Config {
    /// Builds the configuration from a file's text and from variables.
    ///
    /// Reads nothing but its arguments: no environment, no network, no listening socket; and no
    /// disk, but for the secrets given as `x_file`, which it reads with `read_secret`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the key, where it came from, and what was expected.
    pub fn parse(
        file: &str,
        file_name: &str,
        variables: &[(String, String)],
        read_secret: &ReadSecret<'_>,
    ) -> Result<Self, ConfigError> {
        overlay::parse(file, file_name, variables, read_secret)
    }

    /// Finds what each value alone does not show, in the parts that are configured, and returns for
    /// which command they do: a file without a platform is a relay's, and one with a platform and
    /// without the relay's public name is a platform's alone.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the key and what was expected.
    pub fn check(&self) -> Result<&'static str, ConfigError> {
        self.controller.check()?;
        let is_relay = self.relay.audience.is_some() || self.directory.is_some();
        if !self.platform.is_configured() && !is_relay {
            return Ok(
                "postbell controller and postbell watch; postbell relay needs relay.audience",
            );
        }
        if !self.platform.is_configured() {
            self.relay.check()?;
            self.directory()?;
            return Ok("postbell relay");
        }
        self.platform.check()?;
        if self.relay.audience.is_none() {
            return Ok("postbell platform; postbell serve needs relay.audience, too");
        }
        self.relay.check()?;
        let (ours, theirs) = (self.platform.listen, self.relay.listen);
        if ours == theirs && ours.port() != 0 {
            let expected = "another address than relay.listen";
            return Err(ConfigError::contradiction("platform.listen", expected));
        }
        Ok("postbell serve")
    }

    /// Looks whether what is stored could be where the configuration says, in the parts that are
    /// configured. Opens nothing.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the key and what was expected.
    pub fn check_folders(&self) -> Result<(), ConfigError> {
        if self.relay.audience.is_some() {
            values::check_folder("relay.inbox", &self.relay.inbox)?;
        }
        if self.platform.is_configured() {
            values::check_folder("platform.store", &self.platform.store)?;
        }
        Ok(())
    }

    /// Where a relay asks who its users are.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where nobody has said.
    pub fn directory(&self) -> Result<&DirectoryConfig, ConfigError> {
        let directory = self.directory.as_ref().ok_or(ConfigError::contradiction(
            "directory",
            "the url and the api_key of the platform that knows the users",
        ))?;
        if !values::is_http(&directory.url) {
            return Err(ConfigError::contradiction(
                "directory.url",
                "the base URL of a platform, such as https://platform.example.com",
            ));
        }
        values::sendable(&directory.api_key, "directory.api_key")?;
        Ok(directory)
    }
}

#[cfg(test)]
mod tests;
