//! Which APIs a project uses
//! (<https://cloud.google.com/service-usage/docs/reference/rest/v1/services>).

use serde::Deserialize;
use serde_json::json;

use super::{Api, CloudError, Operation};

/// The APIs of projects.
#[derive(Clone)]
pub struct Services(Api);

#[derive(Deserialize)]
struct States {
    #[serde(default)]
    services: Vec<State>,
}

#[derive(Deserialize)]
struct State {
    #[serde(default)]
    name: String,
    #[serde(default)]
    state: String,
}

impl Services {
    /// APIs, by way of `api`.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self(api)
    }

    /// Which of these APIs are not enabled in a project.
    ///
    /// # Errors
    ///
    /// [`CloudError`], as of every call.
    pub async fn disabled(
        &self,
        project: &str,
        wanted: &[&'static str],
    ) -> Result<Vec<&'static str>, CloudError> {
        let names = wanted.iter();
        let names: Vec<_> = names
            .map(|service| format!("names=projects/{project}/services/{service}"))
            .collect();
        let path = format!(
            "v1/projects/{project}/services:batchGet?{}",
            names.join("&")
        );
        let States { services } = self.0.get(&path).await?;
        let is_enabled = |service: &str| {
            let is_it = |one: &State| one.name.rsplit('/').next() == Some(service);
            let mut found = services.iter().filter(|one| is_it(one));
            found.any(|one| one.state == "ENABLED")
        };
        let disabled = wanted.iter().filter(|service| !is_enabled(service));
        Ok(disabled.copied().collect())
    }

    /// Begins to enable APIs, 20 of them at most.
    pub async fn enable(&self, project: &str, services: &[&str]) -> Result<Operation, CloudError> {
        let path = format!("v1/projects/{project}/services:batchEnable");
        let body = json!({ "serviceIds": services });
        self.0.post(&path, body).await
    }

    /// Looks at an operation again.
    pub async fn look(&self, operation: &Operation) -> Result<Operation, CloudError> {
        operation.look(&self.0, "v1").await
    }

    /// Disables an API, unless another one that is enabled needs it.
    pub async fn disable(&self, project: &str, service: &str) -> Result<(), CloudError> {
        let path = format!("v1/projects/{project}/services/{service}:disable");
        self.0.post::<Operation>(&path, json!({})).await.map(drop)
    }

    /// Makes the account in which Pub/Sub acts for a project, unless it is there
    /// (<https://docs.cloud.google.com/service-usage/docs/reference/rest/v1beta1/services/generateServiceIdentity>).
    pub async fn make_pubsub_agent(&self, project: &str) -> Result<Operation, CloudError> {
        let path = format!(
            "v1beta1/projects/{project}/services/pubsub.googleapis.com:generateServiceIdentity"
        );
        self.0.post(&path, json!({})).await
    }

    /// Looks again at an operation that made an agent.
    pub async fn look_at_agent(&self, operation: &Operation) -> Result<Operation, CloudError> {
        operation.look(&self.0, "v1beta1").await
    }
}
