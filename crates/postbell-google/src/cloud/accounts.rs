//! Service accounts
//! (<https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts>).

use serde_json::{Value, json};

use super::{Api, CloudError, Policy, PolicyRead, RefusalKind};

/// The role for creating tokens of an account.
const TOKEN_CREATOR: &str = "roles/iam.serviceAccountTokenCreator";

/// The service accounts of projects.
#[derive(Clone)]
pub struct ServiceAccounts(Api);

/// The address of the account `id` of a project.
#[must_use]
pub fn push_account_email(id: &str, project: &str) -> String {
    format!("{id}@{project}.iam.gserviceaccount.com")
}

/// Pub/Sub's service agent of the project with this number
/// (<https://docs.cloud.google.com/pubsub/docs/authenticate-push-subscriptions>).
fn pubsub_agent(project_number: &str) -> String {
    format!("serviceAccount:service-{project_number}@gcp-sa-pubsub.iam.gserviceaccount.com")
}

impl ServiceAccounts {
    /// Service accounts, through `api`.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self(api)
    }

    /// Whether an account exists.
    ///
    /// # Errors
    ///
    /// [`CloudError`], as every call here.
    pub async fn is_there(&self, project: &str, email: &str) -> Result<bool, CloudError> {
        match self.0.get::<Value>(&path(project, email)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is(RefusalKind::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates an account, and returns whether it was missing.
    pub async fn create(&self, project: &str, id: &str, name: &str) -> Result<bool, CloudError> {
        let path = format!("v1/projects/{project}/serviceAccounts");
        let body = json!({ "accountId": id, "serviceAccount": { "displayName": name } });
        match self.0.post::<Value>(&path, body).await {
            Ok(_) => Ok(true),
            Err(error) if error.is(RefusalKind::AlreadyExists) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes an account, if it exists.
    pub async fn delete(&self, project: &str, email: &str) -> Result<(), CloudError> {
        match self.0.delete(&path(project, email)).await {
            Err(error) if error.is(RefusalKind::NotFound) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Whether Pub/Sub may create tokens of an account.
    pub async fn lets_pubsub_sign(
        &self,
        project: &str,
        number: &str,
        email: &str,
    ) -> Result<bool, CloudError> {
        let resource = path(project, email);
        let policy = self.0.policy(PolicyRead::ByPost, &resource);
        Ok(policy.await?.grants(TOKEN_CREATOR, &pubsub_agent(number)))
    }

    /// Allows Pub/Sub to create tokens of an account, and returns whether that was missing.
    pub async fn let_pubsub_sign(
        &self,
        project: &str,
        number: &str,
        email: &str,
    ) -> Result<bool, CloudError> {
        let agent = pubsub_agent(number);
        self.change(project, email, |policy| policy.add(TOKEN_CREATOR, &agent))
            .await
    }

    /// Undoes that.
    pub async fn stop_pubsub_signing(
        &self,
        project: &str,
        number: &str,
        email: &str,
    ) -> Result<(), CloudError> {
        let agent = pubsub_agent(number);
        let changed = self.change(project, email, |policy| {
            policy.remove(TOKEN_CREATOR, &agent)
        });
        match changed.await {
            Err(error) if error.is(RefusalKind::NotFound) => Ok(()),
            other => other.map(drop),
        }
    }

    async fn change(
        &self,
        project: &str,
        email: &str,
        change: impl Fn(&mut Policy) -> bool,
    ) -> Result<bool, CloudError> {
        let resource = path(project, email);
        self.0
            .change_policy(PolicyRead::ByPost, &resource, change)
            .await
    }
}

fn path(project: &str, email: &str) -> String {
    format!("v1/projects/{project}/serviceAccounts/{email}")
}
