//! The watcher's state in memory and on disk.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use postbell_core::Clock;
use postbell_protocol::watch_state::WatchState;
use tokio::sync::{Mutex, MutexGuard};
use tracing::{error, warn};

use crate::state_file::{StateError, StateFile};

/// The state of one account's watch: the state in memory is that of the file, or newer.
pub(crate) struct StateStore {
    file: Arc<StateFile>,
    clock: Arc<dyn Clock>,
    state: Mutex<WatchState>,
}

/// Exclusive access to the state. A sync holds it until its end.
pub(crate) struct LockedState<'a> {
    store: &'a StateStore,
    state: MutexGuard<'a, WatchState>,
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
        Ok(Self {
            file: Arc::new(file),
            clock,
            state: Mutex::new(state),
        })
    }

    pub(crate) async fn lock(&self) -> LockedState<'_> {
        LockedState {
            store: self,
            state: self.state.lock().await,
        }
    }
}

impl LockedState<'_> {
    /// Writes the state; it survives a power failure.
    pub(crate) async fn save(&mut self) -> Result<(), StateError> {
        self.write(StateFile::write).await
    }

    /// Writes the state; a power failure may bring the previous one back.
    pub(crate) async fn save_without_sync(&mut self) -> Result<(), StateError> {
        self.write(StateFile::write_without_sync).await
    }

    /// Stores the problem that stops the watcher until a person acts; empty if there is none.
    pub(crate) async fn set_problem(&mut self, problem: &str) {
        if self.problem == problem {
            return;
        }
        problem.clone_into(&mut self.problem);
        if !problem.is_empty() {
            error!(problem, "The watcher cannot work until a person acts");
        }
        if let Err(error) = self.save().await {
            let error = &error as &dyn std::error::Error;
            warn!(error, "Could not write the state");
        }
    }

    /// Writes on a thread that may block.
    async fn write(
        &mut self,
        write: fn(&StateFile, &WatchState) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        self.state.updated_at_ms = self.store.clock.now().as_millis();
        let (file, copy) = (Arc::clone(&self.store.file), self.state.clone());
        let written = tokio::task::spawn_blocking(move || write(&file, &copy)).await;
        match written {
            Ok(written) => written,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

impl Deref for LockedState<'_> {
    type Target = WatchState;

    fn deref(&self) -> &WatchState {
        &self.state
    }
}

impl DerefMut for LockedState<'_> {
    fn deref_mut(&mut self) -> &mut WatchState {
        &mut self.state
    }
}
