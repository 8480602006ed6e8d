//! The long-running tasks of a process.

use std::time::Duration;

use tokio::time::{error::Elapsed, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, info_span};

/// The long-running tasks of this process, which are stopped together.
///
/// A clone is a handle to the same tasks. Relies on unwinding: keep `panic = "unwind"`.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Returns an empty set of tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task. If it ends or panics before a stop is requested, all others are stopped, too.
    pub fn start<F>(&self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = task(self.stop.child_token());
        let stops_the_rest = self.stop.clone().drop_guard();
        let watched = async move {
            let _stops_the_rest = stops_the_rest;
            task.await;
        };
        let span = info_span!("task", name);
        self.tracker.spawn(watched.instrument(span));
    }

    /// Requests that every task stops, without waiting.
    pub fn request_stop(&self) {
        self.stop.cancel();
    }

    /// Completes once a stop is requested, or a task has ended early.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Requests that every task stops, and waits for them up to `grace`.
    ///
    /// # Errors
    ///
    /// [`Elapsed`] if tasks still run after `grace`; they are not aborted.
    pub async fn stop(self, grace: Duration) -> Result<(), Elapsed> {
        self.stop.cancel();
        self.tracker.close();
        timeout(grace, self.tracker.wait()).await
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn stop_waits_for_a_task_to_finish() {
        let tasks = Tasks::new();
        let (done, finished) = oneshot::channel();
        tasks.start("worker", |stop| async move {
            stop.cancelled().await;
            done.send("tidied up").unwrap();
        });

        tasks.stop(GRACE).await.unwrap();
        assert_eq!(finished.await, Ok("tidied up"));
    }

    #[tokio::test]
    async fn a_task_that_ends_early_stops_the_rest() {
        let tasks = Tasks::new();
        tasks.start("patient", |stop| async move { stop.cancelled().await });
        tasks.start("hasty", |_stop| async {});

        tasks.stopping().await;
        tasks.stop(GRACE).await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_panics_stops_the_rest() {
        let tasks = Tasks::new();
        tasks.start("clumsy", |_stop| async { panic!("on purpose") });

        tasks.stopping().await;
        tasks.stop(GRACE).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_stop_is_reported_after_the_grace() {
        let tasks = Tasks::new();
        tasks.start("stubborn", |_stop| std::future::pending());

        assert!(tasks.stop(GRACE).await.is_err());
    }
}
