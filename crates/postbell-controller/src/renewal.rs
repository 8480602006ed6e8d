//! Renews the watch of a watcher that does not do so by itself: `gog`.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::processes::Processes;
use crate::supervisor::{Child, ChildSpec, Ended, Process};

/// From the watcher's start to the first renewal.
const FIRST: Duration = Duration::from_secs(60 * 60);

/// Between renewals. A watch ends after seven days, and Google recommends a day
/// (<https://developers.google.com/workspace/gmail/api/guides/push>).
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a renewal may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Renews as long as the watcher runs, until `stop` is cancelled. A watcher that is started again
/// begins the schedule again.
pub(crate) async fn keep_renewing<F: Future<Output = ()>>(
    watcher: Child,
    renew: impl Fn() -> F,
    stop: CancellationToken,
) {
    let renewing = async {
        while let Some(alive) = watcher.running().await {
            let ended = watcher.wait_for(|status| status.state.running() != Some(alive));
            tokio::select! {
                _ = ended => {}
                () = on_schedule(&renew) => {}
            }
        }
    };
    stop.run_until_cancelled(renewing).await;
}

async fn on_schedule<F: Future<Output = ()>>(renew: impl Fn() -> F) {
    sleep(FIRST).await;
    loop {
        renew().await;
        sleep(EVERY).await;
    }
}

/// Runs the command that renews, once. It is killed where it takes too long.
pub(crate) async fn run(command: &ChildSpec, processes: &Processes) {
    run_until(command, processes, sleep(LIMIT)).await;
}

async fn run_until(command: &ChildSpec, processes: &Processes, limit: impl Future<Output = ()>) {
    let renewed = async {
        let mut process = Process::start(command, processes).await?;
        Ok::<_, std::io::Error>(process.ended().await)
    };
    tokio::select! {
        renewed = renewed => match renewed {
            Ok(Ended { code: Some(0), .. }) => info!("Renewed the watch"),
            Ok(Ended { code, signal }) => warn!(
                code,
                signal,
                "Could not renew the watch: it is tried again in a day; the lines before say why"
            ),
            Err(error) => warn!(%error, "Could not start the renewal of the watch"),
        },
        () = limit => warn!("The renewal of the watch took too long, and was ended"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use tokio::sync::watch;
    use tokio::task::yield_now;

    use super::*;
    use crate::Variables;
    use crate::supervisor::{Alive, ChildState, ChildStatus};

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const MINUTE: Duration = Duration::from_secs(60);

    /// A watcher whose state the test sets, and how often it was renewed.
    struct World {
        tell: watch::Sender<ChildStatus>,
        renewals: Cell<u32>,
    }

    impl World {
        /// Renews a watcher while `life` goes on, and then a day more.
        async fn while_living(life: impl AsyncFnOnce(&Self, &CancellationToken)) -> u32 {
            let (watcher, _orders, tell) = Child::new();
            let renewals = Cell::new(0);
            let world = Self { tell, renewals };
            let renew = async || world.renewals.set(world.renewals.get() + 1);
            let stop = CancellationToken::new();
            let renewing = keep_renewing(watcher, renew, stop.clone());
            tokio::join!(renewing, async {
                life(&world, &stop).await;
                sleep(30 * HOUR).await;
                stop.cancel();
            });
            world.renewals.get()
        }

        fn runs_as(&self, pid: i32) {
            let since = Duration::ZERO;
            self.is(ChildState::Running(Alive { pid, since }));
        }

        fn is(&self, state: ChildState) {
            self.tell.send_modify(|status| status.state = state);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_renewed_before_the_watcher_runs() {
        let renewals = World::while_living(async |_, _| sleep(30 * HOUR).await).await;
        assert_eq!(renewals, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_comes_after_an_hour_and_then_one_a_day() {
        World::while_living(async |world, _| {
            world.runs_as(1);
            sleep(HOUR - MINUTE).await;
            assert_eq!(world.renewals.get(), 0);
            sleep(2 * MINUTE).await;
            assert_eq!(world.renewals.get(), 1);
            sleep(24 * HOUR).await;
            assert_eq!(world.renewals.get(), 2);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_start_replaces_the_first() {
        World::while_living(async |world, _| {
            world.runs_as(1);
            sleep(HOUR - MINUTE).await;
            world.is(ChildState::Crashed);
            world.runs_as(2);
            sleep(HOUR - MINUTE).await;
            assert_eq!(world.renewals.get(), 0);
            sleep(2 * MINUTE).await;
            assert_eq!(world.renewals.get(), 1);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_ticks_after_the_watcher_or_the_controller_has_stopped() {
        let watcher_stops = World::while_living(async |world, _| {
            world.runs_as(1);
            sleep(MINUTE).await;
            world.is(ChildState::Stopped);
        });
        assert_eq!(watcher_stops.await, 0);
        let controller_stops = World::while_living(async |world, stop| {
            world.runs_as(1);
            sleep(MINUTE).await;
            stop.cancel();
        });
        assert_eq!(controller_stops.await, 0);
    }

    #[tokio::test]
    async fn a_renewal_that_hangs_is_ended_with_what_it_started() {
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
        };
        let pid = async || {
            loop {
                match fs::read_to_string(folder.path().join("pid")) {
                    Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                    _ => yield_now().await,
                }
            }
        };
        // It has begun, and takes too long.
        run_until(&command, &processes, async { drop(pid().await) }).await;
        let statm = format!("/proc/{}/statm", pid().await);
        let lives = || fs::read_to_string(&statm).is_ok_and(|statm| !statm.starts_with("0 "));
        while lives() {
            yield_now().await;
        }
    }

    #[test]
    fn the_times_are_those_of_the_contract() {
        assert_eq!((FIRST, EVERY), (HOUR, 24 * HOUR));
        assert_eq!(LIMIT, Duration::from_secs(30));
    }
}
