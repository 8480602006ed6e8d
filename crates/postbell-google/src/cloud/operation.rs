//! What takes its time (<https://cloud.google.com/service-usage/docs/reference/rest/v1/operations>).

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::{Api, CloudError};

/// Something that Google has begun, and that may have ended since.
#[derive(Clone)]
pub struct Operation {
    api: Api,
    version: &'static str,
    state: State,
}

/// An operation as it was read.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct State {
    #[serde(default)]
    name: String,
    #[serde(default)]
    done: bool,
    error: Option<Value>,
}

impl Operation {
    /// One that an API has begun, which is looked at in this version of it.
    pub(super) fn new(api: Api, version: &'static str, state: State) -> Self {
        Self {
            api,
            version,
            state,
        }
    }

    /// Whether it has ended, with success.
    ///
    /// # Errors
    ///
    /// [`CloudError`] where it has failed.
    pub fn is_done(&self) -> Result<bool, CloudError> {
        match &self.state.error {
            Some(error) if self.state.done => Err(CloudError::of_operation(error.clone())),
            _ => Ok(self.state.done),
        }
    }

    /// Looks at it again.
    ///
    /// # Errors
    ///
    /// [`CloudError`], as of every call.
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
