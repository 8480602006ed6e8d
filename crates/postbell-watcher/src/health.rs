//! Judges a watch's state: does mail get through?

use std::time::Duration;

use postbell_core::{ProblemCode, Timestamp};
use postbell_protocol::watch_state::WatchState;

/// What a watch's state says about its mail.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Assessment {
    /// What keeps mail from getting through.
    pub problem: Option<FoundProblem>,
    /// Why the last renewal of the watch failed; empty if it did not. Mail arrives until it expires.
    pub renewal_problem: String,
    /// The number of mails that were set aside.
    pub dead_letters: usize,
}

/// A problem with the words for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FoundProblem {
    /// The cause.
    pub code: ProblemCode,
    /// When it began, as far as it is known.
    pub since: Timestamp,
    /// The observation, as a clause. Names no address.
    pub detail: String,
}

impl Assessment {
    /// Whether every mail gets through.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.problem.is_none() && self.renewal_problem.is_empty() && self.dead_letters == 0
    }
}

/// The problem of a state that was written by a program which keeps no topic, or of a mailbox whose
/// watch another program started.
pub(crate) const NO_TOPIC: &str =
    "the state names no topic: nothing renews Gmail's watch, and mail stops when it expires";

/// Judges a state without asking Gmail or Pub/Sub.
#[must_use]
pub fn assess(state: &WatchState, now: Timestamp) -> Assessment {
    Assessment {
        problem: problem(state, now),
        renewal_problem: state.renewal_problem.clone(),
        dead_letters: state.dead_letters.len(),
    }
}

/// After how long without a sign of life a running watcher counts as hung: it syncs, and saves its state, every
/// ten minutes.
const HUNG_AFTER: Duration = Duration::from_secs(30 * 60);

/// Since when a running watcher has saved nothing, if it should have: it hangs, or the machine has just woken up. `None` for
/// a state without times.
#[must_use]
pub fn hung_since(state: &WatchState, now: Timestamp) -> Option<Timestamp> {
    let saved = millis(state.updated_at_ms.max(state.last_poll_at_ms));
    (saved > millis(0) && saved + HUNG_AFTER < now).then_some(saved)
}

fn problem(state: &WatchState, now: Timestamp) -> Option<FoundProblem> {
    reported(state)
        .or_else(|| watch_problem(state, now))
        .or_else(|| failed_delivery(state))
}

/// What the watcher has written down.
fn reported(state: &WatchState) -> Option<FoundProblem> {
    let problem = state.mail_problem();
    if problem.is_none() && state.problem.is_empty() {
        return None;
    }
    let (code, since) = match problem {
        Some(problem) => (problem.code, problem.since),
        // A watcher of an earlier version gave no code.
        None => (ProblemCode::Unknown, millis(state.updated_at_ms)),
    };
    let detail = if state.problem.is_empty() {
        code.summary().to_owned()
    } else {
        state.problem.clone()
    };
    Some(FoundProblem {
        code,
        since,
        detail,
    })
}

/// What the state shows about the watch, also if no watcher runs that could have noticed.
pub(crate) fn watch_problem(state: &WatchState, now: Timestamp) -> Option<FoundProblem> {
    let expires = state.expires_at();
    let (code, since, detail) = match expires {
        _ if state.topic.is_empty() => (
            ProblemCode::WatchMissing,
            millis(state.updated_at_ms),
            NO_TOPIC,
        ),
        None => (
            ProblemCode::WatchMissing,
            millis(state.updated_at_ms),
            "Gmail's watch was never started",
        ),
        Some(expires) if expires <= now => (
            ProblemCode::WatchExpired,
            expires,
            "Gmail's watch has expired: Gmail announces no mail. `postbell watch renew` renews it, and \
             a running `watch serve` or `watch pull` keeps it renewed",
        ),
        Some(_) => return None,
    };
    Some(FoundProblem {
        code,
        since,
        detail: detail.to_owned(),
    })
}

/// A delivery that failed and was not made good since.
fn failed_delivery(state: &WatchState) -> Option<FoundProblem> {
    let is_over = state.last_poll_at_ms >= state.last_delivery_at_ms && state.last_poll_at_ms > 0;
    if state.last_delivery_status != "error" || is_over {
        return None;
    }
    let note = &state.last_delivery_status_note;
    Some(FoundProblem {
        code: ProblemCode::WebhookFailing,
        since: millis(state.last_delivery_at_ms),
        detail: if note.is_empty() {
            "the last delivery to the webhook failed".to_owned()
        } else {
            format!("the last delivery failed: {note}")
        },
    })
}

fn millis(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn healthy() -> WatchState {
        WatchState {
            topic: "projects/p/topics/t".to_owned(),
            expiration_ms: NOW.as_millis() + 1,
            last_delivery_status: "ok".to_owned(),
            ..WatchState::default()
        }
    }

    fn code(change: impl FnOnce(&mut WatchState)) -> Option<ProblemCode> {
        let mut state = healthy();
        change(&mut state);
        Some(assess(&state, NOW).problem?.code)
    }

    #[test]
    fn a_state_is_well_only_while_the_watch_lasts_and_deliveries_succeed() {
        assert!(assess(&healthy(), NOW).is_well());
        let expired = |state: &mut WatchState| state.expiration_ms = NOW.as_millis();
        assert_eq!(code(expired), Some(ProblemCode::WatchExpired));
        let never = |state: &mut WatchState| state.expiration_ms = 0;
        assert_eq!(code(never), Some(ProblemCode::WatchMissing));
        let no_topic = |state: &mut WatchState| state.topic.clear();
        assert_eq!(code(no_topic), Some(ProblemCode::WatchMissing));
        let old = |state: &mut WatchState| state.problem = "it is gone".to_owned();
        assert_eq!(code(old), Some(ProblemCode::Unknown));
    }

    #[test]
    fn a_failed_delivery_is_a_problem_until_a_later_sync_succeeds() {
        let failed = |synced_at: i64| {
            code(|state| {
                state.last_delivery_status = "error".to_owned();
                state.last_delivery_at_ms = 5;
                state.last_poll_at_ms = synced_at;
            })
        };
        for (synced_at, expected) in [
            (0, Some(ProblemCode::WebhookFailing)),
            (4, Some(ProblemCode::WebhookFailing)),
            (5, None),
            (6, None),
        ] {
            assert_eq!(failed(synced_at), expected, "{synced_at}");
        }
    }

    #[test]
    fn the_failed_renewal_of_a_watch_that_lasts_is_no_problem_yet_and_not_well() {
        let state = WatchState {
            renewal_problem: "gmail is unavailable".to_owned(),
            ..healthy()
        };
        let assessed = assess(&state, NOW);
        assert_eq!(assessed.problem, None);
        assert!(!assessed.is_well());
    }
}
