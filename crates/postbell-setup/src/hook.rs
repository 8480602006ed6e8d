//! A mail that is none, for the bot's hook: whether it takes one.

use std::time::Duration;

use reqwest::Client;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::trouble::{Trouble, Wall};
use crate::wishes::HookWish;

/// How long the bot may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The same each time, so that the bot can tell a repeat.
const KEY: &str = "postbell-setup-test";

/// Posts a mail that says of itself that it is a test, in the form of the watcher's (contract,
/// section 5).
///
/// # Errors
///
/// [`Trouble`] where the hook does not answer 2xx.
pub(crate) async fn send(client: &Client, hook: &HookWish, mailbox: &str) -> Result<(), Trouble> {
    let mut request = client
        .post(hook.url.clone())
        .timeout(TIMEOUT)
        .header("idempotency-key", KEY)
        .json(&mail(mailbox));
    if let Some(token) = &hook.token {
        request = request.bearer_auth(token.expose_secret());
    }
    let answer = request.send().await;
    let answer = answer.map_err(|_| trouble("the hook cannot be reached"))?;
    match answer.status().as_u16() {
        200..=299 => Ok(()),
        401 | 403 => Err(trouble("the hook does not take the token")),
        404 => Err(trouble("there is no hook at this address")),
        410 => Err(trouble("the bot takes no more mail there (410)")),
        status => Err(trouble(&format!("the hook answered {status}"))),
    }
}

fn trouble(problem: &str) -> Trouble {
    Trouble::new(Wall::Hook(problem.to_owned()))
}

fn mail(mailbox: &str) -> Value {
    json!({
        "source": "gmail",
        "account": mailbox,
        "historyId": "1",
        "messages": [{
            "id": KEY,
            "threadId": KEY,
            "from": "Postbell <setup@postbell.invalid>",
            "to": mailbox,
            "subject": "Postbell is set up",
            "date": "",
            "snippet": "This is a test of the hook, and no mail: nothing has to be done about it.",
            "labels": ["INBOX"],
        }],
        "untrusted": true,
        "test": true,
    })
}
