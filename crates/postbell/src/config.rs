//! The configuration, from a file and from environment variables.

mod alerts;
mod controller;
mod credentials;
mod env;
mod error;
mod overlay;
mod platform;
mod relay;
mod tls;
mod values;

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

pub use self::alerts::AlertsConfig;
pub use self::controller::{ControllerConfig, WatcherChoice};
pub use self::env::Env;
pub use self::error::ConfigError;
pub(crate) use self::error::shown_store;
pub use self::platform::{FlyConfig, PlatformConfig, SignInConfig};
pub use self::relay::{RateConfig, RelayConfig, RetryConfig};
pub use self::tls::TlsConfig;

/// A configuration file with every key, its default and its description.
pub const EXAMPLE: &str = include_str!("../../../postbell.example.toml");

/// Reads a file that contains a secret, or returns the problem.
pub type ReadSecret<'a> = dyn Fn(&Path) -> Result<String, String> + 'a;

/// The configuration. Missing keys have defaults, and unknown keys are refused.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Receiving pushes and delivering them.
    pub relay: RelayConfig,

    /// A remote platform.
    pub directory: Option<DirectoryConfig>,

    /// The controller on the bot's machine.
    pub controller: ControllerConfig,

    /// The platform.
    pub platform: PlatformConfig,

    /// Alerts when mail stops.
    pub alerts: AlertsConfig,

    /// The certificate of servers that speak HTTPS.
    pub tls: TlsConfig,

    /// Google's services.
    pub google: GoogleConfig,
}

/// The `[directory]` table: a remote platform.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryConfig {
    /// Base URL of the platform.
    pub url: Url,

    /// API key that the platform expects in `x-internal-api-key`.
    pub api_key: SecretString,
}

/// The `[google]` table. Only tests and the sandbox change the URLs.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GoogleConfig {
    /// Public keys of Google's ID tokens.
    pub jwks_url: Url,
    /// OAuth token endpoint.
    pub token_url: Url,
    /// OAuth consent page.
    pub auth_url: Url,
    /// Gmail API.
    pub gmail_url: Url,
    /// Pub/Sub API.
    pub pubsub_url: Url,
    /// IAM API.
    pub iam_url: Url,
    /// Resource Manager API.
    pub resource_manager_url: Url,
    /// Service Usage API.
    pub service_usage_url: Url,
    /// OAuth client file that `postbell setup` signs in with. The default is the user's own client.
    pub sign_in_client_file: Option<PathBuf>,
    /// Credentials file of the watcher: of an authorized user, or of a service account.
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
    /// Builds the configuration from the text of `file` and from variables. Relative paths of files in
    /// the text are relative to the folder of `file`.
    ///
    /// Accesses neither environment nor network, and the disk only through `read_secret`, for secrets
    /// that are set as `x_file`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the key, its source, and the expected value.
    pub fn parse(
        text: &str,
        file: &Path,
        variables: &[(String, String)],
        read_secret: &ReadSecret<'_>,
    ) -> Result<Self, ConfigError> {
        overlay::parse(text, file, variables, read_secret)
    }

    /// Checks the configured parts, and returns the commands that can run with them: a configuration
    /// without a platform is for a relay, and one with a platform but without `relay.audience` is for a
    /// platform.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the key and the expected value.
    pub fn check(&self) -> Result<&'static str, ConfigError> {
        self.controller.check()?;
        self.alerts.check()?;
        self.tls.files()?;
        self.tls.acme()?;
        let audience = self.relay.audience.as_ref();
        if self.tls.is_configured() && audience.is_some_and(|url| url.scheme() != "https") {
            let expected = "a URL with https, because [tls] is set";
            return Err(ConfigError::contradiction("relay.audience", expected));
        }
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
            return Ok("postbell platform; postbell serve also needs relay.audience");
        }
        self.relay.check()?;
        let (ours, theirs) = (&self.platform.listen, &self.relay.listen);
        if ours == theirs && ours.tcp().is_none_or(|it| it.port() != 0) {
            let expected = "an address other than relay.listen";
            return Err(ConfigError::contradiction("platform.listen", expected));
        }
        Ok("postbell serve")
    }

    /// Checks that the stores of the configured parts could be created. Opens none.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the key and the expected value.
    pub fn check_directories(&self) -> Result<(), ConfigError> {
        if self.relay.audience.is_some() {
            values::check_directory("relay.inbox", &self.relay.inbox)?;
        }
        if self.platform.is_configured() {
            values::check_directory("platform.store", &self.platform.store)?;
        }
        Ok(())
    }

    /// Returns the remote platform of a relay.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is not configured.
    pub fn directory(&self) -> Result<&DirectoryConfig, ConfigError> {
        let directory = self.directory.as_ref().ok_or(ConfigError::contradiction(
            "directory",
            "the url and the api_key of the platform",
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
