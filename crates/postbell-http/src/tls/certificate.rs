//! A certificate with its key.

use std::fmt;
use std::sync::Arc;

use postbell_core::Timestamp;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Why a certificate cannot be used, as a clause.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CertificateProblem(String);

/// A certificate with its chain and its key.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// The DNS names that it is for, in lower case; `*.` stands for one label.
    pub(super) names: Vec<String>,
}

impl CertificateProblem {
    pub(super) fn new(problem: impl fmt::Display) -> Self {
        Self(problem.to_string())
    }
}

impl Certificate {
    /// Reads a chain, the server's certificate first, and the key of that.
    pub(super) fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateProblem> {
        let chain: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|_| CertificateProblem::new("the certificate is not in PEM"))?;
        let Some(first) = chain.first() else {
            return Err(CertificateProblem::new(
                "expected a certificate in PEM, which begins with -----BEGIN CERTIFICATE-----",
            ));
        };
        let (_, parsed) = X509Certificate::from_der(first)
            .map_err(|_| CertificateProblem::new("the certificate is not in the form of X.509"))?;
        let validity = parsed.validity();
        let [not_before, not_after] = [validity.not_before, validity.not_after]
            .map(|time| Timestamp::from_millis(time.timestamp().saturating_mul(1000)));
        let names = dns_names(&parsed);
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
            CertificateProblem::new(
                "expected a private key in PEM without a passphrase, such as one that begins with \
                 -----BEGIN PRIVATE KEY-----",
            )
        })?;
        let key = CertifiedKey::from_der(chain, key, &default_provider());
        let key = key.map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                CertificateProblem::new("the key is not the certificate's")
            }
            error => CertificateProblem::new(format_args!("the key cannot be used: {error}")),
        })?;
        Ok(Self {
            key: Arc::new(key),
            not_before,
            not_after,
            names,
        })
    }

    /// Whether the certificate is for a host (RFC 9525, section 6.3).
    pub(super) fn is_for(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(name) => parent == Some(name),
            None => *name == host,
        })
    }
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|extension| &extension.value.general_names);
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    names.into_iter().flatten().filter_map(dns).collect()
}
