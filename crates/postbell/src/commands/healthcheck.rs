//! `postbell healthcheck`

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use postbell_http::{is_loopback, request_problem};
use serde_json::Value;
use url::Url;

use crate::cli::HealthcheckArgs;

/// Time limit of the whole check. Container engines give up after 30 seconds unless told otherwise.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// At most this much of what another server may have sent is shown.
const MAX_CHARS: usize = 200;

/// Nothing answered.
#[derive(Debug, thiserror::Error)]
#[error("{shown} cannot be reached: {problem}")]
pub(super) struct NoAnswer {
    shown: String,
    problem: &'static str,
}

pub(crate) async fn run(args: &HealthcheckArgs) -> anyhow::Result<ExitCode> {
    check(&args.url, args.unix_socket.as_deref()).await?;
    Ok(ExitCode::SUCCESS)
}

/// Sends one GET request, and fails unless the answer is a success. Returns the warning in the answer. The error says what the server names as the
/// reason; it is a [`NoAnswer`] if nothing answered.
pub(super) async fn check(url: &Url, unix_socket: Option<&Path>) -> anyhow::Result<Option<String>> {
    let shown = shown(url);
    let local = unix_socket.is_some() || is_loopback(url);
    let verify = url.scheme() == "https" && !local;
    if verify {
        postbell_http::require_ca_certificates()?;
    }
    let client = postbell_http::health_check_client(verify, unix_socket)?;
    let request = client.get(url.clone()).timeout(TIME_LIMIT);
    let response = request.send().await.map_err(|error| NoAnswer {
        shown: shown.clone(),
        problem: request_problem(&error),
    })?;
    let status = response.status();
    if status.is_success() {
        let body: Value =
            serde_json::from_slice(&postbell_http::read_error(response).await).unwrap_or_default();
        return Ok(body["warning"].as_str().map(short));
    }
    let reason = reason(&postbell_http::read_error(response).await);
    bail!("{shown} answered {status}{reason}")
}

fn short(text: &str) -> String {
    text.chars().take(MAX_CHARS).collect()
}

/// The reason in an answer of Postbell's `/ready`. Empty if it names none.
fn reason(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let named = body["error"].as_str().or(body["code"].as_str());
    let mailbox = body["mailbox"].as_str();
    let mailbox = mailbox.map(|name| format!(" (mailbox {})", short(name)));
    named.map_or_else(String::new, |named| {
        format!(": {}{}", short(named), mailbox.unwrap_or_default())
    })
}

/// The URL without what may be secret: a password, a query.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn the_reason_of_an_answer_is_shown() {
        for (body, expected) in [
            (
                r#"{"error":"the inbox cannot be reached"}"#,
                ": the inbox cannot be reached",
            ),
            (
                r#"{"status":"problem","code":"certificate_expired"}"#,
                ": certificate_expired",
            ),
            (
                r#"{"status":"problem","code":"webhook_failing","mailbox":"ann/boss"}"#,
                ": webhook_failing (mailbox ann/boss)",
            ),
            ("<html>", ""),
        ] {
            assert_eq!(reason(body.as_bytes()), expected);
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
