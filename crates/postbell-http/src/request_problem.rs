//! Why a request got no answer, in words for people.

use std::error::Error;
use std::io;

/// Of a request that took too long.
pub(crate) const TIMED_OUT: &str = "the request timed out";

/// Describes an error of a request as a clause. Its own text may contain the URL, and names the parts of libraries.
#[must_use]
pub fn request_problem(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        return TIMED_OUT;
    }
    problem(error, error.is_connect())
}

/// The same of another library's error, from its causes.
pub(crate) fn problem(error: &(dyn Error + 'static), is_connect: bool) -> &'static str {
    // The libraries name these errors by no type.
    let text: String = causes(error)
        .map(|cause| format!("{cause:?} {cause} "))
        .collect();
    let text = text.to_lowercase();
    let has = |word: &str| text.contains(word);
    if has("invalidcontenttype") {
        "it serves no HTTPS: use http://"
    } else if has("parse(version)") {
        "it does not answer in HTTP; if it serves HTTPS, use https://"
    } else if has("certificate") && has("expired") {
        "its certificate has expired"
    } else if has("certificate") && (has("notvalidforname") || has("not valid for name")) {
        "its certificate is for another name"
    } else if has("certificate") {
        "its certificate is not signed by an authority that this machine trusts"
    } else if has("dns error") || has("lookup") {
        "its name does not resolve"
    } else {
        let kinds =
            causes(error).filter_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()));
        match kinds.last() {
            Some(io::ErrorKind::ConnectionRefused) => "connection refused",
            Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                "there is no route to its host"
            }
            _ if is_connect => "the connection failed",
            _ => "the connection broke, or the server does not speak HTTP",
        }
    }
}

pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, Method};
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::{HttpClient, request_uri};

    #[derive(Clone, Copy)]
    enum Library {
        Reqwest,
        Hyper,
    }

    /// The text for a request that gets no answer.
    async fn said(url: &str, library: Library) -> String {
        match library {
            Library::Reqwest => {
                let client = crate::client().unwrap();
                request_problem(&client.get(url).send().await.unwrap_err()).to_owned()
            }
            Library::Hyper => {
                let uri = request_uri(&url.parse().unwrap()).unwrap();
                let client = HttpClient::from_env();
                let sent = client.send(Method::GET, uri, HeaderMap::new(), Bytes::new());
                sent.await.unwrap_err().to_string()
            }
        }
    }

    async fn check_descriptions(library: Library) {
        for (scheme, answer, expected) in [
            (
                "https",
                &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
                "it serves no HTTPS: use http://",
            ),
            (
                "http",
                b"\x15\x03\x03\x00\x02\x02\x50",
                "it does not answer in HTTP; if it serves HTTPS, use https://",
            ),
            (
                "http",
                b"",
                "the connection broke, or the server does not speak HTTP",
            ),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("{scheme}://{}/", listener.local_addr().unwrap());
            let answering = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
                stream.write_all(answer).await.unwrap();
                stream.shutdown().await.unwrap();
                stream
            };
            let (found, _stream) = tokio::join!(said(&url, library), answering);
            assert_eq!(found, expected);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        assert_eq!(said(&url, library).await, "connection refused");
        assert_eq!(
            said("http://nowhere.invalid/", library).await,
            "its name does not resolve"
        );
    }

    #[tokio::test]
    async fn a_server_that_is_away_or_speaks_something_else_is_described_without_its_libraries() {
        check_descriptions(Library::Reqwest).await;
        check_descriptions(Library::Hyper).await;
    }
}
