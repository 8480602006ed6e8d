//! Each test plays the server, or the proxy in front of it, byte by byte.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::*;
use crate::client::trusting;

const NAME: &str = "machine.example.com";

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn client(proxies: Matcher) -> HttpClient {
    HttpClient::new(trusting(RootCertStore::empty()), proxies)
}

fn direct() -> HttpClient {
    client(Matcher::builder().build())
}

async fn post(client: &HttpClient, url: &str) -> Result<u16, RequestError> {
    let uri = request_uri(&url.parse().unwrap()).unwrap();
    let body = Bytes::from_static(b"{}");
    let response = client.send(Method::POST, uri, HeaderMap::new(), body);
    Ok(response.await?.status().as_u16())
}

/// Reads a head, and the body of a post.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    while !is_whole(&text) {
        text.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(text).unwrap()
}

fn is_whole(text: &[u8]) -> bool {
    let is_connect = text.starts_with(b"CONNECT ");
    text.ends_with(b"\r\n\r\n{}") || (is_connect && text.ends_with(b"\r\n\r\n"))
}

async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: &str) -> String {
    let request = read(stream).await;
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    request
}

async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.unwrap().0
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_its_connection_is_used_again() {
    let (listener, address) = listen().await;
    let (client, url) = (direct(), format!("http://ann:hunter2@{address}/push?a=b#c"));
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{address}/\r\ncontent-length: 0\r\n\r\n"
    );
    let server = async {
        let mut stream = accept(&listener).await;
        let first = answer(&mut stream, &redirect).await;
        (first, answer(&mut stream, NO_CONTENT).await)
    };
    let posts = async { [post(&client, &url).await, post(&client, &url).await] };
    let ((first, second), statuses) = tokio::join!(server, posts);
    assert_eq!(statuses, [Ok(307), Ok(204)]);
    assert_eq!(first, second);
    let expected = format!(
        "POST /push?a=b HTTP/1.1\r\nuser-agent: {}\r\naccept: */*\r\nhost: {address}\r\ncontent-length: 2\r\n\r\n{{}}",
        crate::client::AGENT
    );
    assert_eq!(first, expected);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced() {
    let (listener, address) = listen().await;
    let (client, url) = (direct(), format!("http://{address}/"));
    let server = async {
        for _ in 0..3 {
            answer(&mut accept(&listener).await, NO_CONTENT).await;
        }
    };
    let posts = async {
        for _ in 0..3 {
            assert_eq!(post(&client, &url).await, Ok(204));
        }
    };
    tokio::join!(server, posts);
}

#[tokio::test]
async fn a_server_that_is_not_there_and_one_that_hangs_up_are_told_apart() {
    let (listener, address) = listen().await;
    let url = format!("http://{address}/");
    let hang_up = async { drop(read(&mut accept(&listener).await).await) };
    let client = direct();
    let (posted, ()) = tokio::join!(post(&client, &url), hang_up);
    assert!(matches!(posted, Err(RequestError::Broken(_))), "{posted:?}");
    drop(listener);
    let refused = RequestError::Unreachable("connection refused");
    assert_eq!(post(&direct(), &url).await, Err(refused));
}

/// Time is paused: it moves on when nothing else happens.
#[tokio::test(start_paused = true)]
async fn a_server_that_never_speaks_tls_is_not_waited_for() {
    let (_listener, address) = listen().await;
    let posted = post(&direct(), &format!("https://{address}/")).await;
    assert_eq!(posted, Err(RequestError::Timeout));
}

#[tokio::test]
async fn http_goes_to_the_proxy_with_the_whole_url() {
    let (listener, address) = listen().await;
    let proxies = Matcher::builder().http(format!("http://ann:hunter2@{address}"));
    let client = client(proxies.no("127.0.0.1").build());
    let server = async { answer(&mut accept(&listener).await, NO_CONTENT).await };
    let url = format!("http://{NAME}/push");
    let (request, posted) = tokio::join!(server, post(&client, &url));
    assert_eq!(posted, Ok(204));
    assert!(request.starts_with(&format!("POST {url} HTTP/1.1\r\n")));
    assert!(request.contains("proxy-authorization: Basic YW5uOmh1bnRlcjI=\r\n"));

    let server = async { answer(&mut accept(&listener).await, NO_CONTENT).await };
    let url = format!("http://{address}/push");
    let (request, posted) = tokio::join!(server, post(&client, &url));
    assert_eq!(posted, Ok(204));
    assert!(request.starts_with("POST /push HTTP/1.1\r\n"));
    assert!(!request.contains("proxy-authorization"));
}

#[tokio::test]
async fn https_goes_through_the_proxy_which_cannot_read_it() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let tls = ServerConfig::builder().with_no_client_auth();
    let tls = tls.with_single_cert(vec![cert.der().clone()], key.into());
    let tls = TlsAcceptor::from(Arc::new(tls.unwrap()));
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();

    let (listener, address) = listen().await;
    let proxies = Matcher::builder().all(format!("http://ann:hunter2@{address}"));
    let client = HttpClient::new(trusting(roots), proxies.build());
    let server = async {
        let mut stream = accept(&listener).await;
        let connect = answer(&mut stream, "HTTP/1.1 200 OK\r\n\r\n").await;
        let mut stream = tls.accept(stream).await.unwrap();
        (connect, answer(&mut stream, NO_CONTENT).await)
    };
    let url = format!("https://{NAME}/push");
    let ((connect, request), posted) = tokio::join!(server, post(&client, &url));
    assert_eq!(posted, Ok(204));
    assert!(connect.starts_with(&format!("CONNECT {NAME}:443 HTTP/1.1\r\n")));
    let connect = connect.to_ascii_lowercase();
    assert!(connect.contains("proxy-authorization: basic yw5uomh1bnrlcji=\r\n"));
    assert!(connect.contains(&format!("user-agent: {}\r\n", crate::client::AGENT)));
    assert!(request.starts_with("POST /push HTTP/1.1\r\n"));
    assert!(!request.contains("proxy-authorization"));
}
