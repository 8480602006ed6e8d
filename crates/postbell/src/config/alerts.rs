//! The `[alerts]` table.

use std::time::Duration;

use postbell_alerts::{AlertRules, AlertTarget, InvalidTarget};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::ConfigError;
use super::values::one_per_line;

/// The `[alerts]` table: the operator's alerts when mail stops.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertsConfig {
    /// The operator's targets, one URL each (docs/alerts.md).
    #[serde(deserialize_with = "one_per_line")]
    pub targets: Vec<SecretString>,

    /// How long a machine that checks in regularly may be silent before an alert.
    #[serde(with = "humantime_serde")]
    pub silent_after: Duration,

    /// How long deliveries to a machine may fail before an alert.
    #[serde(with = "humantime_serde")]
    pub unreachable_after: Duration,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        let AlertRules {
            silent_after,
            unreachable_after,
        } = AlertRules::default();
        Self {
            targets: Vec::new(),
            silent_after,
            unreachable_after,
        }
    }
}

impl AlertsConfig {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a target or a time is invalid.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.targets()?;
        for (key, time) in [
            ("alerts.silent_after", self.silent_after),
            ("alerts.unreachable_after", self.unreachable_after),
        ] {
            if time.is_zero() {
                return Err(ConfigError::contradiction(key, "more than 0s"));
            }
        }
        Ok(())
    }

    /// Returns the operator's targets.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if one is invalid. It does not contain the target, which is a secret.
    pub fn targets(&self) -> Result<Vec<AlertTarget>, ConfigError> {
        let parse = |text: &SecretString| {
            let target = text.expose_secret().parse::<AlertTarget>();
            target.map_err(|InvalidTarget { expected }| {
                ConfigError::contradiction("alerts.targets", expected)
            })
        };
        self.targets.iter().map(parse).collect()
    }

    /// Returns after what times an event follows.
    #[must_use]
    pub fn rules(&self) -> AlertRules {
        AlertRules {
            silent_after: self.silent_after,
            unreachable_after: self.unreachable_after,
        }
    }
}
