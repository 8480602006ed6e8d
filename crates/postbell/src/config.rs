//! The configuration, from a file and from environment variables.

mod alerts;
mod controller;
mod credentials;
mod env;
mod error;
mod expected;
mod google_client;
mod overlay;
mod platform;
mod relay;
mod store_url;
mod telemetry;
mod tls;
mod values;
mod watch;

use std::path::{Path, PathBuf};

use postbell_core::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

pub use self::alerts::AlertsConfig;
pub use self::controller::{ControllerConfig, WatcherChoice};
pub use self::env::Env;
pub(crate) use self::env::open_secret;
pub use self::error::ConfigError;
pub(crate) use self::error::{BadSetting, Mistakes};
pub use self::google_client::{GoogleClient, GoogleClientConfig};
pub use self::platform::{FlyConfig, PlatformConfig, SignInConfig};
pub use self::relay::{RateConfig, RelayConfig, RetryConfig};
pub use self::store_url::StoreUrl;
pub use self::telemetry::TelemetryConfig;
pub use self::tls::TlsConfig;
pub use self::watch::{WatchConfig, WebhookConfig};

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

    /// Where the traces of mail are exported.
    pub telemetry: TelemetryConfig,

    /// Google's services.
    pub google: GoogleConfig,

    /// The mailboxes that one watcher watches.
    pub watch: Vec<WatchConfig>,
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
    /// The operator's OAuth client, with which users connect on *My bot*.
    pub client: GoogleClientConfig,
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
            client: GoogleClientConfig::default(),
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
        let (config, mistakes) = overlay::parse(text, file, variables, read_secret)?;
        mistakes.into_result().map(|()| config)
    }

    /// Checks the configured parts, and returns the commands that can run with them: a configuration
    /// without a platform is for a relay, and one with a platform but without `relay.audience` is for a
    /// platform.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the keys and the expected values.
    pub fn check(&self) -> Result<&'static str, ConfigError> {
        let mut mistakes = Mistakes::default();
        let commands = self.find_mistakes(&mut mistakes);
        mistakes.into_result().map(|()| commands)
    }

    /// Adds the mistakes of the configured parts, and returns the commands that the configuration is for.
    fn find_mistakes(&self, mistakes: &mut Mistakes) -> &'static str {
        mistakes.check(self.controller.check());
        mistakes.check(self.alerts.check());
        mistakes.check(self.telemetry.check());
        mistakes.check(self.check_watches());
        let controller = &self.controller;
        mistakes.refuse_if(
            !self.watch.is_empty() && controller.platform_url.is_some(),
            "controller.platform_url",
            "no platform, because [[watch]] tables name the mailboxes",
        );
        mistakes.refuse_if(
            !self.watch.is_empty() && controller.watcher == WatcherChoice::Gog,
            "controller.watcher",
            "postbell, because gog reads no [[watch]] tables",
        );
        mistakes.check(self.tls.files());
        mistakes.check(self.tls.acme());
        let audience = self.relay.audience.as_ref();
        mistakes.refuse_if(
            self.tls.is_configured() && audience.is_some_and(|url| url.scheme() != "https"),
            "relay.audience",
            "a URL with https, because [tls] is set",
        );
        // A value that is wrong was removed.
        let has_audience = audience.is_some() || mistakes.concern("relay.audience");
        let is_relay = has_audience || self.directory.is_some();
        // Its secrets may be those that cannot be read.
        let has_platform = self.platform.is_configured() || mistakes.concern("platform.");
        if !has_platform && !is_relay {
            return "postbell controller and postbell watch. For postbell serve, `postbell config init` \
                    writes a configuration";
        }
        if !has_platform {
            mistakes.check(self.relay.check());
            if !mistakes.concern("directory.") {
                mistakes.check(self.directory());
            }
            return "postbell relay";
        }
        mistakes.check(self.platform.check());
        let client = self.google.client.client();
        mistakes.refuse_if(
            matches!(client, Ok(Some(_))) && self.platform.private_key.is_none(),
            "platform.private_key",
            "a key, because [google.client] is set: it encrypts the credentials of users; `postbell config init` writes one",
        );
        mistakes.check(client);
        if !has_audience {
            return "postbell platform; postbell serve also needs relay.audience";
        }
        mistakes.check(self.relay.check());
        let (ours, theirs) = (&self.platform.listen, &self.relay.listen);
        mistakes.refuse_if(
            ours == theirs && ours.tcp().is_none_or(|it| it.port() != 0),
            "platform.listen",
            "an address other than relay.listen",
        );
        "postbell serve"
    }

    /// Checks the `[[watch]]` tables.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the keys and the expected values.
    pub(crate) fn check_watches(&self) -> Result<(), ConfigError> {
        let mut mistakes = Mistakes::default();
        mistakes.check(watch::check(&self.watch));
        mistakes.check(crate::cli::check_webhooks(&self.watch));
        mistakes.into_result()
    }

    /// Checks everything that can be checked before a start, also on the disk: that the stores of the
    /// configured parts could be created, and that the certificate can be used at `now`. Opens no store.
    /// Adds what it finds to the mistakes of [`Env::examine`], and returns the commands that can run.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the keys and the expected values.
    pub(crate) fn check_all(
        &self,
        mut mistakes: Mistakes,
        now: Timestamp,
    ) -> Result<&'static str, ConfigError> {
        let commands = self.find_mistakes(&mut mistakes);
        if self.relay.audience.is_some() {
            mistakes.check(values::check_directory("relay.inbox", &self.relay.inbox));
        }
        if self.platform.is_configured() {
            let store = &self.platform.store;
            mistakes.check(values::check_directory("platform.store", store));
        }
        mistakes.check(self.check_certificate(now));
        for watch in &self.watch {
            mistakes.check(watch.check_credentials());
        }
        mistakes.into_result().map(|()| commands)
    }

    /// Returns what is accepted and should be changed, as sentences without a full stop.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.platform.warnings();
        warnings.extend(self.controller.warnings());
        warnings.extend(watch::warnings(&self.watch));
        if let Some(audience) = &self.relay.audience
            && audience.scheme() != "https"
            && !postbell_http::is_loopback(audience)
        {
            warnings
                .push("relay.audience is not https, and Google pushes only to https".to_owned());
        }
        let stores = [
            ("relay.inbox", &self.relay.inbox),
            ("platform.store", &self.platform.store),
        ];
        let unencrypted = stores
            .iter()
            .filter(|(_, url)| url.is_unencrypted_elsewhere());
        warnings.extend(unencrypted.map(|(key, _)| {
            format!(
                "{key} has sslmode=disable: password and data are sent unencrypted to another machine"
            )
        }));
        warnings
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
