//! The `[relay]` table.

use std::net::SocketAddr;
use std::time::Duration;

use postbell_core::RetrySchedule;
use serde::Deserialize;
use url::Url;

use super::ConfigError;

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

    /// When a failed delivery is repeated.
    pub retry: RetryConfig,

    /// How long one delivery may take.
    #[serde(with = "humantime_serde")]
    pub delivery_timeout: Duration,
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
            retry: RetryConfig::default(),
            delivery_timeout: Duration::from_secs(30),
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

    /// The audience base without a slash at its end.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where it is missing: no default could be right.
    pub fn audience(&self) -> Result<&str, ConfigError> {
        const EXPECTED: &str =
            "the public base URL of this relay, such as https://push.example.com";
        let audience = self.audience.as_ref();
        let audience = audience.filter(|url| url.query().is_none() && url.fragment().is_none());
        let audience = audience.ok_or(ConfigError::contradiction("relay.audience", EXPECTED))?;
        Ok(audience.as_str().trim_end_matches('/'))
    }
}
