//! The `[telemetry]` table.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::ConfigError;
use super::values::is_http;

/// The path of traces below the URL of a collector
/// (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/#endpoint-urls-for-otlphttp>).
const TRACES: &str = "v1/traces";

/// The standard variables, which count if the table does not set the value.
const URL_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS_VARIABLE: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// The `[telemetry]` table: where the traces of mail are exported.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Base URL of an OTLP collector. Without one, nothing is exported.
    pub otlp_url: Option<Url>,

    /// Headers of the requests to it, as `name=value`, separated by commas.
    pub otlp_headers: Option<SecretString>,

    /// The part of the mails whose traces are exported, from 0 to 1.
    pub sample: f64,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            otlp_url: None,
            otlp_headers: None,
            sample: 1.0,
        }
    }
}

impl TelemetryConfig {
    /// Takes what is not set from the standard variables of OpenTelemetry.
    pub(super) fn complete<'a>(
        &mut self,
        variable: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<(), ConfigError> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        if self.otlp_url.is_none()
            && let Some(value) = set(URL_VARIABLE)
        {
            let url = value.parse().ok().filter(is_http);
            let problem = || ConfigError::Value {
                key: URL_VARIABLE.to_owned(),
                source_name: "environment".to_owned(),
                problem: "expected an http or https URL, such as http://127.0.0.1:4318".to_owned(),
            };
            self.otlp_url = Some(url.ok_or_else(problem)?);
        }
        if self.otlp_headers.is_none() {
            self.otlp_headers = set(HEADERS_VARIABLE).map(SecretString::from);
        }
        Ok(())
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if one is invalid.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.otlp_url.as_ref().is_some_and(|url| !is_http(url)) {
            let expected = "an http or https URL, such as http://127.0.0.1:4318";
            return Err(ConfigError::contradiction("telemetry.otlp_url", expected));
        }
        if !(0.0..=1.0).contains(&self.sample) {
            let expected = "a number from 0 to 1";
            return Err(ConfigError::contradiction("telemetry.sample", expected));
        }
        self.headers().map(|_| ())
    }

    /// Returns the URL of the traces.
    #[must_use]
    pub(crate) fn traces_url(&self) -> Option<Url> {
        let mut url = self.otlp_url.clone()?;
        let path = format!("{}/{TRACES}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Some(url)
    }

    /// Returns the headers. Debug output does not show their values.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if one is invalid. It does not contain the value, which may be a secret.
    pub(crate) fn headers(&self) -> Result<HeaderMap, ConfigError> {
        let text = self.otlp_headers.as_ref();
        let text = text.map_or("", ExposeSecret::expose_secret);
        let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
        let headers = pairs.map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let name: HeaderName = name.trim().parse().ok()?;
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        let headers = headers.collect::<Option<HeaderMap>>();
        headers.ok_or(ConfigError::contradiction(
            "telemetry.otlp_headers",
            "name=value, separated by commas",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> TelemetryConfig {
        TelemetryConfig {
            otlp_url: url.parse().ok(),
            ..TelemetryConfig::default()
        }
    }

    #[test]
    fn traces_have_a_path_below_the_url_of_the_collector() {
        for (url, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            (
                "https://otlp.example.com/otlp/",
                "https://otlp.example.com/otlp/v1/traces",
            ),
        ] {
            assert_eq!(config(url).traces_url().unwrap().as_str(), expected);
        }
        assert_eq!(TelemetryConfig::default().traces_url(), None);
    }

    #[test]
    fn standard_variables_set_what_the_table_does_not() {
        let variable = |name: &str| match name {
            URL_VARIABLE => Some("http://127.0.0.1:4318"),
            HEADERS_VARIABLE => Some("api-key=secret, x-other = 1"),
            _ => None,
        };
        let mut by_variables = TelemetryConfig::default();
        by_variables.complete(variable).unwrap();
        assert_eq!(by_variables.otlp_url.as_ref().unwrap().port(), Some(4318));
        let headers = by_variables.headers().unwrap();
        assert_eq!(headers["api-key"], "secret");
        assert_eq!(headers["x-other"], "1");
        assert!(!format!("{headers:?}").contains("secret"));

        let mut by_table = config("http://127.0.0.1:1");
        by_table.complete(variable).unwrap();
        assert_eq!(by_table.otlp_url.unwrap().port(), Some(1));
        let wrong = |_: &str| Some("4318");
        assert!(TelemetryConfig::default().complete(wrong).is_err());
    }

    #[test]
    fn other_values_are_refused_without_showing_the_headers() {
        assert!(config("ftp://example.com").check().is_err());
        let sample = f64::NAN;
        let wrong = TelemetryConfig {
            sample,
            ..TelemetryConfig::default()
        };
        assert!(wrong.check().is_err());
        let otlp_headers = Some("secret".into());
        let wrong = TelemetryConfig {
            otlp_headers,
            ..TelemetryConfig::default()
        };
        assert!(!wrong.check().unwrap_err().to_string().contains("secret"));
    }
}
