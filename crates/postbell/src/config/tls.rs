//! The `[tls]` table.

use std::path::PathBuf;

use postbell_core::Timestamp;
use postbell_http::CertificateFiles;
use serde::Deserialize;

use super::{Config, ConfigError};

/// The `[tls]` table: the certificate with which servers speak HTTPS themselves, without a proxy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate in PEM, and behind it those of the authorities between it and the root.
    pub certificate_file: Option<PathBuf>,

    /// The certificate's private key in PEM.
    pub key_file: Option<PathBuf>,
}

impl TlsConfig {
    /// Whether servers speak HTTPS.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.certificate_file.is_some() || self.key_file.is_some()
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
        let Some(files) = self.tls.files()? else {
            return Ok(());
        };
        let platform = self.platform.url.as_ref();
        let platform = platform.filter(|_| self.is_platform_secured());
        let urls = self.relay.audience.iter().chain(platform);
        let hosts: Vec<_> = urls.filter_map(|url| url.domain()).collect();
        let checked = files.check(&hosts, now);
        checked.map_err(|problem| ConfigError::Value {
            key: "tls.certificate_file".to_owned(),
            source_name: "configuration".to_owned(),
            problem: problem.to_string(),
        })
    }
}
