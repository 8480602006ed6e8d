//! Work of which one run is in progress at a time, and which callers may stop waiting for without ending it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::failure::Failure;

type Outcome = Option<Result<(), Arc<Failure>>>;

/// The last run.
#[derive(Default)]
pub(super) struct SingleFlight(Mutex<Option<watch::Receiver<Outcome>>>);

impl SingleFlight {
    /// Starts the work unless it is in progress, and waits for its end, but no longer than `limit`.
    ///
    /// # Errors
    ///
    /// Its failure, or `too_long`.
    pub(super) async fn run<F>(
        &self,
        work: impl FnOnce() -> F,
        limit: Duration,
        too_long: &'static str,
    ) -> Result<(), Failure>
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let mut run = self.join(work);
        let ended = timeout(limit, run.wait_for(Option::is_some)).await;
        match ended {
            Ok(Ok(outcome)) => match &*outcome {
                Some(Err(failure)) => Err(Failure::Group(Arc::clone(failure))),
                _ => Ok(()),
            },
            // The runtime of the one who started it has ended.
            Ok(Err(_)) => Err(Failure::Overloaded("the work was not done")),
            Err(_) => Err(Failure::TimedOut(too_long)),
        }
    }

    fn join<F>(&self, work: impl FnOnce() -> F) -> watch::Receiver<Outcome>
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = &*last
            && run.borrow().is_none()
            && run.has_changed().is_ok()
        {
            return run.clone();
        }
        let (ended, run) = watch::channel(None);
        let work = work();
        spawn(async move {
            let outcome = work.await.map_err(Arc::new);
            ended.send_replace(Some(outcome));
        });
        *last = Some(run.clone());
        run
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the work limits its own time, and goes on when the caller who started it gives up"
)]
fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work);
}
