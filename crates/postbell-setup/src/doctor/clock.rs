//! The time of day, as Google has it: tokens are good from one time to another, and a minute is the
//! most that is forgiven.

use postbell_core::Timestamp;

use super::probe::ask;
use super::{Exam, Finding};
use crate::times::in_words;

/// How far apart clocks may be without a word, and with one, in milliseconds: a date has no fractions
/// of a second, and the answer takes its time.
const UNNOTICED: i64 = 5_000;
const FORGIVEN: i64 = 60_000;

pub(super) async fn look(exam: &Exam<'_>) -> Finding {
    exam.within(compare(exam)).await
}

async fn compare(exam: &Exam<'_>) -> Finding {
    let tools = &exam.site.tools;
    let url = tools.google.token.clone();
    let host = url.host_str().unwrap_or_default().to_owned();
    let answer = match ask(tools.client.head(url.clone())).await {
        Ok(answer) => answer,
        Err(problem) => {
            let detail = format!("Google cannot be asked for the time: {host}, {problem}");
            return Finding::failed(detail, format!("See what stands between: `curl -I {url}`."));
        }
    };
    match answer.date {
        Some(date) => judge(date, tools.clock.now()),
        None => Finding::unknown(format!("{host} does not say what time it is")),
    }
}

fn judge(theirs: Timestamp, ours: Timestamp) -> Finding {
    let ahead = ours.as_millis().saturating_sub(theirs.as_millis());
    let apart = ahead.saturating_abs();
    if apart <= UNNOTICED {
        return Finding::ok("as Google's");
    }
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    let detail = format!("{} {side} Google's", in_words(apart));
    let next = "Set it: `sudo timedatectl set-ntp true`.";
    if apart <= FORGIVEN {
        Finding::warning(detail, next)
    } else {
        let detail = format!("{detail}: tokens seem to have ended, or not to have begun");
        Finding::failed(detail, next)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    #[test]
    fn a_minute_is_the_most_that_is_forgiven() {
        let at = Timestamp::from_millis;
        let theirs = at(1_790_000_000_000);
        for (ours, health) in [
            (1_790_000_000_900, Health::Ok),
            (1_790_000_030_000, Health::Warning),
            (1_789_999_970_000, Health::Warning),
            (1_790_000_061_000, Health::Failed),
            (0, Health::Failed),
            (i64::MAX, Health::Failed),
        ] {
            assert_eq!(judge(theirs, at(ours)).health, health, "{ours}");
        }
        let detail = judge(theirs, at(1_789_999_700_000)).detail;
        assert!(detail.starts_with("5 minutes behind Google's"), "{detail}");
    }
}
