//! The APIs of projects (<https://cloud.google.com/service-usage/docs/reference/rest/v1/services>).

use serde::Deserialize;
use serde_json::{Value, json};

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
    /// APIs, through `api`.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self(api)
    }

    /// The APIs of these that are not enabled in a project.
    ///
    /// # Errors
    ///
    /// [`CloudError`], as every call here.
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

    /// Begins to enable at most 20 APIs.
    pub async fn enable(&self, project: &str, services: &[&str]) -> Result<Operation, CloudError> {
        let path = format!("v1/projects/{project}/services:batchEnable");
        let body = json!({ "serviceIds": services });
        self.begin("v1", &path, body).await
    }

    /// Begins to disable an API, unless another enabled API depends on it.
    pub async fn disable(&self, project: &str, service: &str) -> Result<Operation, CloudError> {
        let path = format!("v1/projects/{project}/services/{service}:disable");
        self.begin("v1", &path, json!({})).await
    }

    /// Begins to create Pub/Sub's service agent of a project, unless it exists
    /// (<https://docs.cloud.google.com/service-usage/docs/reference/rest/v1beta1/services/generateServiceIdentity>).
    pub async fn make_pubsub_agent(&self, project: &str) -> Result<Operation, CloudError> {
        let path = format!(
            "v1beta1/projects/{project}/services/pubsub.googleapis.com:generateServiceIdentity"
        );
        self.begin("v1beta1", &path, json!({})).await
    }

    async fn begin(
        &self,
        version: &'static str,
        path: &str,
        body: Value,
    ) -> Result<Operation, CloudError> {
        let state = self.0.post(path, body).await?;
        Ok(Operation::new(self.0.clone(), version, state))
    }
}
