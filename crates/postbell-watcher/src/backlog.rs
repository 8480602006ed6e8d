//! The changes that a sync delivers, and how far it has come.

use std::collections::HashSet;

use postbell_core::{HistoryId, Timestamp};
use postbell_protocol::watch_state::WatchState;

use crate::arrival::Arrival;
use crate::poster::Item;

/// Why changes are delivered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reason {
    /// They are new.
    New,
    /// Gmail's history has expired: some may have been delivered before.
    Resync,
}

/// The changes that a sync delivers, in order.
pub(crate) struct Backlog {
    arrivals: Vec<Arrival>,
    /// When each message was received, once it was read.
    times: Vec<Option<Timestamp>>,
    is_finished: Vec<bool>,
    /// Everything before it is finished.
    first_open: usize,
    /// The history id after all of them, if they are the mailbox's history.
    end: Option<HistoryId>,
}

impl Backlog {
    pub(crate) fn new(arrivals: Vec<Arrival>) -> Self {
        let count = arrivals.len();
        Self {
            arrivals,
            times: vec![None; count],
            is_finished: vec![false; count],
            first_open: 0,
            end: None,
        }
    }

    /// The changes up to a history id. The cursor moves there with the last of them.
    pub(crate) fn up_to(self, end: HistoryId) -> Self {
        Self {
            end: Some(end),
            ..self
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// Divides the changes into batches. The first is the pending one, if its changes are among
    /// them. A message that failed before is a batch of its own.
    pub(crate) fn batches(&self, state: &WatchState, most: usize) -> Vec<Vec<usize>> {
        let pending: HashSet<&String> = state.pending_ids.iter().collect();
        let failing: HashSet<String> = state.failing.iter().map(|one| one.key()).collect();
        let all = 0..self.arrivals.len();
        let keys: Vec<_> = self.arrivals.iter().map(Arrival::key).collect();
        let (first, rest): (Vec<_>, Vec<_>) =
            all.partition(|index| pending.contains(&keys[*index]));
        let mut batches = Vec::new();
        if !first.is_empty() {
            batches.push(first);
        }
        let mut batch = Vec::new();
        for index in rest {
            let is_failing = failing.contains(&keys[index]);
            if (is_failing || batch.len() >= most) && !batch.is_empty() {
                batches.push(std::mem::take(&mut batch));
            }
            batch.push(index);
            if is_failing {
                batches.push(std::mem::take(&mut batch));
            }
        }
        if !batch.is_empty() {
            batches.push(batch);
        }
        batches
    }

    pub(crate) fn arrivals_of(&self, batch: &[usize]) -> Vec<Arrival> {
        let of = |index: &usize| self.arrivals[*index].clone();
        batch.iter().map(of).collect()
    }

    /// Keeps when messages were received.
    pub(crate) fn note_times(&mut self, items: &[Item]) {
        for item in items {
            self.times[item.index] = item.received_at;
        }
    }

    /// Marks changes that were delivered, deferred or set aside.
    pub(crate) fn finish(&mut self, indexes: &[usize]) {
        for index in indexes {
            self.is_finished[*index] = true;
        }
        while self.is_finished.get(self.first_open) == Some(&true) {
            self.first_open += 1;
        }
    }

    /// How far the cursor may move: to the last history record before the first unfinished change, or
    /// to the end if everything is finished.
    pub(crate) fn cursor(&self) -> Option<HistoryId> {
        let Some(open) = self.arrivals.get(self.first_open) else {
            return self.end;
        };
        let finished = self.arrivals[..self.first_open].iter().rev();
        finished.map(|one| one.at).find(|at| *at < open.at)
    }

    /// When the last message before the first unfinished one was received.
    pub(crate) fn finished_until(&self) -> Option<Timestamp> {
        let times = self.times[..self.first_open].iter().rev();
        times.copied().find_map(|time| time)
    }
}

/// Keeps the changes that were not delivered, deferred or set aside, each once.
pub(crate) fn undelivered(state: &WatchState, mut arrivals: Vec<Arrival>) -> Vec<Arrival> {
    let deferred = state.failing.iter().filter(|one| one.deferred);
    let mut known: HashSet<String> = state.delivered_ids.iter().cloned().collect();
    known.extend(deferred.map(|one| one.key()));
    known.extend(state.dead_letters.iter().map(|one| one.key()));
    arrivals.retain(|arrival| known.insert(arrival.key()));
    arrivals
}

/// The keys of some items, in order.
pub(crate) fn keys(items: &[Item]) -> Vec<String> {
    items.iter().map(|item| item.arrival.key()).collect()
}

#[cfg(test)]
mod tests {
    use postbell_google::{HistoryType, MessageRef};
    use postbell_protocol::watch_state::FailingMessage;

    use super::*;

    fn backlog(history_ids: &[u64]) -> Backlog {
        let arrivals = history_ids.iter().enumerate().map(|(number, at)| Arrival {
            at: HistoryId::new(*at),
            message: MessageRef {
                id: format!("m{number}"),
                label_ids: Vec::new(),
            },
            change: HistoryType::MessageAdded,
        });
        Backlog::new(arrivals.collect())
    }

    #[test]
    fn the_cursor_never_moves_past_an_unfinished_change() {
        let cursor = |history_ids: &[u64], finished: &[usize]| {
            let mut backlog = backlog(history_ids).up_to(HistoryId::new(9));
            backlog.finish(finished);
            backlog.cursor().map(HistoryId::get)
        };
        assert_eq!(cursor(&[1, 2, 3], &[0, 1, 2]), Some(9), "all are finished");
        assert_eq!(cursor(&[1, 2, 3, 4], &[0, 1, 2]), Some(3));
        assert_eq!(cursor(&[1, 2, 2, 2], &[0, 1, 2]), Some(1));
        assert_eq!(cursor(&[2, 2, 2], &[0, 1]), None);
        assert_eq!(cursor(&[1, 2, 3], &[0, 2]), Some(1));
    }

    #[test]
    fn a_pending_batch_is_repeated_and_a_failing_message_is_alone() {
        let backlog = backlog(&[1, 2, 3, 4, 5]);
        let mut state = WatchState::default();
        assert_eq!(
            backlog.batches(&state, 2),
            [vec![0, 1], vec![2, 3], vec![4]]
        );
        state.failing.push(FailingMessage {
            id: "m1".to_owned(),
            ..FailingMessage::default()
        });
        assert_eq!(
            backlog.batches(&state, 9),
            [vec![0], vec![1], vec![2, 3, 4]]
        );
        state.pending_ids = ["m1", "m2", "gone"].map(str::to_owned).to_vec();
        assert_eq!(backlog.batches(&state, 9), [vec![1, 2], vec![0, 3, 4]]);
    }

    #[test]
    fn what_was_set_aside_or_deferred_is_not_delivered_in_its_place() {
        let mut state = WatchState {
            delivered_ids: vec!["m0".to_owned()],
            ..WatchState::default()
        };
        for (id, deferred) in [("m1", true), ("m2", false)] {
            state.failing.push(FailingMessage {
                id: id.to_owned(),
                deferred,
                ..FailingMessage::default()
            });
        }
        let left = undelivered(&state, backlog(&[1, 2, 3]).arrivals);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].message.id, "m2");
    }
}
