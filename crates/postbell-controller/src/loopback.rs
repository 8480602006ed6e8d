//! The way to what listens on this machine.

use std::time::Duration;

use axum::body::Body;
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// How long a connection that nobody uses is kept: a little less than Node's servers do, which
/// close it after five seconds, so that no request meets the closing.
const IDLE: Duration = Duration::from_secs(4);

/// How long connecting may take: the port is of this machine.
const CONNECT: Duration = Duration::from_secs(2);

/// The way to a port of 127.0.0.1. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Loopback {
    client: Client<HttpConnector, Body>,
    authority: Authority,
}

impl Loopback {
    #[expect(clippy::expect_used, reason = "a number makes no authority wrong")]
    pub(crate) fn new(port: u16) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let authority = format!("127.0.0.1:{port}");
        let authority = authority.parse().expect("an address and a port");
        Self { client, authority }
    }

    /// What `host` must be.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The URI of a path there.
    #[expect(
        clippy::expect_used,
        reason = "all three parts are there, and right by type"
    )]
    pub(crate) fn uri(&self, path: PathAndQuery) -> Uri {
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .expect("a whole URI")
    }

    /// Sends a request, whose URI must be [`uri`](Self::uri), and returns once the head of the answer
    /// is there. Follows no redirects.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        self.client.request(request).await
    }
}
