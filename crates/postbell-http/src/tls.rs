//! TLS: the certificate that servers show, and how it is kept valid.

mod acme;
mod certificate;
mod files;
mod monitor;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use postbell_core::{Clock, wait_for};
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use tokio_rustls::rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

pub use self::acme::AcmeSettings;
use self::acme::{Acme, Challenges};
use self::certificate::Certificate;
pub use self::certificate::CertificateProblem;
pub use self::files::CertificateFiles;

/// The names of the protocols above TLS (RFC 7301).
pub(crate) const HTTP_2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// The protocol by which an authority looks for the answer to its challenge (RFC 8737).
pub(crate) const VALIDATION: &[u8] = b"acme-tls/1";

/// A certificate that ends within this time should have been replaced: Let's Encrypt's are valid for
/// 90 days and renewed after 60, its short-lived ones for six days.
const ENDS_SOON: Duration = Duration::from_secs(2 * 86_400);

/// How often a certificate that ends soon is reported.
const REMINDER: Duration = Duration::from_secs(86_400);

/// The certificate that servers show. Cheap to clone: the clones share it.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    config: Arc<ServerConfig>,
    state: Arc<CertificateState>,
    source: Source,
    clock: Arc<dyn Clock>,
}

/// Where the certificate comes from.
enum Source {
    Files(CertificateFiles),
    Acme(Box<Acme>),
}

/// What servers show, and how the last attempt to replace it ended.
#[derive(Debug, Default)]
struct CertificateState {
    certificate: ArcSwapOption<Certificate>,
    challenges: Option<Challenges>,
    /// Attempts to load or get another certificate that failed.
    failures: Counter,
    /// Why the last attempt failed, if it did.
    problem: ArcSwapOption<String>,
}

impl Tls {
    /// Reads a certificate and its key from files.
    ///
    /// # Errors
    ///
    /// If they cannot be read or used. A certificate that has expired is used, and reported.
    pub fn from_files(
        files: CertificateFiles,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CertificateProblem> {
        let state = Arc::new(CertificateState::default());
        state.certificate.store(Some(Arc::new(files.load()?)));
        Self::new(state, Source::Files(files), clock)
    }

    /// Gets certificates from an authority. The first one that is not in the store is ordered by
    /// [`run`](Self::run); until it is there, handshakes fail.
    ///
    /// # Errors
    ///
    /// If the store cannot be written, or the root certificate cannot be read.
    pub fn with_acme(
        settings: AcmeSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CertificateProblem> {
        let acme = Acme::open(settings)?;
        let state = Arc::new(CertificateState {
            challenges: Some(acme.challenges()),
            ..CertificateState::default()
        });
        Self::new(state, Source::Acme(Box::new(acme)), clock)
    }

    fn new(
        state: Arc<CertificateState>,
        source: Source,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CertificateProblem> {
        let config = server_config(Arc::clone(&state)).map_err(CertificateProblem::new)?;
        Ok(Self(Arc::new(Shared {
            config: Arc::new(config),
            state,
            source,
            clock,
        })))
    }

    /// Keeps the certificate valid until `stop` is cancelled: reads the files again when they change, or
    /// renews the certificate ahead.
    pub async fn run(self, stop: CancellationToken) {
        let (state, clock) = (&self.0.state, &*self.0.clock);
        let run = async {
            match &self.0.source {
                Source::Files(files) => files.follow(state, clock).await,
                Source::Acme(acme) => acme.run(state, clock).await,
            }
        };
        stop.run_until_cancelled(async { tokio::join!(run, warn_before_expiry(state, clock)) })
            .await;
    }

    /// Does the handshake with a client.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let mut config = Arc::clone(&self.0.config);
        let client = begun.client_hello();
        if let (Some(challenges), true) = (&self.0.state.challenges, is_validation(&client)) {
            let name = client.server_name().unwrap_or_default().to_owned();
            if let Some(answer) = challenges.certificate(&name).await {
                let answer = SingleCertAndKey::from(answer);
                Arc::make_mut(&mut config).cert_resolver = Arc::new(answer);
            }
        }
        begun.into_stream(config).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.0.state).finish()
    }
}

fn server_config(state: Arc<CertificateState>) -> Result<ServerConfig, rustls::Error> {
    let mut protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
    if state.challenges.is_some() {
        protocols.push(VALIDATION.to_vec());
    }
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(state);
    config.alpn_protocols = protocols;
    // A client that comes back needs no signature.
    config.ticketer = Ticketer::new()?;
    Ok(config)
}

/// Whether the client is an authority that looks for the answer to its challenge: it offers this protocol
/// alone.
fn is_validation(client: &ClientHello<'_>) -> bool {
    let mut protocols = client.alpn().into_iter().flatten();
    protocols.any(|it| it == VALIDATION)
}

impl ResolvesServerCert for CertificateState {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if is_validation(&client) {
            return None;
        }
        let certificate = self.certificate.load();
        certificate.as_ref().map(|it| Arc::clone(&it.key))
    }
}

impl CertificateState {
    /// Shows another certificate from now on.
    fn replace(&self, certificate: Certificate) {
        self.certificate.store(Some(Arc::new(certificate)));
        self.problem.store(None);
    }

    /// Records that no other certificate could be had.
    fn failed(&self, problem: String) {
        self.failures.inc();
        self.problem.store(Some(Arc::new(problem)));
    }
}

/// Reports a certificate that ends soon, or has ended.
async fn warn_before_expiry(state: &CertificateState, clock: &dyn Clock) {
    loop {
        let now = clock.now();
        let ends = state.certificate.load().as_ref().map(|it| it.not_after);
        match ends {
            Some(ends) if ends <= now => {
                error!("The TLS certificate has expired: clients refuse it");
            }
            Some(ends) if ends - now < ENDS_SOON => {
                let hours = (ends - now).as_secs() / 3600;
                warn!("The TLS certificate expires in {hours} hours, and was not replaced");
            }
            _ => (),
        }
        wait_for(clock, REMINDER).await;
    }
}
