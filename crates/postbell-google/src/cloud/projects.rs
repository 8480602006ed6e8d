//! Projects (<https://cloud.google.com/resource-manager/reference/rest/v3/projects>).

use serde::Deserialize;
use serde_json::json;
use url::form_urlencoded;

use super::{Api, CloudError, Operation};

/// How many pages of projects are read: whoever has more names the one that is meant.
const MOST_PAGES: usize = 5;

/// The projects of those whom the API is called for.
#[derive(Clone)]
pub struct Projects(Api);

/// A project.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Project {
    /// `projects/` and its number.
    name: String,
    /// What people call it by in URLs and names.
    pub project_id: String,
    /// What it is called on pages.
    #[serde(default)]
    pub display_name: String,
    /// `ACTIVE`, or on its way out.
    #[serde(default)]
    pub state: String,
}

impl Project {
    /// Its number.
    #[must_use]
    pub fn number(&self) -> &str {
        self.name.trim_start_matches("projects/")
    }

    /// Whether it can be worked with.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state == "ACTIVE"
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    projects: Vec<Project>,
    #[serde(default)]
    next_page_token: String,
}

#[derive(Deserialize)]
struct Permissions {
    #[serde(default)]
    permissions: Vec<String>,
}

impl Projects {
    /// Projects, by way of `api`.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self(api)
    }

    /// A project by its id or number. Google does not tell one that is not there from one that may
    /// not be seen: both are [`RefusalKind::PermissionDenied`](super::RefusalKind).
    ///
    /// # Errors
    ///
    /// [`CloudError`], as of every call.
    pub async fn get(&self, id: &str) -> Result<Project, CloudError> {
        self.0.get(&format!("v3/projects/{id}")).await
    }

    /// Active projects that the caller may see, some hundred of them at most.
    pub async fn search(&self) -> Result<Vec<Project>, CloudError> {
        let mut found = Vec::new();
        let mut token = String::new();
        for _ in 0..MOST_PAGES {
            let token_text: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
            let path = format!("v3/projects:search?pageSize=100&pageToken={token_text}");
            let page: Page = self.0.get(&path).await?;
            found.extend(page.projects.into_iter().filter(Project::is_active));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    /// Begins to make a project.
    pub async fn create(&self, id: &str, name: &str) -> Result<Operation, CloudError> {
        let body = json!({ "projectId": id, "displayName": name });
        self.0.post("v3/projects", body).await
    }

    /// Looks at an operation again.
    pub async fn look(&self, operation: &Operation) -> Result<Operation, CloudError> {
        operation.look(&self.0, "v3").await
    }

    /// Begins to delete a project and everything in it, which can be taken back for 30 days.
    pub async fn delete(&self, id: &str) -> Result<(), CloudError> {
        self.0.delete(&format!("v3/projects/{id}")).await.map(drop)
    }

    /// Which of these permissions the caller lacks in a project.
    pub async fn lacking(
        &self,
        id: &str,
        wanted: &[&'static str],
    ) -> Result<Vec<&'static str>, CloudError> {
        let path = format!("v3/projects/{id}:testIamPermissions");
        let body = json!({ "permissions": wanted });
        let Permissions { permissions } = self.0.post(&path, body).await?;
        let lacks = |one: &&&str| !permissions.iter().any(|has| has == **one);
        Ok(wanted.iter().filter(lacks).copied().collect())
    }
}
