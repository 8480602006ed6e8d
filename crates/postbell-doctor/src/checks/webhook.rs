//! The bot's webhook: sent a test message if it is reachable from here. On a machine, only the
//! machine reaches it, and the gateway in front of it is asked.

use postbell_http::redacted;
use postbell_protocol::routes::{GATEWAY_READY, IDEMPOTENCY_KEY};
use postbell_protocol::webhook::{TEST_ID, test_payload};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use secrecy::ExposeSecret;

use super::machine_client::Machine;
use crate::checker::Checker;
use crate::facts::Webhook;
use crate::probe::send;
use crate::report::CheckResult;

/// Sends the webhook a test message. Returns `None` if no webhook is known.
pub(crate) async fn check(checker: &Checker<'_>) -> Option<CheckResult> {
    if let Some(tested) = &checker.facts.watcher_test {
        return Some(of_watcher(tested));
    }
    let webhook = webhook(checker)?;
    Some(checker.within(test(checker, &webhook)).await)
}

/// Only the running watcher knows its webhook's URL and secrets.
fn of_watcher(tested: &Result<(), String>) -> CheckResult {
    match tested {
        Ok(()) => CheckResult::ok("accepts messages of the running watcher"),
        Err(problem) => CheckResult::failed(
            format!("the running watcher's test failed: {problem}"),
            "Check that the bot is running, and the watcher's webhook URL, token and signing secret.",
        ),
    }
}

pub(super) fn not_known() -> CheckResult {
    CheckResult::unknown_with_hint(
        "the bot's webhook is not known on this machine",
        "Name it: `postbell doctor --hook-url URL`.",
    )
}

/// The webhook given by the caller, else the one that setup has tested, else the watcher's.
fn webhook(checker: &Checker<'_>) -> Option<Webhook> {
    let facts = checker.facts;
    let watch = checker.setup.watch.as_ref().ok().and_then(Option::as_ref);
    let saved = watch.and_then(|watch| watch.hook.clone());
    let named = match &facts.hook_url {
        Some(url) => Some((url.clone(), facts.hook_token.clone())),
        None => checker.setup.hook.clone().map(|url| (url, None)),
    };
    let webhook = match (named, saved) {
        (Some((url, None)), Some(saved)) if url == saved.url => saved,
        (Some((url, token)), _) => Webhook { url, token },
        (None, saved) => saved?,
    };
    Some(Webhook {
        token: webhook.token.or_else(|| facts.hook_token.clone()),
        ..webhook
    })
}

async fn test(checker: &Checker<'_>, webhook: &Webhook) -> CheckResult {
    let url = redacted(&webhook.url);
    let mut request = checker
        .deps
        .client
        .post(webhook.url.clone())
        .header(CONTENT_TYPE, "application/json")
        .header(IDEMPOTENCY_KEY, TEST_ID);
    if let Some(token) = &webhook.token {
        request = request.bearer_auth(token.expose_secret());
    }
    let body = test_payload(checker.mailbox(), "Postbell test").to_string();
    let signing = checker.facts.hook_signing.as_ref();
    let signature = signing.map(|keys| keys.headers(TEST_ID, checker.now(), body.as_bytes()));
    for (name, value) in signature.into_iter().flatten() {
        request = request.header(name, value);
    }
    let request = request.body(body);
    let problem = match send(request).await.map(|answer| answer.status) {
        Ok(200..=299) => return CheckResult::ok(format!("{url} accepts messages")),
        Ok(401 | 403) if webhook.token.is_none() && signing.is_none() => {
            return CheckResult::unknown_with_hint(
                format!("{url} requires a token or a signature, whose secret is not known here"),
                "Set POSTBELL_WATCH_HOOK_TOKEN or POSTBELL_WATCH_HOOK_SECRET to what the bot's \
                 webhook expects, and run `postbell doctor` again.",
            );
        }
        Ok(401 | 403) if signing.is_none() => "the webhook rejects the token, or requires a \
                                               signature (POSTBELL_WATCH_HOOK_SECRET)"
            .to_owned(),
        Ok(401 | 403) => "the webhook rejects the token or the signature".to_owned(),
        Ok(404) => "there is no webhook at this address".to_owned(),
        Ok(410) => "the webhook is gone (410)".to_owned(),
        Ok(status) => format!("the webhook answered {status}"),
        Err(problem) => format!("the webhook is unreachable: {problem}"),
    };
    CheckResult::failed(
        format!("{problem} ({url})"),
        format!("Check that the bot is running, and its webhook's URL: `curl -i -X POST {url}`."),
    )
}

/// Asks the controller whether the bot's gateway is ready.
pub(super) async fn gateway(machine: &Machine<'_>) -> CheckResult {
    let answer = match send(machine.request(Method::GET, GATEWAY_READY)).await {
        Ok(answer) => answer,
        Err(problem) => return machine.unexpected(problem),
    };
    let hint = format!(
        "See the bot's log on the machine. To restart it: `curl -X POST -H \"authorization: Bearer \
         $TOKEN\" {}/_kilo/gateway/restart`.",
        machine.address().trim_end_matches('/')
    );
    match answer.status {
        200 => CheckResult::ok("the bot's gateway is ready"),
        401 | 403 => machine.token_rejected(),
        502 => CheckResult::failed("the bot's gateway does not answer", hint),
        503 => CheckResult::failed("the bot's gateway is not ready", hint),
        404 => {
            CheckResult::unknown("this controller does not report the state of the bot's gateway")
        }
        status => machine.unexpected(&format!(
            "it answers {status} to a request for the gateway's state"
        )),
    }
}
