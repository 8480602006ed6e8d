//! The `[alerts]` table.

use std::time::Duration;

use postbell_alerts::{AlertRules, AlertTarget, InvalidTarget, MailServer};
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

    /// The mail server for targets that are an address alone, those of users included (docs/alerts.md).
    pub mail_server: Option<SecretString>,

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
            mail_server: None,
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
        let has_mail_server = self.mail_server()?.is_some();
        let targets = self.targets()?;
        if !has_mail_server && targets.iter().any(AlertTarget::needs_mail_server) {
            let expected = "smtps://USER:PASSWORD@HOST?from=ADDRESS, by which the mail addresses in alerts.targets get mail";
            return Err(ConfigError::contradiction("alerts.mail_server", expected));
        }
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
    /// [`ConfigError`] names the first that is invalid by its number. It does not contain the target, which is a secret.
    pub fn targets(&self) -> Result<Vec<AlertTarget>, ConfigError> {
        let parse = |(number, text): (usize, &SecretString)| {
            let target = text.expose_secret().parse::<AlertTarget>();
            target.map_err(|InvalidTarget { expected }| ConfigError::Value {
                key: "alerts.targets".to_owned(),
                source_name: format!("number {number}"),
                problem: format!("expected {expected}"),
            })
        };
        (1..).zip(&self.targets).map(parse).collect()
    }

    /// Returns the mail server for targets that are an address alone.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is invalid. It does not contain the text, which is a secret.
    pub fn mail_server(&self) -> Result<Option<MailServer>, ConfigError> {
        let text = self.mail_server.as_ref();
        let parsed = text.map(|text| text.expose_secret().parse::<MailServer>());
        parsed.transpose().map_err(|InvalidTarget { expected }| {
            ConfigError::contradiction("alerts.mail_server", expected)
        })
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
