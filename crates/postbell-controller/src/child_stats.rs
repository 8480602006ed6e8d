//! The JSON representation of a child's status.

use postbell_core::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::supervisor::{ChildStatus, Exit};

/// Returns a child's status as JSON (protocol, section 4).
pub(crate) fn stats(status: &ChildStatus, clock: &dyn Clock) -> Value {
    let process = status.state.process();
    let uptime = process.map(|process| clock.elapsed().saturating_sub(process.since));
    json!({
        "state": status.state.as_str(),
        "pid": process.map(|process| process.pid),
        "uptime": uptime.unwrap_or_default().as_secs(),
        "restarts": status.restarts,
        "lastExit": status.last_exit.map(last_exit),
    })
}

fn last_exit(Exit { code, signal, at }: Exit) -> Value {
    json!({ "code": code, "signal": signal, "at": iso_8601(at) })
}

/// Formats a time as JavaScript's `toISOString` does, which KiloClaw's platform expects.
fn iso_8601(at: Timestamp) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
    Some(format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postbell_testkit::PausedClock;

    use super::*;
    use crate::supervisor::{ChildState, RunningProcess};

    #[tokio::test(start_paused = true)]
    async fn stats_match_the_protocol() {
        let clock = PausedClock::starting_at(Timestamp::default());
        tokio::time::sleep(Duration::from_millis(7_900)).await;
        let process = RunningProcess {
            pid: 42,
            since: Duration::from_secs(2),
        };
        let crash = Exit {
            code: None,
            signal: Some("SIGKILL"),
            at: Timestamp::from_millis(1_790_000_000_120),
        };
        let status = ChildStatus {
            state: ChildState::Running(process),
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
