//! Parses Google's errors: the form of all its APIs
//! (<https://cloud.google.com/apis/design/errors>), and the older one of Gmail's in it
//! (<https://developers.google.com/workspace/gmail/api/guides/handle-errors>).

use std::time::Duration;

use postbell_core::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// The longest wait that is read from a text.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    error: Problem,
}

/// An error, in an answer or in an operation.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) status: String,
    /// The HTTP status, or in an operation a number for the word.
    pub(crate) code: i64,
    pub(crate) details: Vec<Value>,
    errors: Vec<Value>,
}

impl Problem {
    /// Parses the body of an unsuccessful response; empty if it is something else.
    pub(crate) fn of(body: &[u8]) -> Self {
        let Answer { error } = serde_json::from_slice(body).unwrap_or_default();
        error
    }

    /// Google's reasons: those of the details, and the older ones.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = &str> {
        let all = self.details.iter().chain(&self.errors);
        all.filter_map(|one| one["reason"].as_str())
    }

    /// The older reason, or the status name if there is none.
    pub(crate) fn reason(&self) -> &str {
        let first = self.errors.first();
        let reason = first.and_then(|first| first["reason"].as_str());
        reason.unwrap_or(&self.status)
    }

    /// Whether it is a rate limit or a quota, by its reasons or by its text: some have only
    /// "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user'".
    pub(crate) fn is_limit(&self) -> bool {
        const TEXTS: [&str; 3] = [
            "quota exceeded",
            "rate limit exceeded",
            "queries per minute",
        ];
        let message = self.message.to_ascii_lowercase();
        self.status == "RESOURCE_EXHAUSTED"
            || self.reasons().any(is_limit)
            || TEXTS.iter().any(|text| message.contains(text))
    }

    /// Whether the quota of the whole day is used up.
    pub(crate) fn is_daily_limit(&self) -> bool {
        self.reasons().any(|reason| reason == "dailyLimitExceeded")
    }

    /// The wait until the time that Gmail names in the text of a limit, such as "User-rate limit
    /// exceeded. Retry after 2026-11-29T10:00:00.000Z"; at most a day.
    pub(crate) fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        const WORDS: &str = "retry after ";
        let message = self.message.to_ascii_lowercase();
        let (_, rest) = message.split_once(WORDS)?;
        let time = rest.split_whitespace().next()?;
        let time = time.trim_end_matches(['.', ',', ';', ')']);
        let time: jiff::Timestamp = time.to_ascii_uppercase().parse().ok()?;
        let wait = Timestamp::from_millis(time.as_millisecond()) - now;
        Some(wait.min(LONGEST_WAIT))
    }
}

/// Whether a reason is a rate limit or a quota, which is transient, with 403 as well.
pub(crate) fn is_limit(reason: &str) -> bool {
    matches!(
        reason,
        "rateLimitExceeded" | "userRateLimitExceeded" | "quotaExceeded" | "RATE_LIMIT_EXCEEDED"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// 2026-11-29 10:00:00 UTC.
    const NOW: Timestamp = Timestamp::from_millis(1_795_946_400_000);

    fn problem(message: &str) -> Problem {
        Problem::of(
            json!({ "error": { "message": message } })
                .to_string()
                .as_bytes(),
        )
    }

    #[test]
    fn the_time_in_gmails_text_is_a_wait() {
        for (message, expected) in [
            (
                "User-rate limit exceeded.  Retry after 2026-11-29T10:00:15.500Z",
                Some(15_500),
            ),
            (
                "Retry after 2026-11-29T10:00:15Z (Mail sending)",
                Some(15_000),
            ),
            ("retry AFTER 2026-11-29T12:00:15+02:00.", Some(15_000)),
            ("Retry after 2015-11-29T10:00:15.000Z", Some(0)),
            (
                "Retry after 9999-01-01T00:00:00Z",
                Some(24 * 60 * 60 * 1000),
            ),
            ("Retry after", None),
            ("Retry after some time", None),
            ("Retry after \u{661}", None),
            ("User-rate limit exceeded.", None),
            (
                "\u{130}\u{130}\u{130} Retry after 2026-11-29T10:00:01Z",
                Some(1000),
            ),
        ] {
            let wait = problem(message).retry_after(NOW);
            assert_eq!(wait, expected.map(Duration::from_millis), "{message}");
        }
    }
}
