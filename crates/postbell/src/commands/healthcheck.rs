//! `postbell healthcheck`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use url::{Host, Url};

use crate::cli::HealthcheckArgs;

/// Time limit of the whole check. Container engines give up after 30 seconds unless told otherwise.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Sends one GET request. Its body is not read.
pub(crate) async fn run(args: &HealthcheckArgs) -> anyhow::Result<ExitCode> {
    let shown = shown(&args.url);
    let local = args.unix_socket.is_some() || is_loopback(&args.url);
    let verify = args.url.scheme() == "https" && !local;
    if verify {
        postbell_http::require_ca_certificates()?;
    }
    let client = postbell_http::health_check_client(verify, args.unix_socket.as_deref())?;
    let request = client.get(args.url.clone()).timeout(TIME_LIMIT);
    let response = request.send().await.map_err(reqwest::Error::without_url);
    let status = response
        .with_context(|| format!("{shown} cannot be reached"))?
        .status();
    ensure!(status.is_success(), "{shown} answered {status}");
    Ok(ExitCode::SUCCESS)
}

/// The URL without what may be secret: a password, a query.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

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

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        for (url, expected) in [
            ("https://127.0.0.1:8443/health", true),
            ("https://[::1]/health", true),
            ("https://localhost/health", true),
            ("https://localhost.example.com/health", false),
            ("https://10.0.0.1/health", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
