//! Renews the watch of a watcher that does not do so by itself: `gog`.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::processes::Processes;
use crate::supervisor::{Alive, Child, ChildSpec, ChildStatus, Process};

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
        loop {
            let runs = watcher.wait_for(|status| running(status).is_some()).await;
            let Some(alive) = running(&runs) else {
                // Its supervisor has ended.
                return;
            };
            let ended = watcher.wait_for(|status| running(status) != Some(alive));
            tokio::select! {
                _ = ended => {}
                () = on_schedule(&renew) => {}
            }
        }
    };
    stop.run_until_cancelled(renewing).await;
}

fn running(status: &ChildStatus) -> Option<Alive> {
    status.state.running()
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
    run_within(command, processes, LIMIT).await;
}

async fn run_within(command: &ChildSpec, processes: &Processes, limit: Duration) {
    let renewed = async {
        let mut process = Process::start(command, processes).await?;
        Ok::<_, std::io::Error>(process.ended().await)
    };
    match timeout(limit, renewed).await {
        Ok(Ok(ended)) if ended.code == Some(0) => info!("Renewed the watch"),
        Ok(Ok(ended)) => warn!(
            code = ended.code,
            signal = ended.signal,
            "Could not renew the watch: it is tried again in a day; the lines before say why"
        ),
        Ok(Err(error)) => warn!(%error, "Could not start the renewal of the watch"),
        Err(_) => warn!("The renewal of the watch took too long, and was ended"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::supervisor::ChildState;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const MINUTE: Duration = Duration::from_secs(60);

    fn running(pid: i32) -> ChildState {
        let since = Duration::ZERO;
        ChildState::Running(Alive { pid, since })
    }

    #[tokio::test(start_paused = true)]
    async fn first_after_an_hour_then_every_day_while_the_watcher_runs() {
        let (watcher, _orders, tell) = Child::new();
        let set = |state| tell.send_modify(|status| status.state = state);
        let renewals = Cell::new(0);
        let renew = async || renewals.set(renewals.get() + 1);
        let stop = CancellationToken::new();
        let life = async {
            sleep(30 * HOUR).await;
            assert_eq!(renewals.get(), 0, "it starts only after the watcher did");
            set(running(1));
            sleep(HOUR - MINUTE).await;
            assert_eq!(renewals.get(), 0);
            sleep(2 * MINUTE).await;
            assert_eq!(renewals.get(), 1);
            sleep(24 * HOUR).await;
            assert_eq!(renewals.get(), 2);
            // A second start replaces the first.
            set(ChildState::Crashed);
            set(running(2));
            sleep(HOUR - MINUTE).await;
            assert_eq!(renewals.get(), 2);
            sleep(2 * MINUTE).await;
            assert_eq!(renewals.get(), 3);
            set(ChildState::Stopped);
            sleep(30 * HOUR).await;
            assert_eq!(renewals.get(), 3, "something ticks after the stop");
            set(running(3));
            stop.cancel();
            sleep(30 * HOUR).await;
        };
        tokio::join!(keep_renewing(watcher, renew, stop.clone()), life);
        assert_eq!(renewals.get(), 3);
    }

    #[tokio::test]
    async fn a_renewal_that_hangs_is_ended_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let processes = Processes::new(None).unwrap();
        let script = "sleep 1000 & echo $! > $F/pid; wait";
        let command = ChildSpec {
            name: "renewal",
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            variables: crate::Variables::default()
                .with("PATH", "/bin:/usr/bin")
                .with("F", folder.path()),
        };
        run_within(&command, &processes, Duration::from_millis(200)).await;
        // It may have been ended before it had begun.
        if let Ok(pid) = std::fs::read_to_string(folder.path().join("pid")) {
            let statm = format!("/proc/{}/statm", pid.trim());
            let lives =
                || std::fs::read_to_string(&statm).is_ok_and(|statm| !statm.starts_with("0 "));
            while lives() {
                tokio::task::yield_now().await;
            }
        }
    }
}
