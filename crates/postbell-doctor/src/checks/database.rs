//! The databases: servers reachable, with settings that keep what was acknowledged, and not slowed down by a
//! forgotten transaction; files with space on their disk.

use postbell_core::{DatabaseState, OldSnapshot, SynchronousStandby};

use crate::checker::Checker;
use crate::facts::{DatabaseFacts, DatabaseProblem};
use crate::report::CheckResult;
use crate::times::duration;

const STANDBY_HINT: &str = "Name a standby in synchronous_standby_names (docs/postgres.md), unless the loss is \
    acceptable.";

/// Returns `None` if there are only files with space on their disk.
pub(crate) fn check(checker: &Checker<'_>) -> Option<CheckResult> {
    let databases = &checker.facts.databases;
    // The worst one is reported: there are two at most.
    databases
        .iter()
        .map(judge)
        .max_by_key(|result| (!result.is_passable(), result.hint.is_some()))
}

fn judge(DatabaseFacts { keys, shown, state }: &DatabaseFacts) -> CheckResult {
    let state = match state {
        Ok(state) => state,
        Err(DatabaseProblem::DiskFull(problem)) => {
            return CheckResult::failed(
                format!("{keys} {shown}: {problem}"),
                "Free space on that disk. Until then, pushes are answered 503, and Google repeats them.",
            );
        }
        Err(DatabaseProblem::Server(problem)) => {
            return CheckResult::failed(
                format!("{keys} {shown}: {problem}"),
                "Correct the server or the URL (docs/postgres.md). Until then, pushes are answered 503, and \
                 Google repeats them.",
            );
        }
    };
    let DatabaseState {
        synchronous_standby,
        old_snapshot,
    } = state;
    let standby = match synchronous_standby {
        SynchronousStandby::Missing => {
            return CheckResult::failed(
                format!(
                    "{keys} {shown}: writes wait for a synchronous standby, and none or not enough of them confirm \
                     them, so pushes are answered 503"
                ),
                "Start a standby, or change synchronous_standby_names (docs/postgres.md). Google repeats the pushes.",
            );
        }
        SynchronousStandby::None => Some(CheckResult::warning(
            format!(
                "{keys} {shown}: synchronous_standby_names is empty, so what was acknowledged is lost with \
                 this server's disk"
            ),
            STANDBY_HINT,
        )),
        SynchronousStandby::Connected => None,
    };
    let snapshot = old_snapshot
        .as_ref()
        .map(|snapshot| slowed_down(keys, snapshot));
    let warnings = snapshot.into_iter().chain(standby);
    let all = warnings.reduce(|first, second| {
        let hints = [first.hint, second.hint].into_iter().flatten();
        CheckResult::warning(
            format!("{}; {}", first.detail, second.detail),
            hints.collect::<Vec<_>>().join(" "),
        )
    });
    all.unwrap_or_else(|| {
        CheckResult::ok(format!("{keys} {shown}, whose commits wait for a standby"))
    })
}

fn slowed_down(keys: &str, snapshot: &OldSnapshot) -> CheckResult {
    let OldSnapshot { pid, session, age } = snapshot;
    let age = duration(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    CheckResult::warning(
        format!(
            "{keys}: a transaction of {age} ({session}, pid {pid}) keeps deleted rows, which slows the queue \
             down"
        ),
        format!(
            "End it: `SELECT pg_terminate_backend({pid})`; and set idle_in_transaction_session_timeout on the \
             server."
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::Status;

    fn facts(state: Result<DatabaseState, DatabaseProblem>) -> DatabaseFacts {
        DatabaseFacts {
            keys: "relay.inbox",
            shown: "postgres://h/db".to_owned(),
            state,
        }
    }

    #[test]
    fn a_server_is_judged_by_its_worst_trait() {
        let snapshot = OldSnapshot {
            pid: 7,
            session: "psql as ann".to_owned(),
            age: Duration::from_secs(17 * 60),
        };
        let state = |synchronous_standby, old_snapshot| {
            Ok(DatabaseState {
                synchronous_standby,
                old_snapshot,
            })
        };
        let (connected, none) = (SynchronousStandby::Connected, SynchronousStandby::None);
        let old = "17 minutes (psql as ann, pid 7)";
        for (state, status, words) in [
            (state(connected, None), Status::Ok, "postgres://h/db"),
            (
                state(none, None),
                Status::Warning,
                "synchronous_standby_names",
            ),
            (
                state(connected, Some(snapshot.clone())),
                Status::Warning,
                old,
            ),
            (state(none, Some(snapshot.clone())), Status::Warning, old),
            (
                state(none, Some(snapshot)),
                Status::Warning,
                "synchronous_standby_names",
            ),
            (
                state(SynchronousStandby::Missing, None),
                Status::Failed,
                "answered 503",
            ),
            (
                Err(DatabaseProblem::DiskFull("0 bytes are free".to_owned())),
                Status::Failed,
                "0 bytes are free",
            ),
            (
                Err(DatabaseProblem::Server("it is away".to_owned())),
                Status::Failed,
                "it is away",
            ),
        ] {
            let result = judge(&facts(state));
            assert_eq!(result.status, status, "{result:?}");
            assert!(result.detail.contains(words), "{result:?}");
        }
    }
}
