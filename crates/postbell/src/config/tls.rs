//! The `[tls]` table.

use std::path::PathBuf;

use postbell_core::Timestamp;
use postbell_http::{AcmeSettings, CertificateFiles};
use serde::Deserialize;
use url::Url;

use super::{Config, ConfigError};

/// The directory of Let's Encrypt (<https://letsencrypt.org/docs/acme-protocol-updates/>).
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The most names of one certificate (<https://letsencrypt.org/docs/rate-limits/>).
const MAX_NAMES: usize = 100;

/// The `[tls]` table: the certificate with which servers speak HTTPS themselves, without a proxy.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate in PEM, and behind it those of the authorities between it and the root.
    pub certificate_file: Option<PathBuf>,

    /// The certificate's private key in PEM.
    pub key_file: Option<PathBuf>,

    /// Names of a certificate that is ordered and renewed by ACME. Empty orders none.
    pub acme: Vec<String>,

    /// Whether the operator agrees to the terms of service of the authority.
    pub acme_agree_terms: bool,

    /// Where the authority may reach the operator.
    pub acme_email: Option<String>,

    /// Directory of the authority.
    pub acme_directory: Url,

    /// Root certificate in PEM of a private authority's own server.
    pub acme_root_file: Option<PathBuf>,

    /// Folder for the account, the certificate and its key.
    pub acme_store: PathBuf,
}

impl Default for TlsConfig {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a constant that a test parses")]
        let directory = Url::parse(LETS_ENCRYPT).expect("a constant URL");
        Self {
            certificate_file: None,
            key_file: None,
            acme: Vec::new(),
            acme_agree_terms: false,
            acme_email: None,
            acme_directory: directory,
            acme_root_file: None,
            acme_store: "postbell-acme".into(),
        }
    }
}

impl TlsConfig {
    /// Whether servers speak HTTPS.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.certificate_file.is_some() || self.key_file.is_some() || !self.acme.is_empty()
    }

    /// Returns how to get a certificate by ACME, if that is configured.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a value is missing or invalid, or contradicts the files.
    pub fn acme(&self) -> Result<Option<AcmeSettings>, ConfigError> {
        let refused = |key, expected| Err(ConfigError::contradiction(key, expected));
        if self.acme.is_empty() {
            return Ok(None);
        }
        if self.certificate_file.is_some() || self.key_file.is_some() {
            return refused(
                "tls.acme",
                "either names, or a certificate_file and a key_file",
            );
        }
        if self.acme.len() > MAX_NAMES || !self.acme.iter().all(|name| is_name(name)) {
            return refused(
                "tls.acme",
                "up to 100 DNS names such as push.example.com, without https:// and without *",
            );
        }
        if !self.acme_agree_terms {
            return refused(
                "tls.acme_agree_terms",
                "true, if you agree to the terms of service of the authority in tls.acme_directory; \
                 those of Let's Encrypt are at https://letsencrypt.org/repository",
            );
        }
        if self.acme_directory.scheme() != "https" {
            return refused(
                "tls.acme_directory",
                "the URL of an ACME directory, with https",
            );
        }
        let is_mail = |it: &String| it.contains('@') && !it.contains(char::is_whitespace);
        if !self.acme_email.as_ref().is_none_or(is_mail) {
            return refused("tls.acme_email", "an address such as ops@example.com");
        }
        Ok(Some(AcmeSettings {
            names: self.acme.iter().map(|it| it.to_ascii_lowercase()).collect(),
            directory: self.acme_directory.to_string(),
            email: self.acme_email.clone(),
            root: self.acme_root_file.clone(),
            store: self.acme_store.clone(),
            random: fastrand::f64,
        }))
    }

    /// Returns the files of the certificate, if there are any.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if one of the two is missing.
    pub fn files(&self) -> Result<Option<CertificateFiles>, ConfigError> {
        match (&self.certificate_file, &self.key_file) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(CertificateFiles {
                certificate: certificate.clone(),
                key: key.clone(),
            })),
            (Some(_), None) => Err(ConfigError::contradiction(
                "tls.key_file",
                "the file of the key of tls.certificate_file, such as /etc/postbell/tls.key",
            )),
            (None, Some(_)) => Err(ConfigError::contradiction(
                "tls.certificate_file",
                "the file of the certificate of tls.key_file, such as /etc/postbell/tls.crt",
            )),
        }
    }
}

/// Whether a text is a DNS name (RFC 1035, section 2.3.1; digits may come first, RFC 1123).
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_plain = |it: u8| it.is_ascii_alphanumeric() || it == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // An IP address would pass.
    let is_number = |label: &str| label.bytes().all(|it| it.is_ascii_digit());
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(is_label) && !is_number(last)
}

impl Config {
    /// Whether the platform speaks HTTPS itself: a platform that has no public URL with HTTPS is for
    /// this machine.
    #[must_use]
    pub fn is_platform_secured(&self) -> bool {
        let url = self.platform.url.as_ref();
        self.tls.is_configured() && url.is_some_and(|url| url.scheme() == "https")
    }

    /// Checks that the certificate can be used at `now` for the hosts of the public URLs.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says what is wrong with it.
    pub fn check_certificate(&self, now: Timestamp) -> Result<(), ConfigError> {
        if let Some(acme) = self.tls.acme()? {
            return self.check_names(&acme.names);
        }
        let Some(files) = self.tls.files()? else {
            return Ok(());
        };
        let checked = files.check(&self.secured_hosts(), now);
        checked.map_err(|problem| ConfigError::Value {
            key: "tls.certificate_file".to_owned(),
            source_name: "configuration".to_owned(),
            problem: problem.to_string(),
        })
    }

    fn check_names(&self, names: &[String]) -> Result<(), ConfigError> {
        let hosts = self.secured_hosts();
        match hosts
            .iter()
            .find(|host| !names.iter().any(|name| name == **host))
        {
            None => Ok(()),
            Some(host) => Err(ConfigError::Value {
                key: "tls.acme".to_owned(),
                source_name: "configuration".to_owned(),
                problem: format!("expected {host}, too, the host of a public URL"),
            }),
        }
    }

    /// The hosts of the public URLs that this process serves itself.
    fn secured_hosts(&self) -> Vec<&str> {
        let platform = self.platform.url.as_ref();
        let platform = platform.filter(|_| self.is_platform_secured());
        let urls = self.relay.audience.iter().chain(platform);
        urls.filter_map(|url| url.domain()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        let no_secret = |_: &Path| Err("no such file".to_owned());
        Config::parse(text, Path::new("postbell.toml"), &[], &no_secret)
    }

    #[test]
    fn tls_needs_both_files_or_names_with_consent() {
        let agreed = "acme_agree_terms = true";
        for (text, key) in [
            ("certificate_file = \"x\"".to_owned(), "tls.key_file"),
            ("key_file = \"x\"".to_owned(), "tls.certificate_file"),
            (
                "acme = [\"a.example.com\"]".to_owned(),
                "tls.acme_agree_terms",
            ),
            (
                format!(
                    "acme = [\"a.example.com\"]\nkey_file = \"x\"\ncertificate_file = \"x\"\n{agreed}"
                ),
                "tls.acme",
            ),
            (
                format!(
                    "acme = [\"a.example.com\"]\nacme_directory = \"http://a.example.com\"\n{agreed}"
                ),
                "tls.acme_directory",
            ),
            (
                format!("acme = [\"a.example.com\"]\nacme_email = \"ops\"\n{agreed}"),
                "tls.acme_email",
            ),
        ] {
            let refused = parse(&format!("[tls]\n{text}")).unwrap().check();
            let message = refused.unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("{key}: expected ")),
                "{text}: {message}"
            );
        }
        for name in [
            "https://a.example.com",
            "*.example.com",
            "192.0.2.1",
            "a..example.com",
            "-a.com",
            "",
        ] {
            let text = format!("[tls]\n{agreed}\nacme = [\"{name}\"]");
            let message = parse(&text).unwrap().check().unwrap_err().to_string();
            assert!(
                message.contains("DNS names such as push.example.com"),
                "{name}: {message}"
            );
        }
        let text = format!("[tls]\n{agreed}\nacme = [\"Push.Example.com\", \"relay\"]");
        let config = parse(&text).unwrap();
        assert_eq!(
            config.tls.acme().unwrap().unwrap().names,
            ["push.example.com", "relay"]
        );
    }

    #[test]
    fn names_include_the_hosts_of_the_public_urls() {
        let text = "[relay]\naudience = \"https://push.example.com\"\n[platform]\nurl = \"https://bell.example.com\"
            [tls]\nacme_agree_terms = true\nacme = [\"push.example.com\"]";
        let config = parse(text).unwrap();
        let message = config
            .check_certificate(Timestamp::default())
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("expected bell.example.com, too"),
            "{message}"
        );
    }
}
