//! Parses values of arguments.

use std::time::Duration;

use humantime_serde::re::humantime;
use postbell_watcher::MONITOR_PATHS;
use url::Url;

/// Parses a duration such as `3s` or `24h`, or a number of seconds.
pub(in crate::cli) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|_| "expected a time such as 3s or 24h".to_owned())
}

pub(super) fn topic(text: &str) -> Result<String, String> {
    resource(text, "topics").ok_or_else(|| "expected projects/P/topics/T".to_owned())
}

pub(in crate::cli) fn subscription(text: &str) -> Result<String, String> {
    resource(text, "subscriptions").ok_or_else(|| "expected projects/P/subscriptions/S".to_owned())
}

/// Returns the full name of a resource of this kind. Google answers a short one with an error that does
/// not say what is wrong.
fn resource(name: &str, kind: &str) -> Option<String> {
    let parts: Vec<_> = name.split('/').collect();
    match parts[..] {
        ["projects", project, found, id]
            if found == kind && !project.is_empty() && !id.is_empty() =>
        {
            Some(name.to_owned())
        }
        _ => None,
    }
}

/// Parses an address, a domain, or a domain after an @. A name alone would select no mail. An empty text selects
/// none of them.
pub(super) fn sender(text: &str) -> Result<String, String> {
    let text = text.trim();
    let domain = text.rsplit_once('@').map_or(text, |(_, domain)| domain);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte) || byte > 127;
    let is_domain = domain.contains('.')
        && domain.bytes().all(is_plain)
        && domain.split('.').all(|label| !label.is_empty());
    let is_sender =
        is_domain && !text.contains(char::is_whitespace) && text.matches('@').count() < 2;
    if is_sender || text.is_empty() {
        Ok(text.to_owned())
    } else {
        Err(
            "expected an address such as ann@example.com, or a domain such as example.com"
                .to_owned(),
        )
    }
}

pub(super) fn path(text: &str) -> Result<String, String> {
    if MONITOR_PATHS.contains(&text) {
        Err("expected another path than those for monitoring: /health, /ready, /metrics".to_owned())
    } else if text.starts_with('/') && !text.contains(['{', '}', '?', '#']) {
        Ok(text.to_owned())
    } else {
        Err("expected a path that starts with /".to_owned())
    }
}

/// Parses the URL of a webhook. Without its scheme, `localhost:1/x` would be one of the scheme `localhost`.
pub(crate) fn webhook(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| "expected a URL such as http://127.0.0.1:18789/hooks/gmail".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_an_address_or_a_domain() {
        for right in [
            "ann@example.com",
            "example.com",
            "@example.com",
            "a+b@sub.example.com",
            "bücher.example",
            "",
        ] {
            assert!(sender(right).is_ok(), "{right}");
        }
        for wrong in [
            "ann",
            "ann@",
            "ann@example",
            "ann example.com",
            "Ann <ann@example.com>",
            "a@b@example.com",
            "example..com",
        ] {
            assert!(sender(wrong).is_err(), "{wrong}");
        }
    }
}
