//! Keeps account of messages that fail alone: when they are tried again, and when they are set
//! aside (protocol, section 5).

use std::time::Duration;

use postbell_core::{Backoff, Timestamp};
use postbell_protocol::watch_state::{DeadLetter, FailingMessage, MAX_FAILING, Stage, WatchState};
use tracing::{error, warn};

use crate::arrival::Arrival;

/// The attempts that a message gets in its place, before those behind it go on.
const TRIES_IN_ORDER: u32 = 3;

/// The attempts after which a message is set aside, if others pass.
const TRIES: u32 = 5;

/// The attempts after which a message is set aside, if no other was seen to pass.
const UNPROVEN_TRIES: u32 = 8;

/// So many messages without one that passes are no coincidence: the webhook, or Gmail, is failing
/// as a whole, and no message is set aside.
const ALL_FAIL: usize = 3;

/// So many messages that have failed since one passed are no coincidence either, even if some passed
/// before: their attempts do not count, and none of them is set aside.
const MANY_FAIL: usize = 10;

/// The ratio of a wait to the one before.
const FACTOR: f64 = 6.0;

/// The reason of a message that Gmail lists but does not have.
pub(crate) const NOT_FOUND: &str = "gmail answered 404";

/// The waits between the attempts of a message that others have passed.
#[derive(Clone, Copy, Debug)]
pub struct MessageRetries {
    /// The first wait.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// Attempts that follow each other faster count as one: pushes can cause any number of them.
    pub least_wait: Duration,
}

impl Default for MessageRetries {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_secs(5),
            longest_wait: Duration::from_secs(5 * 60),
            least_wait: Duration::from_millis(500),
        }
    }
}

/// A failed attempt of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure<'a> {
    pub(crate) stage: Stage,
    pub(crate) reason: &'a str,
    /// Whether this sync has seen another message pass the stage.
    pub(crate) others_pass: bool,
}

/// What a failed attempt means for a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Failed {
    /// It is tried again in its place; those behind it wait.
    InOrder,
    /// It is tried again later; those behind it go on.
    Deferred,
    /// It was set aside.
    SetAside,
    /// Too many messages fail: it keeps its place.
    TooMany,
}

impl MessageRetries {
    /// When a deferred message is due. A time that lies ahead, because the clock has been set back,
    /// is due at once.
    pub(crate) fn due_at(&self, message: &FailingMessage, now: Timestamp) -> Timestamp {
        let last = Timestamp::from_millis(message.last_at_ms);
        if last > now {
            return now;
        }
        let waits = Backoff::new(self.first_wait, self.longest_wait).with_factor(FACTOR);
        let spaced = if is_not_found(message) {
            message.tries
        } else {
            message
                .tries
                .saturating_add(1)
                .saturating_sub(TRIES_IN_ORDER)
        };
        last + waits.wait_after(spaced.max(1))
    }

    /// The time until the next deferred message is due, if one waits for that.
    pub(crate) fn due_in(&self, state: &WatchState, now: Timestamp) -> Option<Duration> {
        let waiting = state.failing.iter().filter(|one| one.deferred);
        waiting.map(|one| self.due_at(one, now) - now).min()
    }

    /// Counts a failed attempt of a message.
    pub(crate) fn record(
        &self,
        state: &mut WatchState,
        arrival: &Arrival,
        failure: Failure<'_>,
        now: Timestamp,
    ) -> Failed {
        let Failure { stage, reason, .. } = failure;
        let key = arrival.key();
        let found = state.failing.iter().position(|one| one.key() == key);
        let Some(index) = found.or_else(|| begin(state, arrival, stage, reason)) else {
            return Failed::TooMany;
        };
        state.failing[index].since_pass = true;
        let many_fail = many_fail(state, stage);
        let all_fail = fails_as_a_whole(state, stage);
        let few_fail = unproven(state, stage) < ALL_FAIL;
        let message = &mut state.failing[index];
        let tries = message.tries;
        self.count(message, failure, now);
        if many_fail && message.deferred {
            message.tries = message.tries.min(tries.max(1));
        }
        let has_its_tries = message.tries >= TRIES && message.others_pass;
        let is_over = has_its_tries || (message.tries >= UNPROVEN_TRIES && few_fail);
        if is_not_found(message) {
            message.deferred = true;
            if message.tries < TRIES {
                return Failed::Deferred;
            }
            let gone = state.failing.remove(index);
            warn!(
                message.id = gone.id,
                "Message {} no longer exists: Gmail listed it, and has answered 404 since", gone.id
            );
            state.add_delivered(std::iter::once(key));
            return Failed::SetAside;
        }
        if message.deferred && is_over && !many_fail {
            let given_up = state.failing.remove(index);
            set_aside(state, given_up, now);
            return Failed::SetAside;
        }
        if !message.deferred && (all_fail || message.tries >= TRIES_IN_ORDER) {
            message.deferred = true;
        }
        if message.deferred {
            Failed::Deferred
        } else {
            Failed::InOrder
        }
    }

    /// Counts the attempt, unless it followed the last one too soon.
    fn count(&self, message: &mut FailingMessage, failure: Failure<'_>, now: Timestamp) {
        if message.stage != failure.stage {
            message.stage = failure.stage;
            message.tries = 0;
            message.others_pass = false;
        }
        let last = Timestamp::from_millis(message.last_at_ms);
        let counts = if message.deferred {
            self.due_at(message, now) <= now
        } else {
            last > now || now - last >= self.least_wait
        };
        if counts || message.tries == 0 {
            message.tries = message.tries.saturating_add(1);
            message.last_at_ms = now.as_millis();
        }
        message.others_pass |= failure.others_pass;
        failure.reason.clone_into(&mut message.reason);
    }
}

/// Adds a message that failed for the first time. Returns `None` if there are too many.
fn begin(state: &mut WatchState, arrival: &Arrival, stage: Stage, reason: &str) -> Option<usize> {
    let id = &arrival.message.id;
    if state.failing.len() >= MAX_FAILING && !make_room(state) {
        warn!(
            message.id = id,
            "Too many messages fail: {id} keeps its place"
        );
        return None;
    }
    if reason != NOT_FOUND {
        warn!(
            message.id = id,
            reason, "Message {id} failed alone, and is tried again"
        );
    }
    state.failing.push(FailingMessage {
        id: id.clone(),
        history_id: arrival.at,
        change: arrival.change_name().to_owned(),
        stage,
        ..FailingMessage::default()
    });
    Some(state.failing.len() - 1)
}

/// Gives up the oldest message that was not found twice: most likely it was deleted, and many of these
/// must not stop the others. Returns `false` if there is none.
fn make_room(state: &mut WatchState) -> bool {
    let is_gone = |one: &FailingMessage| is_not_found(one) && one.tries > 1;
    let Some(oldest) = state.failing.iter().position(is_gone) else {
        return false;
    };
    let gone = state.failing.remove(oldest);
    warn!(
        message.id = gone.id,
        "Message {} counts as deleted: Gmail has answered 404 since it listed it, and too many others fail",
        gone.id
    );
    state.add_delivered(std::iter::once(gone.key()));
    true
}

fn set_aside(state: &mut WatchState, message: FailingMessage, now: Timestamp) {
    error!(
        message.id = message.id,
        reason = message.reason,
        "Message {} was set aside as a dead letter after {} attempts: {}. See `postbell watch dead-letters`",
        message.id,
        message.tries,
        message.reason
    );
    let dropped = state.add_dead_letter(DeadLetter {
        id: message.id,
        history_id: message.history_id,
        change: message.change,
        stage: message.stage,
        reason: message.reason,
        at_ms: now.as_millis(),
        tries: message.tries,
    });
    if let Some(dropped) = dropped {
        let id = dropped.id;
        warn!(
            message.id = id,
            "Dropped the oldest dead letter, message {id}: there are too many"
        );
    }
}

/// Records that a message has passed a stage: those that fail there do so alone.
pub(crate) fn prove(state: &mut WatchState, stage: Stage) {
    for message in &mut state.failing {
        if message.stage == stage {
            message.others_pass = true;
            message.since_pass = false;
        }
    }
}

/// Whether so many messages fail at a stage, and none passes, that the stage itself is failing.
pub(crate) fn fails_as_a_whole(state: &WatchState, stage: Stage) -> bool {
    unproven(state, stage) >= ALL_FAIL || many_fail(state, stage)
}

/// Whether many messages have failed at a stage since one passed it.
fn many_fail(state: &WatchState, stage: Stage) -> bool {
    since_pass(state, stage).count() >= MANY_FAIL
}

fn since_pass(state: &WatchState, stage: Stage) -> impl Iterator<Item = &FailingMessage> {
    let has_failed =
        move |one: &&FailingMessage| one.stage == stage && one.since_pass && !is_not_found(one);
    state.failing.iter().filter(has_failed)
}

/// The number of deferred messages that fail at a stage without a proof that others pass.
pub(crate) fn unproven(state: &WatchState, stage: Stage) -> usize {
    let failing = state.failing.iter();
    failing.filter(|one| is_unproven(one, stage)).count()
}

/// Why the messages of a stage fail, if no other was seen to pass, or many fail since one did.
pub(crate) fn unproven_reason(state: &WatchState, stage: Stage) -> Option<String> {
    let mut failing = state.failing.iter();
    let unproven = failing.rfind(|one| is_unproven(one, stage));
    let many = || since_pass(state, stage).last();
    let last = unproven.or_else(|| many().filter(|_| many_fail(state, stage)))?;
    Some(last.reason.clone())
}

pub(crate) fn is_unproven(message: &FailingMessage, stage: Stage) -> bool {
    message.stage == stage && message.deferred && !message.others_pass && !is_not_found(message)
}

fn is_not_found(message: &FailingMessage) -> bool {
    message.stage == Stage::Gmail && message.reason == NOT_FOUND
}

/// Forgets the failures of messages that were accepted.
pub(crate) fn forget(state: &mut WatchState, keys: &[String]) {
    state.failing.retain(|one| !keys.contains(&one.key()));
}

#[cfg(test)]
mod tests {
    use postbell_core::HistoryId;

    use super::*;

    /// Fails all messages once, an hour after the last attempt.
    fn all_fail(state: &mut WatchState, ids: &[String], hour: &mut i64) {
        *hour += 1;
        for id in ids {
            let failure = Failure {
                stage: Stage::Webhook,
                reason: "the hook answered 400",
                others_pass: false,
            };
            let arrival = Arrival::again(id, "", HistoryId::new(7));
            let now = Timestamp::from_millis(*hour * 3_600_000);
            MessageRetries::default().record(state, &arrival, failure, now);
        }
    }

    #[test]
    fn one_message_that_passes_in_an_outage_sets_no_other_aside() {
        let ids: Vec<_> = (0..60).map(|number| format!("m{number}")).collect();
        let (mut state, mut hour) = (WatchState::default(), 0);
        for _ in 0..10 {
            all_fail(&mut state, &ids, &mut hour);
        }
        prove(&mut state, Stage::Webhook);
        assert!(unproven_reason(&state, Stage::Webhook).is_none());
        for _ in 0..10 {
            all_fail(&mut state, &ids, &mut hour);
        }
        assert!(
            state.dead_letters.len() < MANY_FAIL,
            "{}",
            state.dead_letters.len()
        );
        assert!(
            unproven_reason(&state, Stage::Webhook).is_some(),
            "it is reported"
        );
    }

    #[test]
    fn a_few_messages_that_fail_while_others_pass_are_set_aside() {
        let ids = ["a", "b", "c"].map(str::to_owned);
        let (mut state, mut hour) = (WatchState::default(), 0);
        for _ in 0..TRIES {
            all_fail(&mut state, &ids, &mut hour);
            prove(&mut state, Stage::Webhook);
        }
        assert_eq!(state.dead_letters.len(), 3);
        assert!(state.failing.is_empty());
    }

    #[test]
    fn a_state_with_absurd_numbers_is_counted_on() {
        let message = FailingMessage {
            id: "m".to_owned(),
            tries: u32::MAX,
            last_at_ms: i64::MIN,
            deferred: true,
            ..FailingMessage::default()
        };
        let mut state = WatchState {
            failing: vec![message],
            ..WatchState::default()
        };
        all_fail(&mut state, &["m".to_owned()], &mut 0);
        assert!(state.failing.is_empty());
        assert_eq!(state.dead_letters[0].tries, u32::MAX);
    }

    #[test]
    fn only_a_message_that_was_not_found_twice_makes_room_for_another() {
        let missing = |number: usize| FailingMessage {
            id: format!("m{number}"),
            stage: Stage::Gmail,
            reason: NOT_FOUND.to_owned(),
            tries: 1,
            deferred: true,
            ..FailingMessage::default()
        };
        let mut state = WatchState {
            failing: (0..MAX_FAILING).map(missing).collect(),
            ..WatchState::default()
        };
        let failure = Failure {
            stage: Stage::Gmail,
            reason: NOT_FOUND,
            others_pass: false,
        };
        let arrival = Arrival::again("new", "", HistoryId::new(7));
        let record = |state: &mut WatchState| {
            let now = Timestamp::from_millis(0);
            MessageRetries::default().record(state, &arrival, failure, now)
        };
        assert_eq!(record(&mut state), Failed::TooMany);

        state.failing[1].tries = 2;
        let gone = state.failing[1].key();
        assert_eq!(record(&mut state), Failed::Deferred);
        assert_eq!(state.failing.len(), MAX_FAILING);
        assert_eq!(state.delivered_ids, [gone]);
    }
}
