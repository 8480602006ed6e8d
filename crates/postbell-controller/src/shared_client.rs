//! The HTTP client for the platform, created at its first use.

use std::error::Error;

use parking_lot::Mutex;
use postbell_core::BoxError;
use reqwest::Client;
use tokio::sync::OnceCell;
use tracing::warn;

type MakeClient = dyn FnOnce() -> Result<Client, BoxError> + Send;

/// The HTTP client for the platform.
pub struct SharedClient {
    make: Mutex<Option<Box<MakeClient>>>,
    made: OnceCell<Option<Client>>,
}

impl SharedClient {
    /// Creates it with `make`, which blocks: reading the system's certificates takes longer than the rest of the
    /// start.
    #[must_use]
    pub fn new(make: impl FnOnce() -> Result<Client, BoxError> + Send + 'static) -> Self {
        Self {
            make: Mutex::new(Some(Box::new(make))),
            made: OnceCell::new(),
        }
    }

    /// Returns the client, or `None` if it cannot be made, which is logged once.
    pub(crate) async fn get(&self) -> Option<Client> {
        self.made.get_or_init(|| self.make()).await.clone()
    }

    async fn make(&self) -> Option<Client> {
        let make = self.make.lock().take()?;
        let error: Box<dyn Error> = match tokio::task::spawn_blocking(make).await {
            Ok(Ok(client)) => return Some(client),
            Ok(Err(error)) => error,
            Err(panic) => panic.into(),
        };
        warn!(error = &*error, "No request can be sent to the platform");
        None
    }
}
