//! IAM: service accounts and their policies
//! (<https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts>).

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::caller::{Caller, IamApi};
use super::{Cloud, CloudState};
use crate::Sandbox;
use crate::errors::{api_error, error_with_details};
use crate::policy::{Policy, members_of};

type Admitted = Caller<IamApi>;

/// A service account.
#[derive(Debug)]
pub(super) struct ServiceAccount {
    unique_id: String,
    name: String,
    pub(super) policy: Policy,
    /// Calls that do not see it yet.
    unseen_by: u32,
}

pub(super) fn routes() -> Router<Sandbox> {
    Router::new()
        .route(
            "/v1/projects/{project}/serviceAccounts",
            get(list).post(create),
        )
        .route(
            "/v1/projects/{project}/serviceAccounts/{account}",
            any(on_account),
        )
}

async fn list(
    _: Admitted,
    State(sandbox): State<Sandbox>,
    Path(project): Path<String>,
) -> Response {
    let state = sandbox.cloud().state.lock();
    let Some((id, found)) = state.find(&project) else {
        return unknown();
    };
    let accounts = found.accounts.iter();
    let accounts: Vec<_> = accounts.map(|(email, one)| one.json(id, email)).collect();
    Json(json!({ "accounts": accounts })).into_response()
}

async fn create(
    _: Admitted,
    State(sandbox): State<Sandbox>,
    Path(project): Path<String>,
    Json(request): Json<Value>,
) -> Response {
    let wanted = request["accountId"].as_str().unwrap_or_default();
    if !is_account_id(wanted) {
        let text = "The account ID must be between 6 and 30 characters long.";
        return error_with_details(400, text, "INVALID_ARGUMENT", json!([]));
    }
    let name = request["serviceAccount"]["displayName"].as_str();
    sandbox
        .cloud()
        .create_account(&project, wanted, name.unwrap_or_default())
}

fn is_account_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (6..=30).contains(&id.len())
        && id.bytes().all(allowed)
        && id.starts_with(|first: char| first.is_ascii_lowercase())
        && !id.ends_with('-')
}

async fn on_account(
    _: Admitted,
    State(sandbox): State<Sandbox>,
    Path((project, last)): Path<(String, String)>,
    method: Method,
    body: Bytes,
) -> Response {
    let (account, verb) = last.split_once(':').unwrap_or((&last, ""));
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let cloud = sandbox.cloud();
    if verb == "testIamPermissions" {
        return Json(cloud.permissions(&request)).into_response();
    }
    let mut state = cloud.state.lock();
    let Some((id, email)) = state.see(&project, account) else {
        return match verb {
            "getIamPolicy" | "setIamPolicy" => {
                let name = format!("projects/{project}/serviceAccounts/{account}");
                let text = format!("Service account {name} does not exist.");
                error_with_details(404, &text, "NOT_FOUND", json!([]))
            }
            _ => unknown(),
        };
    };
    if verb == "setIamPolicy"
        && let Some(missing) = state.missing_agent(&id, &request["policy"])
    {
        let text = format!("Service account {missing} does not exist.");
        return error_with_details(400, &text, "INVALID_ARGUMENT", json!([]));
    }
    let accounts = state.projects.get_mut(&id).map(|one| &mut one.accounts);
    let Some((accounts, account)) =
        accounts.and_then(|all| all.contains_key(&email).then_some((all, email)))
    else {
        return unknown();
    };
    if (method.as_str(), verb) == ("DELETE", "") {
        accounts.remove(&account);
        return Json(json!({})).into_response();
    }
    match (method.as_str(), verb, accounts.get_mut(&account)) {
        ("GET", "", Some(found)) => Json(found.json(&id, &account)).into_response(),
        ("POST", "getIamPolicy", Some(found)) => Json(found.policy.json()).into_response(),
        ("POST", "setIamPolicy", Some(found)) => found.policy.set(&request["policy"]),
        _ => api_error(404, "No such method."),
    }
}

impl Cloud {
    /// Deletes a service account outside of setup.
    pub fn remove_account(&self, project: &str, email: &str) {
        if let Some(project) = self.state.lock().projects.get_mut(project) {
            project.accounts.remove(email);
        }
    }

    fn create_account(&self, project: &str, account_id: &str, name: &str) -> Response {
        let mut state = self.state.lock();
        state.made += 1;
        let unique_id = (100_000_000_000_000_000_000_u128 + u128::from(state.made)).to_string();
        let unseen_by = state.lag.accounts;
        let Some(id) = state.find(project).map(|(id, _)| id.clone()) else {
            return unknown();
        };
        let email = format!("{account_id}@{id}.iam.gserviceaccount.com");
        let Some(found) = state.projects.get_mut(&id) else {
            return unknown();
        };
        if found.accounts.contains_key(&email) {
            let text = format!(
                "Service account {account_id} already exists within project projects/{id}."
            );
            return error_with_details(409, &text, "ALREADY_EXISTS", json!([]));
        }
        let account = ServiceAccount {
            unique_id,
            name: name.to_owned(),
            policy: Policy::default(),
            unseen_by,
        };
        let json = account.json(&id, &email);
        found.accounts.insert(email, account);
        Json(json).into_response()
    }
}

impl CloudState {
    /// Project and address of an account, if it has propagated to the call. `-` is any project.
    fn see(&mut self, project: &str, account: &str) -> Option<(String, String)> {
        let number = self.number_of(project);
        let is_asked =
            |one: &super::Project| project == "-" || Some(&one.number) == number.as_ref();
        let projects = self.projects.iter_mut();
        let mut projects = projects.filter(|(_, one)| is_asked(one));
        projects.find_map(|(id, one)| {
            let mut accounts = one.accounts.iter_mut();
            let found = accounts.find(|(email, one)| *email == account || one.unique_id == account);
            let (email, found) = found?;
            if found.unseen_by > 0 {
                found.unseen_by -= 1;
                return None;
            }
            Some((id.clone(), email.clone()))
        })
    }

    /// Pub/Sub's service agent, if a policy names it before it was created.
    fn missing_agent(&self, project: &str, policy: &Value) -> Option<String> {
        let project = self.projects.get(project)?;
        let agent = project.pubsub_agent();
        let is_missing = !project.agents.contains("pubsub.googleapis.com");
        let is_named = members_of(policy).any(|member| member == agent);
        let name = agent.trim_start_matches("serviceAccount:").to_owned();
        (is_missing && is_named).then_some(name)
    }
}

impl ServiceAccount {
    fn json(&self, project: &str, email: &str) -> Value {
        json!({
            "name": format!("projects/{project}/serviceAccounts/{email}"),
            "projectId": project,
            "uniqueId": self.unique_id,
            "email": email,
            "displayName": self.name,
            "oauth2ClientId": self.unique_id,
        })
    }
}

fn unknown() -> Response {
    error_with_details(404, "Unknown service account", "NOT_FOUND", json!([]))
}
