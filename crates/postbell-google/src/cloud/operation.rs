//! Long-running operations
//! (<https://cloud.google.com/service-usage/docs/reference/rest/v1/operations>).

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::{Api, CloudError};

/// A long-running operation, which may have ended.
#[derive(Clone)]
pub struct Operation {
    api: Api,
    version: &'static str,
    state: State,
}

/// An operation's state.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct State {
    #[serde(default)]
    name: String,
    #[serde(default)]
    done: bool,
    error: Option<Value>,
}

impl Operation {
    /// An operation of this version of an API.
    pub(super) fn new(api: Api, version: &'static str, state: State) -> Self {
        Self {
            api,
            version,
            state,
        }
    }

    /// Whether it has succeeded.
    ///
    /// # Errors
    ///
    /// [`CloudError`] if it has failed.
    pub fn is_done(&self) -> Result<bool, CloudError> {
        match &self.state.error {
            Some(error) if self.state.done => Err(CloudError::of_operation(error.clone())),
            _ => Ok(self.state.done),
        }
    }

    /// Reads its state again.
    ///
    /// # Errors
    ///
    /// [`CloudError`], as every call here.
    pub async fn look(&mut self) -> Result<(), CloudError> {
        let path = format!("{}/{}", self.version, self.state.name);
        self.state = self.api.get(&path).await?;
        Ok(())
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.fmt(f)
    }
}
