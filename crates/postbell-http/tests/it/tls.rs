//! Clients over TLS.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{CONNECTION, HOST, UPGRADE};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use axum::routing::get;
use futures_util::stream;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use postbell_core::{Clock, SystemClock, Tasks};
use postbell_http::{CertificateFiles, Listener, Tls, serve, serve_at_most};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::server::{DEADLOCK, GRACE};

const NAME: &str = "push.example.com";

/// A certificate in files, and a server that shows it.
struct World {
    folder: TempDir,
    tasks: Tasks,
    address: SocketAddr,
}

/// Writes a new certificate for a name, and returns it.
fn write_certificate(folder: &Path, name: &str) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([name.to_owned()]).unwrap();
    // The pair is complete once the certificate is there.
    fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
    cert.der().clone()
}

fn files(folder: &Path) -> CertificateFiles {
    CertificateFiles {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    }
}

impl World {
    async fn start(router: Router) -> Self {
        Self::start_with_limit(1000, router).await
    }

    async fn start_with_limit(limit: usize, router: Router) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path(), NAME);
        let tls = Tls::from_files(files(folder.path()), Arc::new(SystemClock::new())).unwrap();
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let address = listener.address().unwrap().tcp().unwrap();
        let listener = listener.with_tls(&tls);
        let tasks = Tasks::new();
        tasks.start("certificate", |stop| tls.run(stop));
        tasks.start("server", move |stop| {
            serve_at_most(limit, listener, router, stop)
        });
        Self {
            folder,
            tasks,
            address,
        }
    }

    /// Connects a client that trusts the certificate in the file.
    async fn connect(&self, protocols: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
        let trusted = CertificateDer::from_pem_file(self.folder.path().join("cert.pem")).unwrap();
        self.connect_trusting(trusted, protocols).await
    }

    async fn connect_trusting(
        &self,
        trusted: CertificateDer<'static>,
        protocols: &[&[u8]],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted).unwrap();
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(NAME).unwrap();
        timeout(DEADLOCK, connector.connect(name, stream))
            .await
            .unwrap()
    }

    /// Asks with HTTP/2.
    async fn ask(&self, path: &str) -> (StatusCode, String) {
        let (mut client, _connection) = self.http2().await;
        let answer = client.send_request(request(path)).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn http2(&self) -> (http2::SendRequest<Empty<Bytes>>, JoinSet<()>) {
        let stream = self.connect(&[b"h2", b"http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(stream);
        let (client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        (client, tasks)
    }
}

fn request(path: &str) -> Request<Empty<Bytes>> {
    let uri = format!("https://{NAME}{path}");
    Request::builder().uri(uri).body(Empty::new()).unwrap()
}

/// `/` names the host of the request, `/events` sends one event and then none, `/echo` is a tunnel.
fn router() -> Router {
    let host = async |headers: HeaderMap| headers[HOST].to_str().unwrap().to_owned();
    let events = async || {
        let first = stream::iter([Ok::<_, io::Error>(Bytes::from("data: 1\n\n"))]);
        Body::from_stream(futures_util::StreamExt::chain(first, stream::pending()))
    };
    let echo = async |mut request: axum::extract::Request| {
        let upgrade = hyper::upgrade::on(&mut request);
        let tunnels = Tasks::new();
        tunnels.start("tunnel", |_| async {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        let response = response
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, "echo");
        response.body(Body::empty()).unwrap()
    };
    Router::new()
        .route("/", get(host))
        .route("/events", get(events))
        .route("/echo", get(echo))
        .route("/ready", get(async || "ready"))
        .route("/metrics", get(async || "# TYPE x gauge\nx 1\n# EOF\n"))
}

#[tokio::test]
async fn a_client_chooses_between_http_2_and_http_1_1() {
    let world = World::start(router()).await;
    assert_eq!(world.ask("/").await, (StatusCode::OK, NAME.to_owned()));
    for protocols in [&[][..], &[&b"http/1.1"[..]]] {
        let mut stream = world.connect(protocols).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with(NAME), "{answer}");
    }
    let refused = world.connect(&[b"acme-tls/1"]).await;
    refused.unwrap_err();
    world.tasks.stop(GRACE).await.unwrap();
}

#[tokio::test]
async fn server_sent_events_arrive_over_http_2_as_they_are_sent() {
    let world = World::start(router()).await;
    let (mut client, _connection) = world.http2().await;
    let answer = client.send_request(request("/events")).await.unwrap();
    let mut body = answer.into_body();
    let event = timeout(DEADLOCK, body.frame())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(event.into_data().unwrap(), "data: 1\n\n");
}

#[tokio::test]
async fn a_websocket_passes_over_http_1_1_within_tls() {
    let world = World::start(router()).await;
    let stream = world.connect(&[b"http/1.1"]).await.unwrap();
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    let mut request = request("/echo");
    request.headers_mut().insert(HOST, NAME.parse().unwrap());
    request
        .headers_mut()
        .insert(CONNECTION, "upgrade".parse().unwrap());
    request
        .headers_mut()
        .insert(UPGRADE, "echo".parse().unwrap());
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut tunnel = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    tunnel.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    timeout(DEADLOCK, tunnel.read_exact(&mut echo))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&echo, b"hello");
}

/// Longer than the time after which changed files are noticed.
const NOTICED: Duration = Duration::from_secs(25);

#[tokio::test(start_paused = true)]
async fn a_new_certificate_is_shown_and_a_broken_one_is_reported_while_the_old_one_stays() {
    let world = World::start(router()).await;
    let metric = async |line: &str| {
        let (_, text) = world.ask("/metrics").await;
        assert!(text.starts_with("# TYPE x gauge\nx 1\n"), "{text}");
        assert!(
            text.contains(line) && text.ends_with("# EOF\n"),
            "{line}: {text}"
        );
    };
    metric("postbell_tls_certificate_failing 0\n").await;
    let (_, text) = world.ask("/metrics").await;
    postbell_testkit::assert_has_named_metrics(&text, "postbell_tls_");
    metric("postbell_tls_certificate_expiry_timestamp_seconds ").await;

    let second = write_certificate(world.folder.path(), NAME);
    sleep(NOTICED).await;
    assert_eq!(
        world.ask("/").await.0,
        StatusCode::OK,
        "the client trusts the second only"
    );

    let file = world.folder.path().join("cert.pem");
    for broken in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        fs::write(&file, broken).unwrap();
        sleep(NOTICED).await;
        world.connect_trusting(second.clone(), &[]).await.unwrap();
    }
    // The key of another certificate.
    let third = generate_simple_self_signed([NAME.to_owned()]).unwrap();
    fs::write(&file, third.cert.pem()).unwrap();
    sleep(NOTICED).await;
    world.connect_trusting(second.clone(), &[]).await.unwrap();
    world
        .connect_trusting(third.cert.der().clone(), &[])
        .await
        .unwrap_err();

    write_certificate(world.folder.path(), NAME);
    sleep(NOTICED).await;
    metric("postbell_tls_certificate_failing 0\n").await;
    metric("postbell_tls_certificate_failures_total 3\n").await;
    assert_eq!(
        world.ask("/ready").await,
        (StatusCode::OK, "ready".to_owned())
    );
}

#[tokio::test]
async fn handshakes_that_never_end_keep_nobody_out() {
    let world = World::start_with_limit(4, router()).await;
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(TcpStream::connect(world.address).await.unwrap());
    }
    assert_eq!(world.ask("/").await.0, StatusCode::OK);
    let mut oldest = silent.remove(0);
    let read = timeout(DEADLOCK, oldest.read(&mut [0; 8])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "closed");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_ten_seconds() {
    let world = World::start(router()).await;
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    let read = timeout(Duration::from_secs(11), silent.read(&mut [0; 8])).await;
    assert!(matches!(read.unwrap(), Ok(0) | Err(_)), "closed");
}

/// The client's part of an HTTP/2 connection, frame by frame (RFC 9113).
struct RawHttp2(TlsStream<TcpStream>);

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM_AND_HEADERS: u8 = 0x05;

impl RawHttp2 {
    async fn connect(world: &World, settings: &[u8]) -> Self {
        let stream = world.connect(&[b"h2"]).await.unwrap();
        let mut connection = Self(stream);
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        connection.0.write_all(preface).await.unwrap();
        connection.send(SETTINGS, 0, 0, settings).await.unwrap();
        connection
    }

    async fn send(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(id.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).await
    }

    /// Sends GET / to the name "a" (RFC 7541, appendix A: entries 2, 4 and 7, and 1 with a value).
    async fn ask(&mut self, id: u32) -> io::Result<()> {
        let head = [0x82, 0x84, 0x87, 0x01, 0x01, b'a'];
        self.send(HEADERS, END_STREAM_AND_HEADERS, id, &head).await
    }

    /// Reads frames until the connection ends.
    async fn ended(&mut self) -> io::Result<()> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length.try_into().unwrap()];
            self.0.read_exact(&mut payload).await?;
        }
    }
}

#[tokio::test]
async fn a_client_that_resets_its_requests_at_once_is_cut_off() {
    let world = World::start(router()).await;
    let mut client = RawHttp2::connect(&world, &[]).await;
    for number in 0..2000 {
        let id = 2 * number + 1;
        let cancel = 8_u32.to_be_bytes();
        let sent =
            client.ask(id).await.is_ok() && client.send(RST_STREAM, 0, id, &cancel).await.is_ok();
        if !sent {
            break;
        }
    }
    let ended = timeout(DEADLOCK, client.ended()).await.unwrap();
    ended.unwrap_err();
    assert_eq!(world.ask("/").await.0, StatusCode::OK, "others are served");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_uses_http_2_for_nothing_or_reads_no_response_is_closed() {
    let world = World::start(router()).await;
    let mut idle = RawHttp2::connect(&world, &[]).await;
    // SETTINGS_INITIAL_WINDOW_SIZE 0: the response can never be sent.
    let mut stalled = RawHttp2::connect(&world, &[0, 4, 0, 0, 0, 0]).await;
    stalled.ask(1).await.unwrap();
    for client in [&mut idle, &mut stalled] {
        let closed = timeout(Duration::from_secs(150), client.ended()).await;
        closed.expect("it stays open").unwrap_err();
    }
}

#[tokio::test]
async fn a_certificate_that_is_wrong_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = || {
        let tls = Tls::from_files(files(folder.path()), Arc::new(SystemClock::new()));
        tls.unwrap_err().to_string()
    };
    assert!(refusal().starts_with("cannot read "), "{}", refusal());
    write_certificate(folder.path(), NAME);
    let key = generate_simple_self_signed([NAME.to_owned()])
        .unwrap()
        .signing_key;
    fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
    assert!(
        refusal().ends_with("the key is not the certificate's"),
        "{}",
        refusal()
    );
    fs::write(folder.path().join("key.pem"), "secret").unwrap();
    assert!(
        refusal().contains("expected a private key in PEM"),
        "{}",
        refusal()
    );
    write_certificate(folder.path(), NAME);
    let check = |hosts: &[&str]| files(folder.path()).check(hosts, SystemClock::new().now());
    check(&[NAME, "PUSH.example.com"]).unwrap();
    let problem = check(&["bell.example.com"]).unwrap_err().to_string();
    assert!(
        problem.ends_with("is for push.example.com, not for bell.example.com"),
        "{problem}"
    );
}

#[tokio::test]
async fn plain_http_is_served_as_before() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.address().unwrap().tcp().unwrap();
    let tasks = Tasks::new();
    tasks.start("server", |stop| serve(listener, router(), stop));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.ends_with("x 1\n# EOF\n") && !answer.contains("postbell_tls"),
        "{answer}"
    );
}
