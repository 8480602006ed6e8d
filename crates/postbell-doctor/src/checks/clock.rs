//! The clock. Google's tokens are valid from one time to another, with a tolerance of a minute.

use postbell_core::Timestamp;

use crate::checker::Checker;
use crate::probe::send;
use crate::report::CheckResult;
use crate::times::duration;

/// Differences up to this, in milliseconds, are ignored: the `date` header has whole seconds, and the
/// answer takes some time.
const IGNORED: i64 = 5_000;

/// Differences up to this, in milliseconds, are a warning.
const TOLERATED: i64 = 60_000;

pub(crate) async fn check(checker: &Checker<'_>) -> CheckResult {
    checker.within(compare(checker)).await
}

async fn compare(checker: &Checker<'_>) -> CheckResult {
    let url = checker.deps.google.token.clone();
    let host = url.host_str().unwrap_or_default().to_owned();
    let answer = match send(checker.deps.client.head(url.clone())).await {
        Ok(answer) => answer,
        Err(problem) => {
            let detail = format!("cannot read Google's time from {host}: {problem}");
            return CheckResult::failed(detail, format!("Check the network: `curl -I {url}`."));
        }
    };
    match answer.date {
        Some(date) => judge(date, checker.now()),
        None => CheckResult::unknown(format!("the answer of {host} has no date")),
    }
}

fn judge(theirs: Timestamp, ours: Timestamp) -> CheckResult {
    let ahead = ours.as_millis().saturating_sub(theirs.as_millis());
    let difference = ahead.saturating_abs();
    if difference <= IGNORED {
        return CheckResult::ok("in sync with Google");
    }
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    let detail = format!("{} {side} Google", duration(difference));
    let hint = "Set it: `sudo timedatectl set-ntp true`.";
    if difference <= TOLERATED {
        CheckResult::warning(detail, hint)
    } else {
        let detail = format!("{detail}: tokens look expired or not yet valid");
        CheckResult::failed(detail, hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Status;

    #[test]
    fn a_difference_of_more_than_a_minute_fails() {
        let at = Timestamp::from_millis;
        let theirs = at(1_790_000_000_000);
        for (ours, status) in [
            (1_790_000_000_900, Status::Ok),
            (1_790_000_030_000, Status::Warning),
            (1_789_999_970_000, Status::Warning),
            (1_790_000_061_000, Status::Failed),
            (0, Status::Failed),
            (i64::MAX, Status::Failed),
        ] {
            assert_eq!(judge(theirs, at(ours)).status, status, "{ours}");
        }
        let detail = judge(theirs, at(1_789_999_700_000)).detail;
        assert!(detail.starts_with("5 minutes behind Google"), "{detail}");
    }
}
