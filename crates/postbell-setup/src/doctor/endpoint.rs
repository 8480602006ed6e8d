//! Where notifications are pushed to: that Google reaches it, and that both sides call it the same.

use postbell_core::Timestamp;
use url::Url;

use super::probe::{Answer, ask};
use super::{Exam, Finding};
use crate::times::{day, in_words};

/// A certificate that ends within this time should have been renewed by now, in milliseconds.
const RENEWED_BY: i64 = 14 * 86_400_000;

const FETCHED: &str = "notifications are fetched";

/// Knocks where notifications are pushed to, as a stranger does.
pub(super) async fn look(exam: &Exam<'_>) -> Finding {
    if exam.is_pulled() {
        return Finding::elsewhere(FETCHED);
    }
    let Some(endpoint) = exam.endpoint() else {
        return unset();
    };
    let Ok(url) = Url::parse(&endpoint) else {
        return Finding::failed("its URL cannot be read", "Run `postbell config check`.");
    };
    // Google itself pushes to nothing else; a sandbox does.
    if url.scheme() != "https" && exam.site.tools.google.pubsub.scheme() == "https" {
        let detail = format!(
            "{} is not https, and Google pushes to nothing else",
            shown(&url)
        );
        return Finding::failed(
            detail,
            "Put a proxy with TLS before it (`caddy reverse-proxy --from HOST --to :8080`), and run \
             `postbell setup` with the new address.",
        );
    }
    exam.within(knock(exam, url)).await
}

async fn knock(exam: &Exam<'_>, url: Url) -> Finding {
    let address = shown(&url);
    let request = exam.site.tools.client.post(url.clone()).body("{}");
    match ask(request).await {
        Ok(answer) => judge(exam, &url, &answer),
        Err(problem) => Finding::failed(
            format!("{address} cannot be reached: {problem}"),
            format!(
                "Start {}, and see what stands before it: `curl -i {}`.",
                server(exam),
                origin(&url)
            ),
        ),
    }
}

/// Strangers are turned away; who is not, has come somewhere else.
fn judge(exam: &Exam<'_>, url: &Url, answer: &Answer) -> Finding {
    let address = shown(url);
    let (server, origin) = (server(exam), origin(url));
    let next = format!("See what stands before {server}: `curl -i -X POST {origin}`.");
    match answer.status {
        401 | 403 => of_certificate(exam, &address, answer.certificate_ends),
        200..=299 if exam.facts.acknowledges_strangers => {
            of_certificate(exam, &address, answer.certificate_ends)
        }
        200..=299 => Finding::failed(
            format!("{address} takes pushes from anybody, or is something else"),
            next,
        ),
        300..=399 => Finding::failed(
            format!("{address} sends elsewhere, and Google follows nobody"),
            next,
        ),
        404 => Finding::failed(
            format!("{address} is there, and knows no such path: something else answers"),
            next,
        ),
        status => Finding::failed(
            format!("{address} answers {status} where a stranger should get 401"),
            format!("Start {server}. {next}"),
        ),
    }
}

fn of_certificate(exam: &Exam<'_>, address: &str, ends: Option<Timestamp>) -> Finding {
    let reached = format!("{address} answers, and lets no stranger in");
    let Some(ends) = ends else {
        return Finding::ok(reached);
    };
    let left = ends
        .as_millis()
        .saturating_sub(exam.site.tools.clock.now().as_millis());
    let end = day(ends.as_millis());
    if left < RENEWED_BY {
        return Finding::warning(
            format!(
                "{reached}; its certificate ends on {end}, in {}",
                in_words(left)
            ),
            "Renew it, with certbot: `certbot renew`.",
        );
    }
    Finding::ok(format!("{reached}; its certificate ends on {end}"))
}

/// Whether the relay expects tokens for the address that setup has made the subscription with.
pub(super) fn audience(exam: &Exam<'_>) -> Finding {
    if exam.is_pulled() {
        return Finding::elsewhere(FETCHED);
    }
    match (exam.expected_endpoint(), exam.remembered_endpoint()) {
        (Some(expected), Some(remembered)) if expected != remembered => Finding::failed(
            format!(
                "the relay expects tokens for {}, and setup has pushes made for {}",
                masked(&expected),
                masked(&remembered)
            ),
            "Set relay.audience to the relay's public address, or run `postbell setup` with the \
             right --relay.",
        ),
        (Some(same), _) | (None, Some(same)) => Finding::ok(masked(&same)),
        (None, None) => unset(),
    }
}

fn unset() -> Finding {
    Finding::unless(
        "neither setup nor relay.audience says where notifications go",
        "Run `postbell setup`, or name the user: `postbell doctor USER`.",
    )
}

/// What serves where notifications are pushed to.
fn server(exam: &Exam<'_>) -> &'static str {
    if exam.is_local() {
        "`postbell watch serve`"
    } else {
        "`postbell serve` (or `postbell relay`)"
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// An address without what may be secret in it: a query, and a token in its path.
pub(super) fn shown(url: &Url) -> String {
    const SECRET: usize = 32;
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Fails where there is nobody to name.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let is_secret =
        |part: &str| part.len() >= SECRET && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let path = url.path().split('/');
    let path = path.map(|part| if is_secret(part) { "TOKEN" } else { part });
    let path = path.collect::<Vec<_>>().join("/");
    url.set_path(&path);
    url.into()
}

pub(super) fn masked(address: &str) -> String {
    match Url::parse(address) {
        Ok(url) => shown(&url),
        Err(_) if address.is_empty() => "nowhere".to_owned(),
        Err(_) => "something that is no address".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_of_an_address_is_shown() {
        let token = "0123456789abcdef0123456789abcdef";
        for address in [
            format!("https://u:p@push.example.com/push/user/ada/{token}"),
            format!("https://push.example.com/push?token={token}#{token}"),
        ] {
            let shown = masked(&address);
            assert!(!shown.contains(token) && !shown.contains("u:p"), "{shown}");
        }
        let plain = "https://push.example.com/push/user/oauth%2Fa%40x";
        assert_eq!(masked(plain), plain);
    }
}
