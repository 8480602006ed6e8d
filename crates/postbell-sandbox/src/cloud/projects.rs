//! Resource Manager: projects (<https://cloud.google.com/resource-manager/reference/rest/v3/projects>).

use axum::extract::{Path, Query, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::caller::{Caller, ResourceManagerApi};
use super::{Cloud, CloudState, FROM_THE_BEGINNING, Project};
use crate::Sandbox;
use crate::errors::{api_error, error_with_details};

/// Default page size.
const PAGE: usize = 50;

type Admitted = Caller<ResourceManagerApi>;

pub(super) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/v3/projects", post(create))
        .route("/v3/projects:search", get(search))
        .route("/v3/projects/{project}", any(on_project))
}

async fn create(
    _: Admitted,
    State(sandbox): State<Sandbox>,
    Json(wanted): Json<Value>,
) -> Response {
    let id = wanted["projectId"].as_str().unwrap_or_default();
    if !is_project_id(id) {
        return error_with_details(
            400,
            "field [project_id] has issue",
            "INVALID_ARGUMENT",
            json!([]),
        );
    }
    let name = wanted["displayName"].as_str().unwrap_or(id);
    sandbox.cloud().create_project(id, name)
}

/// 6 to 30 lower-case letters, digits and hyphens, starting with a letter, not ending with a hyphen.
fn is_project_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (6..=30).contains(&id.len())
        && id.bytes().all(allowed)
        && id.starts_with(|first: char| first.is_ascii_lowercase())
        && !id.ends_with('-')
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Search {
    page_size: usize,
    page_token: String,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            page_size: PAGE,
            page_token: String::new(),
        }
    }
}

async fn search(
    _: Admitted,
    State(sandbox): State<Sandbox>,
    Query(search): Query<Search>,
) -> Response {
    let state = sandbox.cloud().state.lock();
    let all: Vec<_> = state
        .projects
        .iter()
        .map(|(id, one)| one.json(id))
        .collect();
    let start: usize = search.page_token.parse().unwrap_or(0);
    let page: Vec<_> = all.iter().skip(start).take(search.page_size).collect();
    let end = start + page.len();
    let mut answer = json!({ "projects": page });
    if end < all.len() {
        answer["nextPageToken"] = end.to_string().into();
    }
    Json(answer).into_response()
}

async fn on_project(
    _: Admitted,
    State(sandbox): State<Sandbox>,
    Path(last): Path<String>,
    method: Method,
    body: axum::body::Bytes,
) -> Response {
    let (id, verb) = last.split_once(':').unwrap_or((&last, ""));
    let cloud = sandbox.cloud();
    match (method.as_str(), verb) {
        ("GET", "") => cloud.show_project(id),
        ("DELETE", "") => cloud.delete_project(id),
        ("POST", "testIamPermissions") => {
            let request: Value = serde_json::from_slice(&body).unwrap_or_default();
            Json(cloud.permissions(&request)).into_response()
        }
        _ => api_error(404, "No such method."),
    }
}

impl Cloud {
    fn create_project(&self, id: &str, name: &str) -> Response {
        let mut state = self.state.lock();
        if state.projects.contains_key(id) {
            return error_with_details(
                409,
                "Requested entity already exists",
                "ALREADY_EXISTS",
                json!([]),
            );
        }
        state.made += 1;
        let number = (500_000_000_000 + state.made).to_string();
        let project = Project::new(&number, name, &FROM_THE_BEGINNING);
        let mut response = project.json(id);
        response["@type"] = "type.googleapis.com/google.cloud.resourcemanager.v3.Project".into();
        state.projects.insert(id.to_owned(), project);
        let kind = "type.googleapis.com/google.cloud.resourcemanager.v3.CreateProjectMetadata";
        let time = self.clock.now_rfc3339();
        let metadata = json!({ "@type": kind, "createTime": time, "gettable": true });
        Json(state.begin("cp.", metadata, response)).into_response()
    }

    /// 403 for missing projects, too: Google does not reveal which projects exist.
    fn show_project(&self, id: &str) -> Response {
        match self.state.lock().find(id) {
            Some((id, project)) => Json(project.json(id)).into_response(),
            None => forbidden(),
        }
    }

    fn delete_project(&self, id: &str) -> Response {
        let mut state = self.state.lock();
        let Some(project) = state.find_mut(id) else {
            return forbidden();
        };
        project.is_deleted = true;
        let json = project.json(id);
        Json(state.begin("dp.", json!({}), json)).into_response()
    }

    /// The requested permissions that the caller has.
    pub(crate) fn permissions(&self, request: &Value) -> Value {
        let state = self.state.lock();
        let asked = request["permissions"].as_array().cloned();
        let asked = asked.unwrap_or_default();
        let has = |one: &Value| one.as_str().is_some_and(|one| !state.denied.contains(one));
        let permissions: Vec<_> = asked.into_iter().filter(has).collect();
        json!({ "permissions": permissions })
    }
}

fn forbidden() -> Response {
    let text = "The caller does not have permission";
    error_with_details(403, text, "PERMISSION_DENIED", json!([]))
}

impl Project {
    fn json(&self, id: &str) -> Value {
        let state = if self.is_deleted {
            "DELETE_REQUESTED"
        } else {
            "ACTIVE"
        };
        json!({
            "name": format!("projects/{}", self.number),
            "projectId": id,
            "state": state,
            "displayName": self.name,
            "etag": "W/\"1\"",
        })
    }
}

impl CloudState {
    /// Number of an existing project.
    pub(super) fn number_of(&self, project: &str) -> Option<String> {
        self.find(project)
            .map(|(_, project)| project.number.clone())
    }
}
