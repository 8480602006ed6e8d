//! How a child's process is told of.

use postbell_core::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::supervisor::{ChildStatus, Exit};

/// What is known of a child's process, as the contract has it of the gateway's.
pub(crate) fn stats(status: &ChildStatus, clock: &dyn Clock) -> Value {
    let alive = status.state.alive();
    let uptime = alive.map(|alive| clock.elapsed().saturating_sub(alive.since));
    json!({
        "state": status.state.word(),
        "pid": alive.map(|alive| alive.pid),
        "uptime": uptime.unwrap_or_default().as_secs(),
        "restarts": status.restarts,
        "lastExit": status.last_exit.map(last_exit),
    })
}

fn last_exit(Exit { code, signal, at }: Exit) -> Value {
    json!({ "code": code, "signal": signal, "at": in_iso_8601(at) })
}

/// As JavaScript's `toISOString` writes it, for KiloClaw's platform.
fn in_iso_8601(at: Timestamp) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
    Some(format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postbell_testkit::PausedClock;

    use super::*;
    use crate::supervisor::{Alive, ChildState};

    #[tokio::test(start_paused = true)]
    async fn the_stats_are_those_of_the_contract() {
        let clock = PausedClock::starting_at(Timestamp::default());
        tokio::time::sleep(Duration::from_millis(7_900)).await;
        let alive = Alive {
            pid: 42,
            since: Duration::from_secs(2),
        };
        let crash = Exit {
            code: None,
            signal: Some("SIGKILL"),
            at: Timestamp::from_millis(1_790_000_000_120),
        };
        let status = ChildStatus {
            state: ChildState::Running(alive),
            restarts: 3,
            last_exit: Some(crash),
        };
        let expected = json!({
            "state": "running", "pid": 42, "uptime": 5, "restarts": 3,
            "lastExit": { "code": null, "signal": "SIGKILL", "at": "2026-09-21T14:13:20.120Z" },
        });
        assert_eq!(stats(&status, &clock), expected);

        let status = ChildStatus {
            state: ChildState::Stopped,
            restarts: 0,
            last_exit: None,
        };
        let expected = json!({
            "state": "stopped", "pid": null, "uptime": 0, "restarts": 0, "lastExit": null,
        });
        assert_eq!(stats(&status, &clock), expected);
    }
}
