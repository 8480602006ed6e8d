//! The sandbox's clock, which can be set wrong on command.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::Sandbox;

/// The sandbox's clock.
#[derive(Debug, Default)]
pub struct Clock {
    skew_seconds: AtomicI64,
}

impl Clock {
    /// Sets the offset to the machine's clock, in seconds; negative is behind.
    pub fn set_skew(&self, seconds: i64) {
        self.skew_seconds.store(seconds, Ordering::Relaxed);
    }

    /// Milliseconds since the Unix epoch.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the sandbox reads the time"
    )]
    pub(crate) fn now_millis(&self) -> i64 {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let millis = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        millis.saturating_add(
            self.skew_seconds
                .load(Ordering::Relaxed)
                .saturating_mul(1000),
        )
    }

    /// Seconds since the Unix epoch.
    pub(crate) fn now_seconds(&self) -> i64 {
        self.now_millis().div_euclid(1000)
    }

    /// The time as Google writes it in JSON (RFC 3339, in UTC).
    pub(crate) fn now_rfc3339(&self) -> String {
        rfc3339(self.now_millis())
    }
}

/// Adds a `Date` header to every answer, as Google's servers do (RFC 9110, section 6.6.1).
pub(crate) async fn add_date_header(
    State(sandbox): State<Sandbox>,
    request: Request,
    next: Next,
) -> Response {
    let mut answer = next.run(request).await;
    let date = http_date(sandbox.clock().now_millis());
    if let Ok(date) = HeaderValue::try_from(date) {
        answer.headers_mut().insert(header::DATE, date);
    }
    answer
}

/// A time as a date of HTTP (RFC 9110, section 5.6.7), which has no fractions of a second.
pub(crate) fn http_date(millis: i64) -> String {
    // Later than this has no date of four digits.
    const LATEST: u64 = 253_402_300_799;
    let seconds = u64::try_from(millis.div_euclid(1000)).unwrap_or(0);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds.min(LATEST)))
}

/// Civil date from days since the epoch; the calendar repeats every 400 years.
pub(crate) fn rfc3339(millis: i64) -> String {
    let days = millis.div_euclid(86_400_000);
    let in_day = millis.rem_euclid(86_400_000);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, millis) = (in_day / 1000, in_day % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_google_does() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(1_614_366_835_749), "2021-02-26T19:13:55.749Z");
    }
}
