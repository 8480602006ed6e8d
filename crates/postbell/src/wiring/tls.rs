//! HTTPS without a proxy.

use std::sync::Arc;

use postbell_core::{Clock, Tasks};
use postbell_http::{Listener, Tls};

use crate::config::{ConfigError, TlsConfig};

/// The certificate of the servers of this process, which a task keeps valid.
pub(crate) struct TlsListeners(Option<Tls>);

impl TlsListeners {
    /// Reads the certificate, if there is one.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be used.
    pub(crate) fn start(
        config: &TlsConfig,
        clock: &Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Result<Self, ConfigError> {
        let (key, tls) = match (config.files()?, config.acme()?) {
            (_, Some(acme)) => ("tls.acme", Tls::with_acme(acme, Arc::clone(clock))),
            (Some(files), None) => (
                "tls.certificate_file",
                Tls::from_files(files, Arc::clone(clock)),
            ),
            (None, None) => return Ok(Self(None)),
        };
        let tls = tls.map_err(|problem| ConfigError::Value {
            key: key.to_owned(),
            source_name: "configuration".to_owned(),
            problem: problem.to_string(),
        })?;
        let keeper = tls.clone();
        tasks.start("certificate", |stop| keeper.run(stop));
        Ok(Self(Some(tls)))
    }

    /// Makes a listener speak HTTPS, if there is a certificate.
    pub(crate) fn secure(&self, listener: Listener) -> Listener {
        match &self.0 {
            Some(tls) => listener.with_tls(tls),
            None => listener,
        }
    }
}
