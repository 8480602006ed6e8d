//! What stops the mail, as the watcher's parts report it.

use std::collections::BTreeMap;

use postbell_core::{ProblemCode, Timestamp};
use postbell_protocol::watch_state::WatchState;

/// A part of the watcher that reports problems. Of several problems, that of the first part in this
/// order is shown.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ProblemSource {
    /// The check whether the credentials are those of the mailbox.
    Account,
    /// The renewal of the watch.
    Renewal,
    /// The sync.
    Sync,
    /// The pull of notifications.
    Pull,
    /// The state file.
    State,
    /// A test of the webhook that a person asked for.
    Test,
}

/// What stops the mail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The kind.
    pub code: ProblemCode,
    /// The problem in a sentence. Holds nothing secret.
    pub detail: String,
}

/// The problems of this process, one of each part at most.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    by_source: BTreeMap<ProblemSource, Problem>,
}

impl Problem {
    /// Returns a problem with its sentence.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}

impl Problems {
    /// Takes over the problem that an earlier process has stored, until the part that it belongs to
    /// reports again: a restart alone ends no problem.
    pub(crate) fn stored_in(state: &WatchState) -> Self {
        let mut problems = Self::default();
        if let Some(problem) = state.mail_problem() {
            let source = source_of(problem.code);
            let problem = Problem::new(problem.code, &state.problem);
            problems.set(source, Some(problem));
        }
        problems
    }

    /// Forgets a problem that a person has solved.
    pub(crate) fn forget(&mut self, code: ProblemCode) {
        self.by_source.retain(|_, problem| problem.code != code);
    }

    /// Replaces the problem of a part.
    pub(crate) fn set(&mut self, source: ProblemSource, problem: Option<Problem>) {
        match problem {
            Some(problem) => self.by_source.insert(source, problem),
            None => self.by_source.remove(&source),
        };
    }

    /// Forgets that the grant was revoked: Gmail was read since.
    pub(crate) fn grant_is_valid(&mut self) {
        self.forget(ProblemCode::GrantRevoked);
    }

    /// Writes the first problem into the state. It keeps its time while its code stays. Returns
    /// whether the state has changed.
    pub(crate) fn publish(&self, state: &mut WatchState, now: Timestamp) -> bool {
        let first = self.by_source.values().next();
        let code = first.map_or("", |problem| problem.code.as_str());
        let detail = first.map_or("", |problem| problem.detail.as_str());
        if state.problem_code == code && state.problem == detail {
            return false;
        }
        if state.problem_code != code {
            state.problem_since_ms = first.map_or(0, |_| now.as_millis());
        }
        code.clone_into(&mut state.problem_code);
        detail.clone_into(&mut state.problem);
        true
    }
}

/// The part whose success ends a problem.
fn source_of(code: ProblemCode) -> ProblemSource {
    match code {
        ProblemCode::WatchExpired | ProblemCode::WatchMissing => ProblemSource::Renewal,
        ProblemCode::SubscriptionMissing | ProblemCode::PullFailing => ProblemSource::Pull,
        ProblemCode::StateUnwritable => ProblemSource::State,
        // A sync succeeds only with the right credentials.
        _ => ProblemSource::Sync,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_problem_keeps_its_time_while_its_code_stays() {
        let (mut problems, mut state) = (Problems::default(), WatchState::default());
        let failing = |detail: &str| Some(Problem::new(ProblemCode::WebhookFailing, detail));
        problems.set(ProblemSource::Sync, failing("500"));
        assert!(problems.publish(&mut state, at(1)));
        problems.set(ProblemSource::Sync, failing("503"));
        assert!(problems.publish(&mut state, at(2)));
        assert_eq!((state.problem.as_str(), state.problem_since_ms), ("503", 1));
        assert!(!problems.publish(&mut state, at(3)));

        problems.set(ProblemSource::Sync, None);
        assert!(problems.publish(&mut state, at(4)));
        assert_eq!(state.mail_problem(), None);
        assert_eq!(state.problem_since_ms, 0);
    }

    #[test]
    fn a_restart_ends_no_problem_and_the_part_that_it_belongs_to_does() {
        for code in ProblemCode::ALL {
            let mut state = WatchState {
                problem: "detail".to_owned(),
                problem_code: code.to_string(),
                problem_since_ms: 1,
                ..WatchState::default()
            };
            let mut problems = Problems::stored_in(&state);
            assert!(!problems.publish(&mut state, at(2)), "{code}");
            assert_eq!(state.problem_since_ms, 1);
            problems.set(source_of(code), None);
            assert!(problems.publish(&mut state, at(3)), "{code}");
            assert_eq!(state.mail_problem(), None);
        }
    }

    #[test]
    fn a_sync_that_succeeds_does_not_hide_the_problem_of_another_part() {
        let (mut problems, mut state) = (Problems::default(), WatchState::default());
        let gone = Problem::new(ProblemCode::SubscriptionMissing, "gone");
        problems.set(ProblemSource::Pull, Some(gone));
        problems.set(ProblemSource::Sync, None);
        problems.publish(&mut state, at(1));
        assert_eq!(state.problem_code, "subscription_missing");
    }
}
