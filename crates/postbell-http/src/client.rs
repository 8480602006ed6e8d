//! The HTTP client of every part.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder};
use rustls_native_certs::load_native_certs;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::public_address::PublicResolver;

/// How long connecting may take, to any host.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The value of `User-Agent`.
pub(crate) const AGENT: &str = concat!("postbell/", env!("CARGO_PKG_VERSION"));

/// How long a request to an authority for certificates may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Why there is no HTTP client: the TLS library cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot make an HTTP client")]
pub struct ClientError(#[source] reqwest::Error);

/// The system has no CA certificates, so no server's certificate can be verified.
#[derive(Debug, thiserror::Error)]
#[error(
    "found no CA certificates, which HTTPS needs: install the package ca-certificates, or set \
     SSL_CERT_FILE to a PEM file of CA certificates{}",
    unreadable.as_ref().map(|error| format!(" ({error})")).unwrap_or_default()
)]
pub struct NoCaCertificates {
    /// What `SSL_CERT_FILE` or `SSL_CERT_DIR` names, if one of them is set.
    unreadable: Option<&'static rustls_native_certs::Error>,
}

/// The authorities that the system trusts.
struct SystemRoots {
    /// Of every client, which therefore share them; `None` if there are none.
    tls: Option<ClientConfig>,
    errors: Vec<rustls_native_certs::Error>,
}

/// They are hundreds of files, and so are read once: that takes five milliseconds of a start.
static SYSTEM_ROOTS: LazyLock<SystemRoots> = LazyLock::new(|| {
    let found = load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    SystemRoots {
        tls: (!roots.is_empty()).then(|| trusting(roots)),
        errors: found.errors,
    }
});

/// The TLS of clients that trust these authorities.
pub(crate) fn trusting(roots: RootCertStore) -> ClientConfig {
    let tls = ClientConfig::builder().with_root_certificates(Arc::new(roots));
    let mut tls = tls.with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    tls
}

/// The TLS of clients that trust the system's authorities, or no server if there are none.
pub(crate) fn tls_config() -> ClientConfig {
    let tls = SYSTEM_ROOTS.tls.clone();
    tls.unwrap_or_else(|| trusting(RootCertStore::empty()))
}

/// Checks that HTTPS servers can be verified. A command that needs them calls this at its start: later,
/// each request would fail with the TLS library's words.
///
/// # Errors
///
/// [`NoCaCertificates`] says what to install.
pub fn require_ca_certificates() -> Result<(), NoCaCertificates> {
    let SystemRoots { tls, errors } = &*SYSTEM_ROOTS;
    if tls.is_none() {
        let unreadable = errors.first();
        return Err(NoCaCertificates { unreadable });
    }
    Ok(())
}

/// Makes a client that follows no redirects: mail and tokens go only where the configuration says.
/// Without CA certificates it can use HTTP only ([`require_ca_certificates`]).
///
/// # Errors
///
/// Fails if the TLS library cannot be set up.
pub fn client() -> Result<Client, ClientError> {
    build(builder())
}

/// Makes the same client, whose responses also carry the server's certificate.
///
/// # Errors
///
/// Fails if the TLS library cannot be set up.
pub fn client_with_tls_info() -> Result<Client, ClientError> {
    build(builder().tls_info(true))
}

/// Makes the same client, which also trusts these authorities, and ends each request within a minute.
///
/// # Errors
///
/// Fails if the TLS library cannot be set up.
pub(crate) fn client_with_roots(roots: &[Certificate]) -> Result<Client, ClientError> {
    let builder = builder().timeout(REQUEST_TIMEOUT);
    if roots.is_empty() {
        return build(builder);
    }
    let client = builder.tls_certs_merge(roots.iter().cloned()).build();
    client.map_err(ClientError)
}

/// Makes a client that connects to public addresses only, for URLs that strangers enter. It uses no
/// proxy, which would connect in its place. An address in the URL itself is not resolved: the caller
/// checks it with [`is_public`](crate::is_public).
///
/// # Errors
///
/// Fails if the TLS library cannot be set up.
pub fn public_client() -> Result<Client, ClientError> {
    build(builder().no_proxy().dns_resolver(PublicResolver))
}

/// Makes a client for a health check: it uses no proxy, and connects to `unix_socket` if that is set.
/// Certificates are verified only if `verify` says so: a server of this machine has a certificate for
/// its public name, and a health check sends and reads nothing secret.
///
/// # Errors
///
/// Fails if the TLS library cannot be set up.
pub fn health_check_client(
    verify: bool,
    unix_socket: Option<&Path>,
) -> Result<Client, ClientError> {
    let builder = builder().no_proxy();
    let builder = match unix_socket {
        Some(file) => builder.unix_socket(file),
        None => builder,
    };
    if verify {
        return build(builder);
    }
    let client = builder.tls_danger_accept_invalid_certs(true).build();
    client.map_err(ClientError)
}

fn builder() -> ClientBuilder {
    Client::builder()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .user_agent(AGENT)
}

/// A system without CA certificates gets a client that trusts no server. `postbell demo` needs no other.
fn build(builder: ClientBuilder) -> Result<Client, ClientError> {
    let builder = match &SYSTEM_ROOTS.tls {
        Some(tls) => builder.tls_backend_preconfigured(tls.clone()),
        None => builder.tls_certs_only([]),
    };
    builder.build().map_err(ClientError)
}
