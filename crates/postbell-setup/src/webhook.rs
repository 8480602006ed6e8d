//! Sends a test mail to the bot's webhook.

use std::time::Duration;

use postbell_core::Timestamp;
use postbell_http::request_problem;
use postbell_protocol::routes::IDEMPOTENCY_KEY;
use postbell_protocol::webhook::{TEST_ID, test_payload};
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use secrecy::ExposeSecret;

use crate::error::{Blocker, Result, SetupError};
use crate::request::Webhook;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Posts a mail that is marked as a test, in the watcher's format (protocol, section 5).
/// Fails unless the webhook answers 2xx.
pub(crate) async fn send_test(
    client: &Client,
    webhook: &Webhook,
    mailbox: &str,
    now: Timestamp,
) -> Result<()> {
    let mut request = client
        .post(webhook.url.clone())
        .timeout(TIMEOUT)
        .header(CONTENT_TYPE, "application/json")
        .header(IDEMPOTENCY_KEY, TEST_ID);
    if let Some(token) = &webhook.token {
        request = request.bearer_auth(token.expose_secret());
    }
    let body = test_payload(mailbox, "Postbell is set up").to_string();
    let signing = webhook.signing.as_ref();
    let signature = signing.map(|keys| keys.headers(TEST_ID, now, body.as_bytes()));
    for (name, value) in signature.into_iter().flatten() {
        request = request.header(name, value);
    }
    let answer = request.body(body).send().await;
    let answer = answer.map_err(|failed| {
        error(&format!(
            "the webhook is unreachable: {}",
            request_problem(&failed)
        ))
    })?;
    match answer.status().as_u16() {
        200..=299 => Ok(()),
        401 | 403 => Err(error("the webhook rejected the token or the signature")),
        404 => Err(error("there is no webhook at this URL (404)")),
        410 => Err(error("the webhook accepts no more mail (410)")),
        status => Err(error(&format!("the webhook answered {status}"))),
    }
}

fn error(problem: &str) -> SetupError {
    SetupError::new(Blocker::Webhook(problem.to_owned()))
}
