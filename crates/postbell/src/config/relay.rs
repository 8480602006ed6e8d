//! The `[relay]` table.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use postbell_core::RetrySchedule;
use postbell_relay::{HostPattern, HttpMachine, InvalidHostPattern, Rate};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::ConfigError;
use super::values::{check_scheme, is_plain_base};

/// The shortest secret: what is shorter can be guessed.
pub(super) const SHORTEST_SECRET: usize = 16;

/// The `[relay]` table: how pushes come in and go out.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayConfig {
    /// Address to listen on.
    pub listen: SocketAddr,

    /// Public base URL of the relay; OIDC audiences are built on it.
    pub audience: Option<Url>,

    /// Where notifications wait: `sqlite:` and a path.
    pub inbox: String,

    /// Base URL of a machine; `{app}` and `{machine}` are filled in.
    pub machine_url: String,

    /// Hosts that deliveries may go to: names, and `*.name` for all below; any, where none is named.
    pub machine_hosts: Vec<String>,

    /// The secret behind the tokens of `/push/user/{user}/{token}`.
    pub url_token_secret: Option<SecretString>,

    /// Whether refused pushes are acknowledged with 204 instead of a 4xx.
    pub ack_rejected: bool,

    /// How much each user may send.
    pub rate_per_user: RateConfig,

    /// When a failed delivery is repeated.
    pub retry: RetryConfig,

    /// How long one delivery may take.
    #[serde(with = "humantime_serde")]
    pub delivery_timeout: Duration,

    /// How long a stopping relay waits for what is in flight.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
}

/// How much each user may send.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateConfig {
    /// Pushes a second, in the long run.
    pub per_second: NonZeroU32,

    /// Pushes at once, after a pause.
    pub burst: NonZeroU32,
}

impl Default for RateConfig {
    fn default() -> Self {
        const {
            Self {
                per_second: NonZeroU32::new(50).unwrap(),
                burst: NonZeroU32::new(500).unwrap(),
            }
        }
    }
}

impl From<RateConfig> for Rate {
    fn from(RateConfig { per_second, burst }: RateConfig) -> Self {
        Self { per_second, burst }
    }
}

/// When a failed delivery is repeated.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Retries after the first attempt.
    pub attempts: u32,

    /// The wait before the first retry.
    #[serde(with = "humantime_serde")]
    pub first: Duration,

    /// What each wait is multiplied with to give the next.
    pub factor: f64,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            audience: None,
            inbox: "sqlite:postbell.db".to_owned(),
            machine_url: "https://{app}.fly.dev".to_owned(),
            machine_hosts: Vec::new(),
            url_token_secret: None,
            ack_rejected: false,
            rate_per_user: RateConfig::default(),
            retry: RetryConfig::default(),
            delivery_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        let RetrySchedule {
            attempts,
            first,
            factor,
        } = RetrySchedule::default();
        Self {
            attempts,
            first,
            factor,
        }
    }
}

impl From<RetryConfig> for RetrySchedule {
    fn from(
        RetryConfig {
            attempts,
            first,
            factor,
        }: RetryConfig,
    ) -> Self {
        Self {
            attempts,
            first,
            factor,
        }
    }
}

impl RelayConfig {
    /// Finds what each value alone does not show.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a key that a relay needs and has not, or that contradicts another.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.audience()?;
        self.machine_hosts()?;
        let machine_url = HttpMachine::check_template(&self.machine_url);
        machine_url.map_err(|_| {
            ConfigError::contradiction(
                "relay.machine_url",
                "an http or https URL without path or query, such as https://{app}.fly.dev; \
                 {app} and {machine} are filled in, and nothing else",
            )
        })?;
        check_scheme("relay.inbox", &self.inbox)?;
        let secret = self.url_token_secret.as_ref();
        if secret.is_some_and(|secret| secret.expose_secret().len() < SHORTEST_SECRET) {
            return Err(ConfigError::contradiction(
                "relay.url_token_secret",
                "at least 16 bytes, such as `openssl rand -hex 32` prints",
            ));
        }
        if !(1.0..=1000.0).contains(&self.retry.factor) {
            return Err(ConfigError::contradiction(
                "relay.retry.factor",
                "a number from 1 to 1000",
            ));
        }
        if self.delivery_timeout.is_zero() {
            return Err(ConfigError::contradiction(
                "relay.delivery_timeout",
                "more than 0s",
            ));
        }
        Ok(())
    }

    /// The hosts that deliveries may go to.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where one is no host.
    pub fn machine_hosts(&self) -> Result<Vec<HostPattern>, ConfigError> {
        let hosts = self.machine_hosts.iter().map(|host| host.parse());
        let hosts: Result<_, InvalidHostPattern> = hosts.collect();
        hosts.map_err(|_| {
            ConfigError::contradiction(
                "relay.machine_hosts",
                "names of hosts, such as bot.example.com, or *.fly.dev for all below",
            )
        })
    }

    /// The audience base without a slash at its end.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where it is missing: no default could be right.
    pub fn audience(&self) -> Result<&str, ConfigError> {
        const EXPECTED: &str =
            "the public base URL of this relay, such as https://push.example.com";
        let audience = self.audience.as_ref();
        let audience = audience.filter(|url| is_plain_base(url));
        let audience = audience.ok_or(ConfigError::contradiction("relay.audience", EXPECTED))?;
        Ok(audience.as_str().trim_end_matches('/'))
    }
}
