//! Sends a test mail to the bot's webhook.

use std::time::Duration;

use reqwest::Client;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::error::{Blocker, Result, SetupError};
use crate::request::Webhook;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Constant, so that the bot can recognize a repeat.
const IDEMPOTENCY_KEY: &str = "postbell-setup-test";

/// Posts a mail that is marked as a test, in the watcher's format (protocol, section 5).
/// Fails unless the webhook answers 2xx.
pub(crate) async fn send_test(client: &Client, webhook: &Webhook, mailbox: &str) -> Result<()> {
    let mut request = client
        .post(webhook.url.clone())
        .timeout(TIMEOUT)
        .header("idempotency-key", IDEMPOTENCY_KEY)
        .json(&test_mail(mailbox));
    if let Some(token) = &webhook.token {
        request = request.bearer_auth(token.expose_secret());
    }
    let answer = request.send().await;
    let answer = answer.map_err(|_| error("the webhook is unreachable"))?;
    match answer.status().as_u16() {
        200..=299 => Ok(()),
        401 | 403 => Err(error("the webhook rejected the token")),
        404 => Err(error("there is no webhook at this URL (404)")),
        410 => Err(error("the webhook accepts no more mail (410)")),
        status => Err(error(&format!("the webhook answered {status}"))),
    }
}

fn error(problem: &str) -> SetupError {
    SetupError::new(Blocker::Webhook(problem.to_owned()))
}

fn test_mail(mailbox: &str) -> Value {
    json!({
        "source": "gmail",
        "account": mailbox,
        "historyId": "1",
        "messages": [{
            "id": IDEMPOTENCY_KEY,
            "threadId": IDEMPOTENCY_KEY,
            "from": "Postbell <setup@postbell.invalid>",
            "to": mailbox,
            "subject": "Postbell is set up",
            "date": "",
            "snippet": "This is a test of the webhook, not a mail. No action is needed.",
            "labels": ["INBOX"],
        }],
        "untrusted": true,
        "test": true,
    })
}
