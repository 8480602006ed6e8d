//! The `[telemetry]` table.

use percent_encoding::percent_decode_str;
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
const PROTOCOL_VARIABLE: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const EXPORTER_VARIABLE: &str = "OTEL_TRACES_EXPORTER";
const DISABLED_VARIABLE: &str = "OTEL_SDK_DISABLED";

/// The protocol that Postbell speaks, as the standard names it.
const PROTOCOL: &str = "http/protobuf";

const EXPECTED_HEADERS: &str = "name=value, separated by commas";

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

    /// Whether the values of the headers are percent-encoded, as in the standard variable.
    #[serde(skip)]
    has_encoded_headers: bool,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            otlp_url: None,
            otlp_headers: None,
            sample: 1.0,
            has_encoded_headers: false,
        }
    }
}

impl TelemetryConfig {
    /// Takes what is not set from the standard variables of OpenTelemetry: the headers only with the URL, because they may
    /// be a key for that server. The variables may be meant for another program on the machine, so what Postbell cannot use
    /// keeps nothing from starting.
    pub(super) fn complete<'a>(&mut self, variable: impl Fn(&str) -> Option<&'a str>) {
        if self.otlp_url.is_some() || unusable_variable(&variable).is_some() {
            return;
        }
        let url = variable(URL_VARIABLE).filter(|url| !url.is_empty());
        self.otlp_url = url.and_then(|url| url.parse().ok());
        let headers = variable(HEADERS_VARIABLE).filter(|headers| !headers.is_empty());
        if self.otlp_url.is_some() && self.otlp_headers.is_none() {
            self.otlp_headers = headers.map(SecretString::from);
            self.has_encoded_headers = true;
        }
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
        let headers = parse_headers(text, self.has_encoded_headers);
        headers.ok_or(ConfigError::contradiction(
            "telemetry.otlp_headers",
            EXPECTED_HEADERS,
        ))
    }
}

/// Returns why nothing is exported although the standard variables name a collector.
pub(super) fn unusable_variable<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let url = set(URL_VARIABLE)?;
    let is_http_url = url.parse().is_ok_and(|url| is_http(&url));
    let headers = set(HEADERS_VARIABLE).unwrap_or_default();
    let problem = if set(DISABLED_VARIABLE).is_some_and(|it| it.eq_ignore_ascii_case("true")) {
        format!("{DISABLED_VARIABLE} is true")
    } else if set(EXPORTER_VARIABLE).is_some_and(|exporter| exporter != "otlp") {
        format!("{EXPORTER_VARIABLE} is not otlp")
    } else if set(PROTOCOL_VARIABLE).is_some_and(|protocol| protocol != PROTOCOL) {
        format!("{PROTOCOL_VARIABLE} is not {PROTOCOL}, the only protocol of Postbell")
    } else if !is_http_url {
        format!("{URL_VARIABLE} is no http or https URL, such as http://127.0.0.1:4318")
    } else if parse_headers(headers, true).is_none() {
        format!("{HEADERS_VARIABLE} is not {EXPECTED_HEADERS}")
    } else {
        return None;
    };
    Some(format!(
        "no traces are exported to {URL_VARIABLE}, because {problem}: set telemetry.otlp_url for Postbell alone"
    ))
}

/// Parses `name=value`, separated by commas. In the standard variable values are percent-encoded
/// (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/#specifying-headers-via-environment-variables>).
fn parse_headers(text: &str, is_encoded: bool) -> Option<HeaderMap> {
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    let headers = pairs.map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let name: HeaderName = name.trim().parse().ok()?;
        let value = value.trim();
        let value = if is_encoded {
            percent_decode_str(value).decode_utf8().ok()?
        } else {
            value.into()
        };
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    });
    headers.collect()
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

    /// The table `config`, completed by variables.
    fn completed(mut config: TelemetryConfig, variables: &[(&str, &str)]) -> TelemetryConfig {
        config.complete(value_in(variables));
        config
    }

    fn value_in<'a>(variables: &'a [(&str, &'a str)]) -> impl Fn(&str) -> Option<&'a str> {
        move |name| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| *value)
        }
    }

    #[test]
    fn standard_variables_set_what_the_table_does_not() {
        let variables = [
            (URL_VARIABLE, "http://127.0.0.1:4318"),
            (
                HEADERS_VARIABLE,
                "authorization=Basic%20c2VjcmV0, x-other = 1",
            ),
            (PROTOCOL_VARIABLE, "http/protobuf"),
        ];
        assert_eq!(unusable_variable(value_in(&variables)), None);
        let by_variables = completed(TelemetryConfig::default(), &variables);
        assert_eq!(by_variables.otlp_url.as_ref().unwrap().port(), Some(4318));
        let headers = by_variables.headers().unwrap();
        assert_eq!(headers["authorization"], "Basic c2VjcmV0");
        assert_eq!(headers["x-other"], "1");
        assert!(!format!("{headers:?}").contains("c2VjcmV0"));

        let by_table = completed(config("http://127.0.0.1:1"), &variables);
        assert!(
            by_table.headers().unwrap().is_empty(),
            "a key of another server"
        );
        assert_eq!(by_table.otlp_url.unwrap().port(), Some(1));
        let unreadable = [(HEADERS_VARIABLE, "no pair")];
        completed(config("http://127.0.0.1:1"), &unreadable)
            .check()
            .unwrap();
        let table = TelemetryConfig {
            otlp_headers: Some("x-key=a%20b".into()),
            ..config("http://127.0.0.1:1")
        };
        let headers = completed(table, &variables).headers().unwrap();
        assert_eq!(headers["x-key"], "a%20b");
    }

    #[test]
    fn variables_for_another_program_export_nothing_and_are_no_mistake() {
        let url = (URL_VARIABLE, "http://127.0.0.1:4318");
        for (variables, reason) in [
            (
                vec![(URL_VARIABLE, "collector:4317")],
                "no http or https URL",
            ),
            (vec![url, (PROTOCOL_VARIABLE, "grpc")], "http/protobuf"),
            (
                vec![url, (EXPORTER_VARIABLE, "none")],
                "OTEL_TRACES_EXPORTER",
            ),
            (vec![url, (DISABLED_VARIABLE, "TRUE")], "OTEL_SDK_DISABLED"),
            (vec![url, (HEADERS_VARIABLE, "secret")], "name=value"),
        ] {
            let config = completed(TelemetryConfig::default(), &variables);
            assert_eq!(config.traces_url(), None);
            config.check().unwrap();
            let warning = unusable_variable(value_in(&variables)).unwrap();
            assert!(
                warning.contains(reason) && !warning.contains("secret"),
                "{warning}"
            );
        }
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
