//! Where a resync begins: Gmail keeps its history for about a week, and may no longer know the
//! cursor (<https://developers.google.com/workspace/gmail/api/guides/sync>).

use std::time::Duration;

use postbell_core::Timestamp;
use postbell_protocol::watch_state::{Gap, MAX_DELIVERED_IDS, WatchState};
use tracing::error;

/// How far back a resync reaches at most.
const WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How much further back than the last complete sync a resync reaches: clocks differ, and mail can
/// be late. No message is repeated: the ids of all delivered messages of the period are known.
const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);

/// The same if more messages were delivered than ids are kept: some may be repeated.
const SHORT_OVERLAP: Duration = Duration::from_secs(60 * 60);

/// Begins a resync, or continues one that has not finished: a failure does not move its start.
/// Returns its start. A gap that it cannot reach is kept in the state.
pub(crate) fn begin_resync(state: &mut WatchState, now: Timestamp) -> Timestamp {
    let earliest = now.as_millis().saturating_sub(millis(WINDOW));
    let complete_until = complete_until(state);
    let overlap = if state.delivered_ids.len() < MAX_DELIVERED_IDS {
        OVERLAP
    } else {
        SHORT_OVERLAP
    };
    let wanted = if state.resync_since_ms > 0 {
        state.resync_since_ms
    } else {
        complete_until.saturating_sub(millis(overlap))
    };
    let until = state.resync_since_ms.max(complete_until);
    if until > 0 && until < earliest {
        error!(
            from = %Timestamp::from_millis(until), to = %Timestamp::from_millis(earliest),
            "Mail of before the last 7 days cannot be delivered: Gmail's history has expired"
        );
        state.gap = Some(Gap {
            from_ms: until,
            to_ms: earliest,
        });
    }
    state.resync_since_ms = wanted.clamp(earliest, now.as_millis());
    Timestamp::from_millis(state.resync_since_ms)
}

/// Everything received before this time was delivered; 0 if that is not known.
fn complete_until(state: &WatchState) -> i64 {
    if state.complete_at_ms > 0 {
        return state.complete_at_ms;
    }
    // A state of `gog`, or of an earlier version.
    match &*state.last_delivery_status {
        "ok" => state.last_delivery_at_ms,
        _ => 0,
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 60 * 60 * 1000;
    const NOW: i64 = 1_000 * HOUR;

    fn start(state: &mut WatchState) -> i64 {
        (NOW - begin_resync(state, Timestamp::from_millis(NOW)).as_millis()) / HOUR
    }

    #[test]
    fn a_resync_begins_before_the_last_complete_sync_and_not_at_the_last_attempt() {
        let mut state = WatchState {
            complete_at_ms: NOW - 10 * HOUR,
            last_delivery_at_ms: NOW,
            last_delivery_status: "error".to_owned(),
            ..WatchState::default()
        };
        assert_eq!(start(&mut state), 34);
        state.resync_since_ms = 0;
        let ids = (0..MAX_DELIVERED_IDS).map(|number| number.to_string());
        state.add_delivered(ids);
        assert_eq!(start(&mut state), 11);
        assert_eq!(state.gap, None);
    }

    #[test]
    fn without_a_complete_sync_it_begins_at_an_accepted_delivery_or_covers_the_window() {
        for (status, expected) in [("ok", 26), ("error", 7 * 24), ("", 7 * 24)] {
            let mut state = WatchState {
                last_delivery_at_ms: NOW - 2 * HOUR,
                last_delivery_status: status.to_owned(),
                ..WatchState::default()
            };
            assert_eq!(start(&mut state), expected, "{status}");
        }
    }

    #[test]
    fn a_resync_that_failed_begins_again_where_it_stopped() {
        let mut state = WatchState {
            resync_since_ms: NOW - 50 * HOUR,
            complete_at_ms: NOW - HOUR,
            ..WatchState::default()
        };
        assert_eq!(start(&mut state), 50);
    }

    #[test]
    fn a_gap_beyond_the_window_is_kept_in_the_state() {
        let mut state = WatchState {
            complete_at_ms: NOW - 10 * 24 * HOUR,
            ..WatchState::default()
        };
        assert_eq!(start(&mut state), 7 * 24);
        let gap = state.gap.unwrap();
        assert_eq!((NOW - gap.from_ms) / HOUR, 10 * 24);
        assert_eq!((NOW - gap.to_ms) / HOUR, 7 * 24);
    }
}
