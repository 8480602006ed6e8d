//! The Gmail watch.
//!
//! Gmail has no API to read the state of a watch. The watcher knows it, and a machine's controller
//! reports it. Besides, each renewal makes Gmail send a notification, so the last notification shows
//! that a watch which is renewed every day is active.

use std::time::Duration;

use postbell_core::{EmailAddress, Timestamp};

use crate::checker::Checker;
use crate::facts::LocalWatch;
use crate::report::{CheckResult, HopId, Status};
use crate::times::{day, duration, minute};

const DAY: i64 = 86_400_000;

/// Lifetime of a watch.
const LIFETIME: i64 = 7 * DAY;

/// A watch with less than this left, or without a notification for this time, was not renewed.
const RENEWAL_MARGIN: i64 = 2 * DAY;

const RESTART: &str = "Restart the bot's machine: its watcher renews the watch an hour later. Or run \
                       `postbell setup`, which starts a new watch.";

pub(crate) fn check(checker: &Checker<'_>) -> CheckResult {
    if !checker.is_local() {
        return remote(checker);
    }
    let Some(address) = checker.setup.mailbox.as_ref() else {
        return CheckResult::unknown("the mailbox is not known on this machine");
    };
    match &checker.setup.watch {
        Ok(Some(watch)) => local(checker, address, watch),
        Ok(None) => CheckResult::failed(
            format!("none was started for {} on this machine", address.as_str()),
            if checker.is_standalone() {
                format!("Run `{}`.", start_command(checker, address))
            } else {
                "Run `postbell setup`: it starts one.".to_owned()
            },
        ),
        Err(result) => result.clone(),
    }
}

fn local(checker: &Checker<'_>, address: &EmailAddress, watch: &LocalWatch) -> CheckResult {
    let left = watch
        .ends_at
        .as_millis()
        .saturating_sub(checker.now().as_millis());
    if watch.topic.is_empty() {
        return CheckResult::failed(
            "the state names no topic, so that nothing renews the watch",
            format!("Run `{}`.", start_command(checker, address)),
        );
    }
    let hint = format!("Run `{}`.", renew_command(checker, address));
    if checker.topic().is_some_and(|topic| topic != watch.topic) {
        return CheckResult::failed(
            format!("it publishes to another topic, {}", watch.topic),
            "Run `postbell setup`: it starts a watch with the right topic.",
        );
    }
    if left > 0 && !watch.renewal_problem.is_empty() {
        let detail = format!(
            "its renewal failed, and it expires on {}: {}",
            day(watch.ends_at.as_millis()),
            watch.renewal_problem
        );
        return CheckResult::warning(detail, hint);
    }
    match by_end(watch.ends_at, left, &hint) {
        well if well.status == Status::Ok && !watch.is_running => CheckResult::warning(
            format!(
                "until {}, and no watcher runs that renews it",
                day(watch.ends_at.as_millis())
            ),
            "Start the watcher, see below.",
        ),
        judged => judged,
    }
}

/// Judges a watch by its end, in `left` milliseconds.
fn by_end(ends: Timestamp, left: i64, hint: &str) -> CheckResult {
    let ends = ends.as_millis();
    if left <= 0 {
        let detail = format!("it expired on {}: Gmail publishes nothing", minute(ends));
        return CheckResult::failed(detail, hint);
    }
    if left < RENEWAL_MARGIN {
        let detail = format!("it expires in {}, and was not renewed", duration(left));
        return CheckResult::warning(detail, hint);
    }
    CheckResult::ok(format!("until {}, renewed by the watcher", day(ends)))
}

fn renew_command(checker: &Checker<'_>, address: &EmailAddress) -> String {
    command(checker, address, "renew")
}

fn start_command(checker: &Checker<'_>, address: &EmailAddress) -> String {
    let topic = checker.topic();
    let topic = topic.as_deref().unwrap_or("projects/P/topics/T");
    format!("{} --topic {topic}", command(checker, address, "start"))
}

fn command(checker: &Checker<'_>, address: &EmailAddress, verb: &str) -> String {
    let destination = checker.setup.destination.as_ref();
    let file = destination.and_then(|destination| destination.credentials());
    let file = file.map(|file| format!(" --credentials {}", file.display()));
    format!(
        "postbell watch {verb} --account {}{}",
        address.as_str(),
        file.unwrap_or_default()
    )
}

/// Judges the watch that a machine's watcher renews, by what its controller has reported, or by the
/// last notification.
fn remote(checker: &Checker<'_>) -> CheckResult {
    if let Some(Ok(account)) = &checker.facts.account
        && !(account.google_connected && account.notifications_enabled)
    {
        // The relay stores no notifications of such a user.
        return CheckResult::requires(HopId::User);
    }
    let account = checker.facts.account.as_ref();
    let reported = account.and_then(|account| account.as_ref().ok()?.watch_ends_at);
    let now = checker.now();
    let started = checker.setup.watch_ends_at;
    let started = started.map(|ends| ends.as_millis().saturating_sub(LIFETIME));
    let started = started.map(Timestamp::from_millis);
    match &checker.facts.deliveries {
        Ok(deliveries) => {
            let last = deliveries.iter().map(|one| one.accepted_at).max();
            match reported.filter(|ends| last.is_none_or(|last| last < *ends)) {
                Some(ends) => {
                    let left = ends.as_millis().saturating_sub(now.as_millis());
                    by_end(ends, left, RESTART)
                }
                None => by_last_notification(now, last.max(started)),
            }
        }
        // Renewals since then cannot be seen from here.
        Err(result) => match started {
            Some(started) if now < started + Duration::from_millis(LIFETIME.unsigned_abs()) => {
                let ends = day(started.as_millis().saturating_add(LIFETIME));
                CheckResult::ok(format!("until {ends} at least, as started by setup"))
            }
            _ => result.clone(),
        },
    }
}

fn by_last_notification(now: Timestamp, last: Option<Timestamp>) -> CheckResult {
    let Some(last) = last.map(Timestamp::as_millis) else {
        return CheckResult::unknown("Gmail has not sent a notification yet");
    };
    let silence = now.as_millis().saturating_sub(last);
    let silent = duration(silence);
    if silence >= LIFETIME {
        let detail =
            format!("no notification for {silent}, and a watch lasts 7 days: it has expired");
        return CheckResult::failed(detail, RESTART);
    }
    if silence >= RENEWAL_MARGIN {
        let detail = format!(
            "no notification for {silent}, and each renewal causes one: it was not renewed"
        );
        return CheckResult::warning(detail, RESTART);
    }
    let ends = day(last.saturating_add(LIFETIME));
    CheckResult::ok(format!("until {ends} at least, renewed by the watcher"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_was_not_renewed_is_a_warning_before_its_end() {
        let ends = Timestamp::from_millis(1_790_000_000_000);
        for (left, status) in [
            (6 * DAY, Status::Ok),
            (DAY, Status::Warning),
            (0, Status::Failed),
            (-DAY, Status::Failed),
        ] {
            assert_eq!(by_end(ends, left, RESTART).status, status, "{left}");
        }
    }

    #[test]
    fn a_watch_without_notification_for_a_week_has_expired() {
        let now = Timestamp::from_millis(1_790_000_000_000);
        let ago = |days: i64| Some(Timestamp::from_millis(now.as_millis() - days * DAY));
        for (last, status, words) in [
            (None, Status::Unknown, "yet"),
            (ago(0), Status::Ok, "until 2026-09-28 at least"),
            (ago(1), Status::Ok, "until 2026-09-27 at least"),
            (ago(3), Status::Warning, "no notification for 3 days"),
            (ago(7), Status::Failed, "it has expired"),
            (ago(20_000), Status::Failed, "20000 days"),
        ] {
            let found = by_last_notification(now, last);
            assert_eq!(found.status, status, "{}", found.detail);
            assert!(found.detail.contains(words), "{}", found.detail);
        }
    }
}
