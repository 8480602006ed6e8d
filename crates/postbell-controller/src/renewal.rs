//! Renews the Gmail watch if the watcher is `gog`, which does not renew it itself.

use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::{Backoff, Clock, wait_for};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::processes::Processes;
use crate::supervisor::{Child, ChildSpec, ExitCause, Process};

/// From the watcher's start to the first renewal.
const FIRST_RENEWAL: Duration = Duration::from_secs(60 * 60);

/// A watch expires after seven days; Google recommends a renewal every day
/// (<https://developers.google.com/workspace/gmail/api/guides/push>).
const RENEWAL_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The waits after failures: a machine that has just woken often has no network yet.
const FIRST_RETRY: Duration = Duration::from_secs(5 * 60);
const LONGEST_RETRY: Duration = Duration::from_secs(60 * 60);

const RENEWAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Renews while the watcher runs, until `stop` is cancelled. A restart of the watcher restarts the
/// schedule. `renew` returns whether it succeeded.
pub(crate) async fn keep_renewing<F: Future<Output = bool>>(
    watcher: Child,
    renew: impl Fn() -> F,
    clock: &dyn Clock,
    stop: CancellationToken,
) {
    let renewing = async {
        while let Some(process) = watcher.running().await {
            let exited = watcher.wait_for(|status| status.state.running() != Some(process));
            tokio::select! {
                _ = exited => {}
                () = on_schedule(&renew, clock) => {}
            }
        }
    };
    stop.run_until_cancelled(renewing).await;
}

async fn on_schedule<F: Future<Output = bool>>(renew: impl Fn() -> F, clock: &dyn Clock) {
    let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    wait_for(clock, FIRST_RENEWAL).await;
    loop {
        let wait = if renew().await {
            backoff.reset();
            RENEWAL_INTERVAL
        } else {
            let wait = backoff.next_wait();
            warn!(?wait, "The watch was not renewed; retrying");
            wait
        };
        wait_for(clock, wait).await;
    }
}

/// Runs the present renewal command once, if there is one. It is killed after a time-out. Returns whether nothing failed.
pub(crate) async fn run_if_any(command: &Mutex<Option<ChildSpec>>, processes: &Processes) -> bool {
    let command = command.lock().clone();
    match command {
        Some(command) => run_until(&command, processes, sleep(RENEWAL_TIMEOUT)).await,
        None => true,
    }
}

async fn run_until(
    command: &ChildSpec,
    processes: &Processes,
    limit: impl Future<Output = ()>,
) -> bool {
    let renewed = async {
        let mut process = Process::start(command, processes).await?;
        Ok::<_, std::io::Error>(process.exited().await)
    };
    tokio::select! {
        renewed = renewed => match renewed {
            Ok(ExitCause { code: Some(0), .. }) => {
                info!("Renewed the watch");
                return true;
            }
            Ok(ExitCause { code, signal }) => warn!(
                code,
                signal,
                "Could not renew the watch; the lines above have the reason"
            ),
            Err(error) => warn!(%error, "Could not start the renewal command"),
        },
        () = limit => warn!("The renewal of the watch took too long and was killed"),
    }
    false
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use postbell_core::Timestamp;
    use postbell_testkit::PausedClock;
    use tokio::sync::watch;
    use tokio::task::yield_now;

    use super::*;
    use crate::Variables;
    use crate::supervisor::{ChildState, ChildStatus, RunningProcess};

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const MINUTE: Duration = Duration::from_secs(60);

    /// A watcher whose state the test sets, and the number of renewals.
    struct Fixture {
        status: watch::Sender<ChildStatus>,
        renewals: Cell<u32>,
        /// Whether renewals fail.
        is_offline: Cell<bool>,
        clock: PausedClock,
    }

    impl Fixture {
        /// Runs `scenario` and then 30 more hours. Returns the number of renewals.
        async fn renewals_during(scenario: impl AsyncFnOnce(&Self, &CancellationToken)) -> u32 {
            let (watcher, _commands, status) = Child::new(ChildSpec::unset("watcher", None));
            let renewals = Cell::new(0);
            let clock = PausedClock::starting_at(Timestamp::default());
            let fixture = Self {
                status,
                renewals,
                is_offline: Cell::new(false),
                clock,
            };
            let renew = async || {
                fixture.renewals.set(fixture.renewals.get() + 1);
                !fixture.is_offline.get()
            };
            let stop = CancellationToken::new();
            let renewing = keep_renewing(watcher, renew, &fixture.clock, stop.clone());
            tokio::join!(renewing, async {
                scenario(&fixture, &stop).await;
                sleep(30 * HOUR).await;
                stop.cancel();
            });
            fixture.renewals.get()
        }

        fn set_running(&self, pid: i32) {
            let since = Duration::ZERO;
            self.set(ChildState::Running(RunningProcess { pid, since }));
        }

        fn set(&self, state: ChildState) {
            self.status.send_modify(|status| status.state = state);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_no_renewal_before_the_watcher_runs() {
        let renewals = Fixture::renewals_during(async |_, _| sleep(30 * HOUR).await).await;
        assert_eq!(renewals, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_renewal_is_after_an_hour_and_then_there_is_one_a_day() {
        Fixture::renewals_during(async |fixture, _| {
            fixture.set_running(1);
            sleep(HOUR - MINUTE).await;
            assert_eq!(fixture.renewals.get(), 0);
            sleep(2 * MINUTE).await;
            assert_eq!(fixture.renewals.get(), 1);
            sleep(24 * HOUR).await;
            assert_eq!(fixture.renewals.get(), 2);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_hours_of_a_machine_that_sleeps_count() {
        Fixture::renewals_during(async |fixture, _| {
            fixture.set_running(1);
            for (asleep, renewals) in [(HOUR, 1), (12 * HOUR, 1), (12 * HOUR, 2), (24 * HOUR, 3)] {
                sleep(Duration::from_secs(1)).await;
                fixture.clock.sleep(asleep);
                sleep(MINUTE).await;
                assert_eq!(fixture.renewals.get(), renewals);
            }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_renewal_is_repeated_until_there_is_a_network() {
        Fixture::renewals_during(async |fixture, _| {
            fixture.set_running(1);
            fixture.is_offline.set(true);
            sleep(HOUR + MINUTE).await;
            assert_eq!(fixture.renewals.get(), 1);
            for (wait, renewals) in [(5, 2), (10, 3), (20, 4), (40, 5), (60, 6), (60, 7)] {
                sleep(wait * MINUTE - 2 * MINUTE).await;
                assert_eq!(fixture.renewals.get(), renewals - 1);
                sleep(2 * MINUTE).await;
                assert_eq!(fixture.renewals.get(), renewals);
            }
            fixture.is_offline.set(false);
            sleep(HOUR).await;
            assert_eq!(fixture.renewals.get(), 8);
            sleep(23 * HOUR).await;
            assert_eq!(fixture.renewals.get(), 8);
            // The next failure is the first one again.
            fixture.is_offline.set(true);
            sleep(HOUR).await;
            assert_eq!(fixture.renewals.get(), 9);
            sleep(6 * MINUTE).await;
            assert_eq!(fixture.renewals.get(), 10);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_restarts_the_schedule() {
        Fixture::renewals_during(async |fixture, _| {
            fixture.set_running(1);
            sleep(HOUR - MINUTE).await;
            fixture.set(ChildState::Crashed);
            fixture.set_running(2);
            sleep(HOUR - MINUTE).await;
            assert_eq!(fixture.renewals.get(), 0);
            sleep(2 * MINUTE).await;
            assert_eq!(fixture.renewals.get(), 1);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_no_renewal_after_the_watcher_or_the_controller_has_stopped() {
        let watcher_stops = Fixture::renewals_during(async |fixture, _| {
            fixture.set_running(1);
            sleep(MINUTE).await;
            fixture.set(ChildState::Stopped);
        });
        assert_eq!(watcher_stops.await, 0);
        let controller_stops = Fixture::renewals_during(async |fixture, stop| {
            fixture.set_running(1);
            sleep(MINUTE).await;
            stop.cancel();
        });
        assert_eq!(controller_stops.await, 0);
    }

    #[tokio::test]
    async fn a_hanging_renewal_is_killed_with_its_descendants() {
        let folder = tempfile::tempdir().unwrap();
        let processes = Processes::new().unwrap();
        let script = "sleep 1000 & echo $! > $F/pid; wait";
        let command = ChildSpec {
            name: "renewal",
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            variables: Variables::default()
                .with("PATH", "/bin:/usr/bin")
                .with("F", folder.path()),
            port: None,
        };
        let pid = async || {
            loop {
                match fs::read_to_string(folder.path().join("pid")) {
                    Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                    _ => yield_now().await,
                }
            }
        };
        // The command has started and takes too long.
        let is_renewed = run_until(&command, &processes, async { drop(pid().await) }).await;
        assert!(!is_renewed);
        let statm = format!("/proc/{}/statm", pid().await);
        let is_alive = || fs::read_to_string(&statm).is_ok_and(|statm| !statm.starts_with("0 "));
        while is_alive() {
            yield_now().await;
        }
    }

    #[test]
    fn times_match_the_protocol() {
        assert_eq!((FIRST_RENEWAL, RENEWAL_INTERVAL), (HOUR, 24 * HOUR));
        assert_eq!(RENEWAL_TIMEOUT, Duration::from_secs(30));
    }
}
