//! The watcher's state in memory and on disk.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use postbell_core::{Clock, ProblemCode};
use postbell_protocol::watch_state::{StateError, StateFile, WatchState};
use tokio::sync::{Mutex, MutexGuard, watch};
use tracing::error;

use crate::problems::{Problem, ProblemSource, Problems};

/// The state of one account's watch: the state in memory is that of the file, or newer.
pub(crate) struct StateStore {
    file: Arc<StateFile>,
    clock: Arc<dyn Clock>,
    held: Mutex<Held>,
    changed: watch::Sender<()>,
}

struct Held {
    state: WatchState,
    problems: Problems,
    /// Whether a durable write was left to the next one.
    is_deferred: bool,
}

/// Exclusive access to the state. Held for one change, not for a whole sync: the renewal and the
/// commands for dead letters change the state at the same time.
pub(crate) struct LockedState<'a> {
    store: &'a StateStore,
    held: MutexGuard<'a, Held>,
}

impl StateStore {
    /// Reads the state of `account`.
    pub(crate) fn open(
        file: StateFile,
        account: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StateError> {
        let state = WatchState {
            account: account.to_owned(),
            ..file.read()?
        };
        let problems = Problems::stored_in(&state);
        Ok(Self {
            file: Arc::new(file),
            clock,
            held: Mutex::new(Held {
                state,
                problems,
                is_deferred: false,
            }),
            changed: watch::Sender::default(),
        })
    }

    /// Names the subscription that notifications are pulled from (empty if they are pushed), and this version,
    /// which carries out requests. The next write stores both.
    pub(crate) fn of_watcher(mut self, name: String) -> Self {
        let held = self.held.get_mut();
        env!("CARGO_PKG_VERSION").clone_into(&mut held.state.watcher_version);
        if name != held.state.subscription {
            // Nothing else ends the problem of another subscription.
            held.problems.set(ProblemSource::Pull, None);
        }
        held.state.subscription = name;
        self
    }

    pub(crate) async fn lock(&self) -> LockedState<'_> {
        LockedState {
            store: self,
            held: self.held.lock().await,
        }
    }

    /// A copy of the state.
    pub(crate) async fn snapshot(&self) -> WatchState {
        self.held.lock().await.state.clone()
    }

    /// Announces every write.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The state's file.
    pub(crate) fn file(&self) -> Arc<StateFile> {
        Arc::clone(&self.file)
    }
}

impl LockedState<'_> {
    /// Writes the state; it survives a power failure.
    pub(crate) async fn save(&mut self) -> Result<(), StateError> {
        self.write(StateFile::write).await
    }

    /// Writes the state; a power failure may bring the previous one back, unless a durable write was deferred.
    pub(crate) async fn save_without_sync(&mut self) -> Result<(), StateError> {
        if self.held.is_deferred {
            return self.save().await;
        }
        self.write(StateFile::write_without_sync).await
    }

    /// Leaves a durable write to the next one, which must follow at once.
    pub(crate) fn defer_save(&mut self) {
        self.held.is_deferred = true;
    }

    /// Writes the state if that was deferred, and no write has followed.
    pub(crate) async fn save_deferred(&mut self) -> Result<(), StateError> {
        if self.held.is_deferred {
            return self.save().await;
        }
        Ok(())
    }

    /// Replaces the problem of a part, and stores it if that changes what is shown.
    pub(crate) async fn report(&mut self, source: ProblemSource, problem: Option<Problem>) {
        let before = self.problem_code.clone();
        self.set_problem(source, problem);
        if !self.publish() {
            return;
        }
        if !self.problem_code.is_empty() && self.problem_code != before {
            error!(
                problem = self.problem_code,
                "Mail is not delivered: {}", self.problem
            );
        }
        // A failure is reported by the write itself.
        let _ = self.save().await;
    }

    /// Replaces the problem of a part. The next write stores it.
    pub(crate) fn set_problem(&mut self, source: ProblemSource, problem: Option<Problem>) {
        self.held.problems.set(source, problem);
    }

    /// Forgets a problem that a person has solved. The next write stores it.
    pub(crate) fn forget_problem(&mut self, code: ProblemCode) {
        self.held.problems.forget(code);
    }

    /// Forgets that the grant was revoked. The next write stores it.
    pub(crate) fn grant_is_valid(&mut self) {
        self.held.problems.grant_is_valid();
    }

    fn publish(&mut self) -> bool {
        let now = self.store.clock.now();
        let Held {
            state, problems, ..
        } = &mut *self.held;
        problems.publish(state, now)
    }

    /// Writes on a thread that may block. A failure is a problem until a write succeeds.
    async fn write(
        &mut self,
        write: fn(&StateFile, &WatchState) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        self.held.problems.set(ProblemSource::State, None);
        self.publish();
        self.updated_at_ms = self.store.clock.now().as_millis();
        let (file, copy) = (Arc::clone(&self.store.file), self.held.state.clone());
        let written = blocking(move || write(&file, &copy)).await;
        self.held.is_deferred &= written.is_err();
        if let Err(error) = &written {
            let problem = Problem::new(ProblemCode::StateUnwritable, error.to_string());
            self.held.problems.set(ProblemSource::State, Some(problem));
            self.publish();
            let error = error as &dyn std::error::Error;
            error!(error, "Could not write the watcher's state");
        }
        self.store.changed.send_replace(());
        written
    }
}

impl Deref for LockedState<'_> {
    type Target = WatchState;

    fn deref(&self) -> &WatchState {
        &self.held.state
    }
}

impl DerefMut for LockedState<'_> {
    fn deref_mut(&mut self) -> &mut WatchState {
        &mut self.held.state
    }
}

/// Runs on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panicked) => std::panic::resume_unwind(panicked),
            // The process ends, and drops this task, too.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use postbell_core::{HistoryId, Timestamp};
    use postbell_testkit::PausedClock;

    use super::*;

    const ACCOUNT: &str = "ann@example.com";

    #[tokio::test]
    async fn a_deferred_write_is_made_by_the_next_one_or_when_none_follows() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::open(folder.path(), ACCOUNT).unwrap();
        let clock = Arc::new(PausedClock::starting_at(Timestamp::default()));
        let store = StateStore::open(file, ACCOUNT, clock).unwrap();
        let stored = || {
            let state = StateFile::peek(folder.path(), ACCOUNT).unwrap()?;
            state.history_id.map(HistoryId::get)
        };
        let mut state = store.lock().await;
        state.history_id = Some(HistoryId::new(1));
        state.defer_save();
        assert_eq!(stored(), None);
        state.save_without_sync().await.unwrap();
        assert_eq!(stored(), Some(1));

        state.history_id = Some(HistoryId::new(2));
        state.save_deferred().await.unwrap();
        assert_eq!(stored(), Some(1), "nothing was deferred");
        state.defer_save();
        state.save_deferred().await.unwrap();
        assert_eq!(stored(), Some(2));
    }
}
