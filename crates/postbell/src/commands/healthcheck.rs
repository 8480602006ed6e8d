//! `postbell healthcheck`

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use url::Url;

use crate::cli::HealthcheckArgs;
use crate::config::is_loopback;

/// Time limit of the whole check. Container engines give up after 30 seconds unless told otherwise.
const TIME_LIMIT: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: &HealthcheckArgs) -> anyhow::Result<ExitCode> {
    check(&args.url, args.unix_socket.as_deref()).await?;
    Ok(ExitCode::SUCCESS)
}

/// Sends one GET request, and fails unless the answer is a success. Its body is not read.
pub(super) async fn check(url: &Url, unix_socket: Option<&Path>) -> anyhow::Result<()> {
    let shown = shown(url);
    let local = unix_socket.is_some() || is_loopback(url);
    let verify = url.scheme() == "https" && !local;
    if verify {
        postbell_http::require_ca_certificates()?;
    }
    let client = postbell_http::health_check_client(verify, unix_socket)?;
    let request = client.get(url.clone()).timeout(TIME_LIMIT);
    let response = request.send().await.map_err(reqwest::Error::without_url);
    let status = response
        .map_err(|error| {
            let hint = hint(url, &error);
            anyhow::Error::new(error).context(format!("{shown} cannot be reached{hint}"))
        })?
        .status();
    ensure!(status.is_success(), "{shown} answered {status}");
    Ok(())
}

/// What to do if the server seems to speak the other one of HTTP and HTTPS.
fn hint(url: &Url, error: &reqwest::Error) -> &'static str {
    // Neither library names these errors by a type.
    let error = format!("{error:?}");
    if url.scheme() == "https" && error.contains("InvalidContentType") {
        ", because it serves no HTTPS: use http://"
    } else if url.scheme() == "http" && error.contains("Parse(Version)") {
        ", because it seems to serve HTTPS: use https://"
    } else {
        ""
    }
}

/// The URL without what may be secret: a password, a query.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_other_one_of_http_and_https_is_advised() {
        for (scheme, answer, expected) in [
            (
                "https",
                &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
                "serves no HTTPS: use http://",
            ),
            (
                "http",
                b"\x15\x03\x03\x00\x02\x02\x50",
                "seems to serve HTTPS: use https://",
            ),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("{scheme}://{}/", listener.local_addr().unwrap());
            let url = url.parse().unwrap();
            let answering = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
                stream.write_all(answer).await.unwrap();
                stream
            };
            let (checked, _stream) = tokio::join!(check(&url, None), answering);
            let error = format!("{:#}", checked.unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_is_not_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/health", listener.local_addr().unwrap());
        let url = url.parse().unwrap();
        let error = run(&HealthcheckArgs {
            url,
            unix_socket: None,
        })
        .await
        .unwrap_err();
        assert!(format!("{error:#}").contains("timed out"), "{error:#}");
    }
}
