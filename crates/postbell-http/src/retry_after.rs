//! The `Retry-After` header (RFC 9110, section 10.2.3).

use std::time::{Duration, UNIX_EPOCH};

use axum::http::HeaderMap;
use axum::http::header::RETRY_AFTER;
use httpdate::parse_http_date;
use postbell_core::Timestamp;

/// The longest wait that is returned: a server whose clock or configuration is wrong must not stop
/// a client for years.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns how long the server of a response asks its client to wait, at most a day.
///
/// Both forms count: seconds, and a date, of which the time from `now` is returned, or zero if it
/// has passed. Returns `None` if the header is missing or malformed.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a long wait, too.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let since_epoch = parse_http_date(text).ok()?.duration_since(UNIX_EPOCH);
        Timestamp::default() + since_epoch.ok()? - now
    };
    Some(wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2015-10-21 07:28:00 UTC.
    const NOW: Timestamp = Timestamp::from_millis(1_445_412_480_000);

    fn wait_of(value: &str) -> Option<u64> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        retry_after(&headers, NOW).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_each_form_of_a_date_count() {
        for (value, expected) in [
            ("0", 0),
            ("120", 120),
            (" 7 ", 7),
            ("Wed, 21 Oct 2015 07:28:09 GMT", 9),
            ("Wednesday, 21-Oct-15 07:29:00 GMT", 60),
            ("Wed Oct 21 08:28:00 2015", 3600),
        ] {
            assert_eq!(wait_of(value), Some(expected), "{value:?}");
        }
    }

    #[test]
    fn a_date_that_has_passed_is_no_wait() {
        for value in [
            "Wed, 21 Oct 2015 07:28:00 GMT",
            "Wed, 21 Oct 2015 07:27:59 GMT",
            "Thu, 01 Jan 1970 00:00:00 GMT",
        ] {
            assert_eq!(wait_of(value), Some(0), "{value:?}");
        }
    }

    #[test]
    fn an_absurd_wait_is_bounded() {
        for value in [
            "86401",
            "18446744073709551615",
            "99999999999999999999999999",
            "Fri, 31 Dec 9999 23:59:59 GMT",
        ] {
            assert_eq!(wait_of(value), Some(LONGEST.as_secs()), "{value:?}");
        }
    }

    #[test]
    fn anything_else_is_ignored() {
        for value in [
            "",
            "-1",
            "+5",
            "1.5",
            "soon",
            "5 s",
            "2015-10-21",
            "0x10",
            "Wed, 99 Oct 2015 07:28:00 GMT",
        ] {
            assert_eq!(wait_of(value), None, "{value:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), NOW), None);
    }
}
