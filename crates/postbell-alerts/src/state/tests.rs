use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A mailbox that is observed minute by minute.
struct World {
    state: AlertState,
    now: Timestamp,
    reported: Vec<(AlertKind, u64)>,
    start: Timestamp,
}

impl World {
    fn new() -> Self {
        let start = Timestamp::from_millis(1_790_000_000_000);
        Self {
            state: AlertState::default(),
            now: start,
            reported: Vec::new(),
            start,
        }
    }

    /// Observes the same facts each minute, as after a restart each time.
    fn observe_for(&mut self, minutes: u32, facts: &MailboxFacts) {
        for _ in 0..minutes {
            let text = serde_json::to_string(&self.state).unwrap();
            self.state = serde_json::from_str(&text).unwrap();
            let rules = AlertRules::default();
            let observed = self.state.observe(facts, &rules, self.now);
            if let Some(change) = observed.change {
                let minute = (self.now - self.start).as_secs() / 60;
                self.reported.push((change.kind, minute));
            }
            self.now = self.now + MINUTE;
        }
    }

    fn problem(&self, code: ProblemCode) -> MailboxFacts {
        MailboxFacts {
            problem: Some(MailProblem {
                code,
                since: self.now,
            }),
            ..MailboxFacts::default()
        }
    }
}

#[test]
fn a_revoked_grant_is_reported_at_once_and_only_once() {
    let mut world = World::new();
    let revoked = world.problem(ProblemCode::GrantRevoked);
    world.observe_for(600, &revoked);
    world.observe_for(10, &MailboxFacts::default());
    let reported = [(AlertKind::GrantRevoked, 0), (AlertKind::Recovered, 600)];
    assert_eq!(world.reported, reported);
}

#[test]
fn a_failing_webhook_is_reported_after_five_minutes() {
    let mut world = World::new();
    let failing = world.problem(ProblemCode::WebhookFailing);
    world.observe_for(60, &failing);
    world.observe_for(60, &MailboxFacts::default());
    let reported = [(AlertKind::WebhookFailing, 5), (AlertKind::Recovered, 65)];
    assert_eq!(world.reported, reported);
}

#[test]
fn a_problem_that_comes_and_goes_within_minutes_is_not_reported() {
    let mut world = World::new();
    for _ in 0..20 {
        let failing = world.problem(ProblemCode::WebhookFailing);
        world.observe_for(4, &failing);
        world.observe_for(4, &MailboxFacts::default());
    }
    assert!(world.reported.is_empty(), "{:?}", world.reported);
}

#[test]
fn a_reported_problem_that_flaps_is_reported_once() {
    let mut world = World::new();
    for _ in 0..20 {
        let failing = world.problem(ProblemCode::WebhookFailing);
        world.observe_for(7, &failing);
        world.observe_for(3, &MailboxFacts::default());
    }
    world.observe_for(10, &MailboxFacts::default());
    let kinds: Vec<_> = world.reported.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [AlertKind::WebhookFailing, AlertKind::Recovered]);
}

#[test]
fn another_problem_in_its_place_is_reported_without_a_recovery() {
    let mut world = World::new();
    let failing = world.problem(ProblemCode::WebhookFailing);
    world.observe_for(10, &failing);
    let gone = world.problem(ProblemCode::WebhookGone);
    world.observe_for(10, &gone);
    let reported = [
        (AlertKind::WebhookFailing, 5),
        (AlertKind::WebhookFailing, 10),
    ];
    assert_eq!(world.reported, reported);
}

#[test]
fn a_watch_that_was_not_renewed_is_reported_a_day_before_its_end_and_then_its_end() {
    let mut world = World::new();
    let expires_at = world.now + 25 * HOUR;
    let facts = MailboxFacts {
        watch_expires_at: Some(expires_at),
        ..MailboxFacts::default()
    };
    world.observe_for(25 * 60, &facts);
    let expired = MailboxFacts {
        problem: Some(MailProblem {
            code: ProblemCode::WatchExpired,
            since: expires_at,
        }),
        ..facts
    };
    world.observe_for(60, &expired);
    let renewed = MailboxFacts {
        watch_expires_at: Some(world.now + 7 * 24 * HOUR),
        ..MailboxFacts::default()
    };
    world.observe_for(60, &renewed);
    let reported = [
        (AlertKind::WatchExpiring, 60),
        (AlertKind::WatchExpired, 25 * 60),
        (AlertKind::Recovered, 26 * 60),
    ];
    assert_eq!(world.reported, reported);
}

#[test]
fn silence_is_reported_after_a_day_and_ends_with_the_next_sign() {
    let mut world = World::new();
    let mut facts = MailboxFacts {
        last_heard_at: Some(world.now),
        ..MailboxFacts::default()
    };
    world.observe_for(30 * 60, &facts);
    facts.last_heard_at = Some(world.now);
    world.observe_for(60, &facts);
    let reported = [
        (AlertKind::MailboxSilent, 24 * 60),
        (AlertKind::Recovered, 30 * 60),
    ];
    assert_eq!(world.reported, reported);
}

/// A laptop that is closed over the weekend.
#[test]
fn silence_while_the_observer_sleeps_is_reported_only_if_it_goes_on() {
    let mut world = World::new();
    let mut facts = MailboxFacts {
        last_heard_at: Some(world.now),
        ..MailboxFacts::default()
    };
    for _ in 0..3 {
        world.now = world.now + 60 * HOUR;
        facts.observed_since = Some(world.now);
        world.observe_for(1, &facts);
        facts.last_heard_at = Some(world.now);
        world.observe_for(60, &facts);
    }
    assert!(world.reported.is_empty());
    world.start = world.now + 60 * HOUR;
    world.now = world.start;
    facts.observed_since = Some(world.now);
    world.observe_for(60, &facts);
    // It sleeps again, and nothing is heard of the mailbox.
    world.now = world.now + 60 * HOUR;
    facts.observed_since = Some(world.now);
    world.observe_for(60, &facts);
    assert_eq!(world.reported, [(AlertKind::MailboxSilent, 15)]);
}

#[test]
fn silence_is_reported_also_if_the_observer_is_restarted_again_and_again() {
    let mut world = World::new();
    let mut facts = MailboxFacts {
        last_heard_at: Some(world.now),
        ..MailboxFacts::default()
    };
    world.now = world.now + 24 * HOUR;
    world.start = world.now;
    for _ in 0..12 {
        facts.observed_since = Some(world.now);
        world.observe_for(3, &facts);
        // It starts again after a while.
        world.now = world.now + 2 * MINUTE;
    }
    assert_eq!(world.reported, [(AlertKind::MailboxSilent, 15)]);
}

/// Each time its machine wakes up for minutes, in which the mailbox has no time to be heard of.
#[test]
fn silence_is_not_reported_by_an_observer_that_sleeps_between_short_times() {
    let mut world = World::new();
    let mut facts = MailboxFacts {
        last_heard_at: Some(world.now),
        ..MailboxFacts::default()
    };
    world.now = world.now + 24 * HOUR;
    for _ in 0..12 {
        facts.observed_since = Some(world.now);
        world.observe_for(3, &facts);
        world.now = world.now + HOUR;
    }
    assert!(world.reported.is_empty());
}

#[test]
fn an_observer_that_waits_for_a_sign_stores_it_once_a_minute_and_until_it_comes() {
    let start = Timestamp::from_millis(1_790_000_000_000);
    let mut state = AlertState::default();
    let mut stored = std::collections::BTreeSet::new();
    let mut facts = MailboxFacts {
        last_heard_at: Some(start),
        observed_since: Some(start + 24 * HOUR),
        ..MailboxFacts::default()
    };
    let mut now = start + 24 * HOUR;
    for _ in 0..10 * 60 {
        let observed = state.observe(&facts, &AlertRules::default(), now);
        assert!(observed.again_at.is_some_and(|at| at <= now + 2 * MINUTE));
        stored.insert(serde_json::to_string(&state).unwrap());
        now = now + Duration::from_secs(1);
    }
    assert_eq!(stored.len(), 10);
    facts.last_heard_at = Some(now);
    state.observe(&facts, &AlertRules::default(), now);
    assert_eq!(state, AlertState::default());
}

#[test]
fn a_machine_is_unreachable_after_a_quarter_of_an_hour() {
    let mut world = World::new();
    let facts = MailboxFacts {
        unreachable_since: Some(world.now),
        ..MailboxFacts::default()
    };
    world.observe_for(30, &facts);
    // The notification has become a dead letter.
    world.observe_for(30, &MailboxFacts::default());
    let reached = MailboxFacts {
        reached_at: Some(world.now),
        ..MailboxFacts::default()
    };
    world.observe_for(2, &reached);
    let reported = [
        (AlertKind::MachineUnreachable, 15),
        (AlertKind::Recovered, 60),
    ];
    assert_eq!(world.reported, reported);
}

#[test]
fn a_machine_that_returns_with_a_problem_has_not_recovered() {
    let mut world = World::new();
    let unreachable = MailboxFacts {
        unreachable_since: Some(world.now),
        ..MailboxFacts::default()
    };
    world.observe_for(20, &unreachable);
    let failing = MailboxFacts {
        reached_at: Some(world.now),
        ..world.problem(ProblemCode::WebhookFailing)
    };
    world.observe_for(10, &failing);
    let reached = MailboxFacts {
        problem: None,
        ..failing
    };
    world.observe_for(10, &reached);
    let reported = [
        (AlertKind::MachineUnreachable, 15),
        (AlertKind::WebhookFailing, 25),
        (AlertKind::Recovered, 35),
    ];
    assert_eq!(world.reported, reported);
}

#[test]
fn an_observation_says_when_to_look_again() {
    let mut world = World::new();
    let failing = world.problem(ProblemCode::WebhookFailing);
    let rules = AlertRules::default();
    let observed = world.state.observe(&failing, &rules, world.now);
    assert_eq!(observed.change, None);
    assert_eq!(observed.again_at, Some(world.now + DAMPING));
    let reported = world.state.observe(&failing, &rules, world.now + DAMPING);
    assert!(reported.change.is_some() && reported.again_at.is_none());
    assert!(world.state.has_reported());
    let over = world.now + 2 * DAMPING;
    let observed = world.state.observe(&MailboxFacts::default(), &rules, over);
    assert_eq!(observed.again_at, Some(over + DAMPING));
}
