//! Projects (<https://cloud.google.com/resource-manager/reference/rest/v3/projects>).

use serde::Deserialize;
use serde_json::json;
use url::form_urlencoded;

use super::{Api, CloudError, Operation};

/// The largest number of pages of projects: a user with more must name one.
const MOST_PAGES: usize = 5;

/// The projects of the API's caller.
#[derive(Clone)]
pub struct Projects(Api);

/// A project.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Project {
    /// `projects/` and the project's number.
    name: String,
    /// The project's id.
    pub project_id: String,
    /// The display name.
    #[serde(default)]
    pub display_name: String,
    /// `ACTIVE` or a state of deletion.
    #[serde(default)]
    pub state: String,
}

impl Project {
    /// The project's number.
    #[must_use]
    pub fn number(&self) -> &str {
        self.name.trim_start_matches("projects/")
    }

    /// Whether it is active.
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

impl Projects {
    /// Projects, through `api`.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self(api)
    }

    /// A project by its id or number. A missing and an invisible project are both
    /// [`RefusalKind::PermissionDenied`](super::RefusalKind).
    ///
    /// # Errors
    ///
    /// [`CloudError`], as every call here.
    pub async fn get(&self, id: &str) -> Result<Project, CloudError> {
        self.0.get(&format!("v3/projects/{id}")).await
    }

    /// The caller's active projects, at most some hundred.
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

    /// Begins to create a project.
    pub async fn create(&self, id: &str, name: &str) -> Result<Operation, CloudError> {
        let body = json!({ "projectId": id, "displayName": name });
        let state = self.0.post("v3/projects", body).await?;
        Ok(Operation::new(self.0.clone(), "v3", state))
    }

    /// Begins to delete a project, which can be undone for 30 days.
    pub async fn delete(&self, id: &str) -> Result<(), CloudError> {
        self.0.delete(&format!("v3/projects/{id}")).await.map(drop)
    }
}
