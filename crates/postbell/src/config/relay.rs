//! The `[relay]` table.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use postbell_core::RetrySchedule;
use postbell_http::ListenAddress;
use postbell_relay::{HostPattern, HttpMachine, InvalidHostPattern, Rate};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::values::{check_scheme, is_plain_base};
use super::{ConfigError, Mistakes, StoreUrl};

/// Minimum length of a secret, in bytes.
pub(super) const MIN_SECRET: usize = 16;

/// Longest delay before the first retry.
const LONGEST_DELAY: Duration = Duration::from_secs(24 * 3600);
/// Longest time limit of a delivery, and of a stop that waits for deliveries.
const LONGEST_DELIVERY: Duration = Duration::from_secs(600);

/// The `[relay]` table: receiving pushes and delivering them.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayConfig {
    /// Where to listen.
    pub listen: ListenAddress,

    /// Public base URL of the relay. The audiences of OIDC tokens start with it.
    pub audience: Option<Url>,

    /// Store of the delivery queue: `sqlite:` and a path.
    pub inbox: StoreUrl,

    /// Base URL of a machine. `{app}` and `{machine}` are replaced.
    pub machine_url: String,

    /// Hosts that deliveries may go to: names, and `*.name` for subdomains. Empty allows every host.
    pub machine_hosts: Vec<String>,

    /// Secret from which the tokens in `/push/user/{user}/{token}` are derived.
    pub url_token_secret: Option<SecretString>,

    /// Whether rejected pushes are answered with 204 instead of a 4xx.
    pub ack_rejected: bool,

    /// Rate limit of each user.
    pub rate_per_user: RateConfig,

    /// Retry schedule of failed deliveries.
    pub retry: RetryConfig,

    /// How many deliveries may run at once.
    pub deliveries_at_once: NonZeroU32,

    /// Time limit of one delivery.
    #[serde(with = "humantime_serde")]
    pub delivery_timeout: Duration,

    /// How long a stopping relay waits for deliveries in flight.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
}

/// Rate limit of each user.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateConfig {
    /// Sustained pushes per second.
    pub per_second: NonZeroU32,

    /// Maximum burst of pushes.
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

/// Retry schedule of failed deliveries.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Retries after the first attempt.
    pub attempts: u32,

    /// Delay before the first retry.
    #[serde(with = "humantime_serde")]
    pub first: Duration,

    /// Factor by which the delay grows with each retry.
    pub factor: f64,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)).into(),
            audience: None,
            inbox: "sqlite:postbell.db".to_owned().into(),
            machine_url: "https://{app}.fly.dev".to_owned(),
            machine_hosts: Vec::new(),
            url_token_secret: None,
            ack_rejected: false,
            rate_per_user: RateConfig::default(),
            retry: RetryConfig::default(),
            deliveries_at_once: const { NonZeroU32::new(256).unwrap() },
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
    /// Checks required keys and combinations of values.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a required key is missing, or a value is invalid.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut mistakes = Mistakes::default();
        mistakes.check(self.audience());
        mistakes.check(self.machine_hosts());
        mistakes.refuse_if(
            HttpMachine::check_template(&self.machine_url).is_err(),
            "relay.machine_url",
            "an http or https URL without path or query, such as https://{app}.fly.dev; \
             only {app} and {machine} are replaced",
        );
        mistakes.check(check_scheme("relay.inbox", &self.inbox));
        let secret = self.url_token_secret.as_ref();
        mistakes.refuse_if(
            secret.is_some_and(|secret| secret.expose_secret().len() < MIN_SECRET),
            "relay.url_token_secret",
            "at least 16 bytes, for example the output of `openssl rand -hex 32`",
        );
        mistakes.refuse_if(
            !(1.0..=1000.0).contains(&self.retry.factor),
            "relay.retry.factor",
            "a number from 1 to 1000",
        );
        mistakes.refuse_if(
            self.retry.attempts == 0,
            "relay.retry.attempts",
            "1 or more, so that a machine that restarts gets its mail",
        );
        mistakes.refuse_if(
            self.retry.first.is_zero() || self.retry.first > LONGEST_DELAY,
            "relay.retry.first",
            "more than 0s, and at most 24h",
        );
        mistakes.refuse_if(
            self.delivery_timeout.is_zero() || self.delivery_timeout > LONGEST_DELIVERY,
            "relay.delivery_timeout",
            "more than 0s, and at most 10m",
        );
        mistakes.refuse_if(
            self.grace > LONGEST_DELIVERY,
            "relay.grace",
            "at most 10m: service managers kill a process that takes longer to stop",
        );
        mistakes.into_result()
    }

    /// Returns the hosts that deliveries may go to.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if an entry is not a host pattern.
    pub fn machine_hosts(&self) -> Result<Vec<HostPattern>, ConfigError> {
        let hosts = self.machine_hosts.iter().map(|host| host.parse());
        let hosts: Result<_, InvalidHostPattern> = hosts.collect();
        hosts.map_err(|_| {
            ConfigError::contradiction(
                "relay.machine_hosts",
                "host names such as bot.example.com, or *.fly.dev for all subdomains",
            )
        })
    }

    /// Returns the base of audiences without a trailing slash.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is missing. There is no useful default.
    pub fn audience(&self) -> Result<&str, ConfigError> {
        const EXPECTED: &str =
            "the public base URL of this relay without a path, such as https://push.example.com";
        let audience = self.audience.as_ref();
        let audience = audience.filter(|url| is_plain_base(url));
        let audience = audience.ok_or(ConfigError::contradiction("relay.audience", EXPECTED))?;
        Ok(audience.as_str().trim_end_matches('/'))
    }
}
