//! The HTTP client of every part.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

use crate::public_address::PublicResolver;

/// How long connecting may take, to any host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no HTTP client: most likely the system's root certificates cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot make an HTTP client")]
pub struct ClientError(#[source] reqwest::Error);

/// Makes a client that follows no redirects: mail and tokens go only where the configuration says.
///
/// # Errors
///
/// Fails if the system's root certificates cannot be read.
pub fn client() -> Result<Client, ClientError> {
    builder().build().map_err(ClientError)
}

/// Makes the same client, whose responses also carry the server's certificate.
///
/// # Errors
///
/// Fails if the system's root certificates cannot be read.
pub fn client_with_tls_info() -> Result<Client, ClientError> {
    builder().tls_info(true).build().map_err(ClientError)
}

/// Makes a client that connects to public addresses only, for URLs that strangers enter. It uses no
/// proxy, which would connect in its place. An address in the URL itself is not resolved: the caller
/// checks it with [`is_public`](crate::is_public).
///
/// # Errors
///
/// Fails if the system's root certificates cannot be read.
pub fn public_client() -> Result<Client, ClientError> {
    let builder = builder().no_proxy().dns_resolver(PublicResolver);
    builder.build().map_err(ClientError)
}

fn builder() -> ClientBuilder {
    Client::builder()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .user_agent(concat!("postbell/", env!("CARGO_PKG_VERSION")))
}
