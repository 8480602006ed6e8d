//! `postbell healthcheck`

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
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
        .with_context(|| format!("{shown} cannot be reached"))?
        .status();
    ensure!(status.is_success(), "{shown} answered {status}");
    Ok(())
}

/// The URL without what may be secret: a password, a query.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
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
}
