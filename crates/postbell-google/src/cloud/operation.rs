//! What takes its time (<https://cloud.google.com/service-usage/docs/reference/rest/v1/operations>).

use serde::Deserialize;
use serde_json::Value;

use super::{Api, CloudError};

/// Something that Google has begun, and that may have ended since.
#[derive(Clone, Debug, Deserialize)]
pub struct Operation {
    #[serde(default)]
    name: String,
    #[serde(default)]
    done: bool,
    error: Option<Value>,
}

impl Operation {
    /// Whether it has ended, with success.
    ///
    /// # Errors
    ///
    /// [`CloudError`] where it has failed.
    pub fn is_done(&self) -> Result<bool, CloudError> {
        match &self.error {
            Some(error) if self.done => Err(CloudError::of_operation(error.clone())),
            _ => Ok(self.done),
        }
    }

    /// Looks at it again. Where it is not known any more it has ended long ago.
    pub(super) async fn look(&self, api: &Api, version: &str) -> Result<Self, CloudError> {
        api.get(&format!("{version}/{}", self.name)).await
    }
}
