//! The alerts in a watch's state: those that were sent, and those that wait.

use postbell_alerts::{AlertEvent, AlertKind, AlertRules, AlertState, Burst, MailboxFacts};
use postbell_core::{MailProblem, Timestamp};
use postbell_protocol::watch_state::WatchState;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::health::assess;

/// The largest number of alerts that wait.
const MAX_PENDING: usize = 100;

/// An alert that a target has not accepted yet.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PendingAlert {
    pub(super) target: String,
    pub(super) event: AlertEvent,
    #[serde(default)]
    pub(super) attempts: u32,
    pub(super) queued_at: Timestamp,
    pub(super) due_at: Timestamp,
}

/// The changes that were reported, so that a restart repeats none.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Told {
    mailbox: AlertState,
    dead_letters: Burst,
    /// When the last dead letter that was counted was set aside.
    counted_until_ms: i64,
}

/// The result of an observation.
pub(super) struct Observed {
    /// Whether the state was changed and must be stored.
    pub(super) is_changed: bool,
    /// When the same state can give more to tell.
    pub(super) again_at: Option<Timestamp>,
}

impl PendingAlert {
    /// Whether this is the same alert to the same target.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.target == other.target && self.event.id == other.event.id
    }
}

/// Adds what the state gives to tell, for each target.
pub(super) fn observe(
    state: &mut WatchState,
    account: &str,
    targets: &[String],
    now: Timestamp,
    observed_since: Timestamp,
) -> Observed {
    let before: Told = serde_json::from_value(state.alert_state.clone()).unwrap_or_default();
    let mut told = before.clone();
    let assessed = assess(state, now);
    let facts = MailboxFacts {
        observed_since: Some(observed_since),
        ..facts(state, now)
    };
    let observation = told.mailbox.observe(&facts, &AlertRules::default(), now);
    let event = |kind, at| AlertEvent::new(kind, at, Some(account.to_owned()), None);
    let mut events = Vec::new();
    if let Some(change) = observation.change {
        let detail = assessed.problem.as_ref().map(|found| found.detail.as_str());
        let is_over = change.kind == AlertKind::Recovered;
        let detail = detail.filter(|_| !is_over).unwrap_or_default();
        let event = event(change.kind, change.at);
        events.push(event.with_problem(change.problem).with_detail(detail));
    }
    count_dead_letters(&mut told, state, now);
    if let Some((count, since)) = told.dead_letters.take_due(now) {
        let last = state.dead_letters.last();
        let detail = last.map(|last| format!("The last one is {}: {}.", last.id, last.reason));
        let event = event(AlertKind::MailDeadLettered, since);
        events.push(
            event
                .with_count(count)
                .with_detail(&detail.unwrap_or_default()),
        );
    }
    let again_at = observation.again_at;
    let again_at = again_at.into_iter().chain(told.dead_letters.due_at()).min();
    let is_changed = told != before;
    if is_changed {
        state.alert_state = serde_json::to_value(&told).unwrap_or_default();
        add(state, &events, targets, now);
    }
    Observed {
        is_changed,
        again_at,
    }
}

fn facts(state: &WatchState, now: Timestamp) -> MailboxFacts {
    let problem = assess(state, now).problem;
    let heard = state.last_accepted_at_ms.max(state.last_poll_at_ms);
    MailboxFacts {
        problem: problem.map(|found| MailProblem {
            code: found.code,
            since: found.since,
        }),
        unreachable_since: None,
        reached_at: None,
        watch_expires_at: state.expires_at(),
        last_heard_at: (heard > 0).then(|| Timestamp::from_millis(heard)),
        observed_since: None,
    }
}

fn count_dead_letters(told: &mut Told, state: &WatchState, now: Timestamp) {
    let is_new = |at: i64| at > told.counted_until_ms;
    let times = state.dead_letters.iter().map(|letter| letter.at_ms);
    let new: Vec<_> = times.filter(|at| is_new(*at)).collect();
    let Some(last) = new.iter().max().copied() else {
        return;
    };
    told.counted_until_ms = last;
    told.dead_letters
        .add(u64::try_from(new.len()).unwrap_or(u64::MAX), now);
}

fn add(state: &mut WatchState, events: &[AlertEvent], targets: &[String], now: Timestamp) {
    let mut all = pending(state);
    for (event, target) in events
        .iter()
        .flat_map(|event| targets.iter().map(move |target| (event, target)))
    {
        all.push(PendingAlert {
            target: target.clone(),
            event: event.clone(),
            attempts: 0,
            queued_at: now,
            due_at: now,
        });
    }
    let excess = all.len().saturating_sub(MAX_PENDING);
    if excess > 0 {
        warn!("Dropped the {excess} oldest alerts: too many could not be sent");
        all.drain(..excess);
    }
    set_pending(state, &all);
}

/// The alerts that wait. What this version cannot read is dropped with the next change.
pub(super) fn pending(state: &WatchState) -> Vec<PendingAlert> {
    let alerts = state.alerts.iter().cloned();
    alerts
        .filter_map(|alert| serde_json::from_value(alert).ok())
        .collect()
}

pub(super) fn set_pending(state: &mut WatchState, all: &[PendingAlert]) {
    let alerts = all.iter().map(serde_json::to_value);
    state.alerts = alerts.filter_map(Result::ok).collect();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postbell_alerts::AlertTarget;
    use postbell_core::ProblemCode;
    use postbell_protocol::watch_state::DeadLetter;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
    const MINUTE: Duration = Duration::from_secs(60);
    const ACCOUNT: &str = "ann@example.com";

    fn healthy() -> WatchState {
        WatchState {
            topic: "projects/p/topics/t".to_owned(),
            expiration_ms: NOW.as_millis() + 6 * 24 * 3_600_000,
            last_poll_at_ms: NOW.as_millis(),
            ..WatchState::default()
        }
    }

    fn revoked(state: &mut WatchState, since: Timestamp) {
        state.problem = "the grant has been revoked".to_owned();
        state.problem_code = ProblemCode::GrantRevoked.to_string();
        state.problem_since_ms = since.as_millis();
    }

    fn target() -> String {
        "https://example.com/alerts"
            .parse::<AlertTarget>()
            .unwrap()
            .id()
            .to_string()
    }

    /// Observes a state whose observer runs since long.
    fn observe_at(state: &mut WatchState, now: Timestamp) -> Observed {
        observe(state, ACCOUNT, &[target()], now, Timestamp::default())
    }

    fn kinds(state: &WatchState) -> Vec<AlertKind> {
        pending(state).iter().map(|one| one.event.kind).collect()
    }

    #[test]
    fn each_change_is_told_once_also_after_a_restart() {
        let mut state = healthy();
        assert!(!observe_at(&mut state, NOW).is_changed);
        revoked(&mut state, NOW);
        assert!(observe_at(&mut state, NOW).is_changed);
        assert_eq!(kinds(&state), [AlertKind::GrantRevoked]);
        let text = serde_json::to_string(&state).unwrap();
        let mut state: WatchState = serde_json::from_str(&text).unwrap();
        assert!(!observe_at(&mut state, NOW + MINUTE).is_changed);
        state.problem.clear();
        state.problem_code.clear();
        assert!(observe_at(&mut state, NOW + MINUTE).is_changed);
        let expected = [AlertKind::GrantRevoked, AlertKind::Recovered];
        assert_eq!(kinds(&state), expected);
        assert!(pending(&state)[1].event.detail.is_empty());
    }

    #[test]
    fn an_expired_watch_and_silence_are_told_though_no_watcher_stored_them() {
        let mut state = healthy();
        let far = NOW + Duration::from_secs(7 * 24 * 3600);
        observe_at(&mut state, far);
        assert_eq!(kinds(&state), [AlertKind::WatchExpired]);
        let mut state = healthy();
        state.expiration_ms = far.as_millis() * 2;
        observe_at(&mut state, far);
        assert_eq!(kinds(&state), [AlertKind::MailboxSilent]);
    }

    #[test]
    fn silence_while_the_machine_slept_is_not_told_before_the_first_sync() {
        let mut state = healthy();
        let awoken = NOW + Duration::from_secs(3 * 24 * 3600);
        observe(&mut state, ACCOUNT, &[target()], awoken, awoken);
        assert!(kinds(&state).is_empty());
    }

    #[test]
    fn mails_that_are_set_aside_together_are_told_together() {
        let mut state = healthy();
        for number in 0..3 {
            state.dead_letters.push(DeadLetter {
                id: format!("m{number}"),
                reason: "the hook answered 400".to_owned(),
                at_ms: NOW.as_millis() + number,
                ..DeadLetter::default()
            });
        }
        let observed = observe_at(&mut state, NOW);
        assert!(kinds(&state).is_empty());
        let due = observed.again_at.unwrap();
        observe_at(&mut state, due);
        let told = pending(&state);
        assert_eq!(told[0].event.kind, AlertKind::MailDeadLettered);
        assert_eq!(told[0].event.count, 3);
        assert!(told[0].event.detail.contains("m2"));
        observe_at(&mut state, due + MINUTE);
        assert_eq!(pending(&state).len(), 1);
    }

    #[test]
    fn the_number_of_waiting_alerts_is_bounded() {
        let mut state = healthy();
        let event = AlertEvent::new(AlertKind::Recovered, NOW, None, None);
        for _ in 0..3 {
            add(&mut state, &vec![event.clone(); 50], &[target()], NOW);
        }
        assert_eq!(pending(&state).len(), MAX_PENDING);
    }
}
