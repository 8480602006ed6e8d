//! HTTP client for a server on this machine.

use std::time::Duration;

use axum::body::Body;
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// How long an idle connection is kept. Node's servers close it after five seconds; a request must
/// not race with that.
const IDLE: Duration = Duration::from_secs(4);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// HTTP client for one port of 127.0.0.1. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Loopback {
    client: Client<HttpConnector, Body>,
    authority: Authority,
}

impl Loopback {
    #[expect(
        clippy::expect_used,
        reason = "an address with a port is a valid authority"
    )]
    pub(crate) fn new(port: u16) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let authority = format!("127.0.0.1:{port}");
        let authority = authority.parse().expect("an address and a port");
        Self { client, authority }
    }

    /// Returns the value of the `host` header.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Returns the URI of a path on the server.
    #[expect(
        clippy::expect_used,
        reason = "all three parts are set and valid by type"
    )]
    pub(crate) fn uri(&self, path: PathAndQuery) -> Uri {
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .expect("a complete URI")
    }

    /// Sends a request to a [`uri`](Self::uri) and returns once the response's head is there. Does
    /// not follow redirects.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        self.client.request(request).await
    }
}
