//! The push endpoint: it must be reachable, and relay and subscription must agree on its address.

use postbell_core::Timestamp;
use postbell_http::{redacted, redacted_text};
use url::Url;

use super::user;
use crate::Destination;
use crate::checker::{Checker, PUSHED};
use crate::probe::{Answer, send};
use crate::report::CheckResult;
use crate::times::{day, duration};

/// A certificate that ends within this time, in milliseconds, should have been renewed.
const RENEWAL_MARGIN: i64 = 14 * 86_400_000;

const PULLED: &str = "notifications are pulled";

/// Sends the endpoint a push without a token.
pub(crate) async fn check(checker: &Checker<'_>) -> CheckResult {
    if checker.is_pulled() {
        return CheckResult::not_on_path(PULLED);
    }
    let Some(endpoint) = checker.endpoint() else {
        return not_configured(checker);
    };
    let Ok(url) = Url::parse(&endpoint) else {
        return CheckResult::failed("its URL is not valid", "Run `postbell config check`.");
    };
    // Google pushes only to https. The sandbox also pushes to http.
    if url.scheme() != "https" && checker.deps.google.pubsub.scheme() == "https" {
        let detail = format!(
            "{} is not https, and Google pushes only to https",
            redacted(&url)
        );
        return CheckResult::failed(
            detail,
            "Put a TLS proxy in front of it (`caddy reverse-proxy --from HOST --to :8080`), and run \
             `postbell setup` with the new address.",
        );
    }
    checker.within(push(checker, url)).await
}

async fn push(checker: &Checker<'_>, url: Url) -> CheckResult {
    let address = redacted(&url);
    let request = checker.deps.client.post(url.clone()).body("{}");
    match send(request).await {
        Ok(answer) => judge(checker, &url, &answer),
        Err(problem) => CheckResult::failed(
            format!("{address} is unreachable: {problem}"),
            format!(
                "Start {}, and check what is in front of it: `curl -i {}`.",
                server(checker),
                origin(&url)
            ),
        ),
    }
}

/// Pushes without a token must be rejected. An endpoint that accepts them is another server.
fn judge(checker: &Checker<'_>, url: &Url, answer: &Answer) -> CheckResult {
    let address = redacted(url);
    let (server, origin) = (server(checker), origin(url));
    let is_users = matches!(
        &checker.setup.destination,
        Some(Destination::Platform { .. })
    ) && checker.facts.audience.is_none();
    let hint = if is_users {
        "Ask the operator for the URL of the relay, and run `postbell setup` with it in --relay."
            .to_owned()
    } else {
        format!("Check what is in front of {server}: `curl -i -X POST {origin}`.")
    };
    match answer.status {
        401 | 403 => reachable(checker, &address, answer.certificate_ends),
        200..=299 if checker.facts.acknowledges_rejected => {
            reachable(checker, &address, answer.certificate_ends)
        }
        200..=299 => CheckResult::failed(
            format!("{address} accepts pushes without a token, or is another server"),
            hint,
        ),
        300..=399 => CheckResult::failed(
            format!("{address} redirects, and Google does not follow redirects"),
            hint,
        ),
        404 => CheckResult::failed(
            format!("{address} has no such path: another server answers"),
            hint,
        ),
        status => CheckResult::failed(
            format!("{address} answers {status} to a push without a token, not 401"),
            format!("Start {server}. {hint}"),
        ),
    }
}

fn reachable(
    checker: &Checker<'_>,
    address: &str,
    certificate_ends: Option<Timestamp>,
) -> CheckResult {
    let reached = format!("{address} is reachable and rejects unsigned pushes");
    let Some(ends) = certificate_ends else {
        return CheckResult::ok(reached);
    };
    let left = ends.as_millis().saturating_sub(checker.now().as_millis());
    let end = day(ends.as_millis());
    if left < RENEWAL_MARGIN {
        return CheckResult::warning(
            format!(
                "{reached}; its certificate expires on {end}, in {}",
                duration(left)
            ),
            "Renew it, with certbot: `certbot renew`.",
        );
    }
    CheckResult::ok(format!("{reached}; its certificate expires on {end}"))
}

/// Checks that the relay expects the audience that setup gave the subscription.
pub(crate) fn audience(checker: &Checker<'_>) -> CheckResult {
    if checker.is_pulled() {
        return CheckResult::not_on_path(PULLED);
    }
    let of_setup = checker.setup_endpoint();
    let of_setup = of_setup.filter(|_| checker.facts.is_setup_relevant());
    match (checker.expected_endpoint(), of_setup) {
        (Some(expected), Some(configured)) if expected != configured => CheckResult::failed(
            format!(
                "the relay expects tokens for {}, but setup configured pushes for {}",
                redacted_text(&expected),
                redacted_text(&configured)
            ),
            "Set relay.audience to the relay's public address, or run `postbell setup` with the \
             right --relay.",
        ),
        (Some(same), Some(_)) => CheckResult::ok(redacted_text(&same)),
        // Only the subscription knows what Google puts into the tokens.
        (Some(one), None) | (None, Some(one)) => CheckResult::unknown(format!(
            "{}, which was not compared with the subscription",
            redacted_text(&one)
        )),
        (None, None) => not_configured(checker),
    }
}

fn not_configured(checker: &Checker<'_>) -> CheckResult {
    if checker.is_push_unknown() {
        return CheckResult::unknown(PUSHED);
    }
    if checker.facts.audience.is_some() {
        return user::not_named();
    }
    CheckResult::unknown_with_hint(
        "neither setup nor relay.audience gives the push endpoint",
        "Run `postbell setup`, or name the user: `postbell doctor USER`.",
    )
}

/// The command that serves the endpoint.
fn server(checker: &Checker<'_>) -> &'static str {
    if checker.is_local() {
        "`postbell watch serve`"
    } else {
        "`postbell serve` (or `postbell relay`)"
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}
