//! Google Cloud administration: projects, enabled APIs and service accounts
//! (<https://cloud.google.com/resource-manager/reference/rest/v3>,
//! <https://cloud.google.com/service-usage/docs/reference/rest>,
//! <https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts>).

mod accounts;
mod caller;
mod operations;
mod projects;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use parking_lot::Mutex;
use serde::Deserialize;

use self::accounts::ServiceAccount;
pub(crate) use self::caller::{Caller, PubSubApi};
use self::operations::Operation;
use crate::blockers::service_disabled;
use crate::clock::Clock;
use crate::fault_point::FaultPoint;
use crate::{PROJECT, PROJECT_NUMBER, Sandbox};

/// APIs that are enabled in a new project.
const FROM_THE_BEGINNING: [&str; 1] = ["serviceusage.googleapis.com"];

/// APIs that are enabled in the sandbox's own project.
const ALL: [&str; 5] = [
    "cloudresourcemanager.googleapis.com",
    "gmail.googleapis.com",
    "iam.googleapis.com",
    "pubsub.googleapis.com",
    "serviceusage.googleapis.com",
];

/// Roles that allow Pub/Sub to sign tokens of a service account
/// (<https://docs.cloud.google.com/pubsub/docs/authenticate-push-subscriptions>).
const SIGNING_ROLES: [&str; 2] = [
    "roles/iam.serviceAccountTokenCreator",
    "roles/iam.serviceAccountOpenIdTokenCreator",
];

/// Google Cloud administration: projects, enabled APIs and service accounts.
#[derive(Debug)]
pub struct Cloud {
    clock: Arc<Clock>,
    state: Mutex<CloudState>,
}

#[derive(Debug, Default)]
struct CloudState {
    /// By id.
    projects: BTreeMap<String, Project>,
    operations: BTreeMap<String, Operation>,
    lag: Lag,
    /// Permissions that every caller lacks.
    denied: BTreeSet<String>,
    made: u64,
}

/// Propagation delays, counted in calls, so that tests do not wait.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Lag {
    /// Polls before an operation is done.
    pub operations: u32,
    /// Failing calls of an API after it was enabled.
    pub services: u32,
    /// Checks that still use the old policy of a topic.
    pub policies: u32,
    /// Calls that do not see a new service account.
    pub accounts: u32,
}

#[derive(Debug)]
struct Project {
    number: String,
    name: String,
    is_deleted: bool,
    /// Enabled APIs, each with the number of calls that still fail.
    services: BTreeMap<String, u32>,
    /// APIs with a service agent in the project.
    agents: BTreeSet<String>,
    /// By address.
    accounts: BTreeMap<String, ServiceAccount>,
}

impl Project {
    fn new(number: &str, name: &str, services: &[&str]) -> Self {
        let services = services.iter().map(|service| ((*service).to_owned(), 0));
        Self {
            number: number.to_owned(),
            name: name.to_owned(),
            is_deleted: false,
            services: services.collect(),
            agents: BTreeSet::new(),
            accounts: BTreeMap::new(),
        }
    }

    /// Pub/Sub's service agent of the project.
    fn pubsub_agent(&self) -> String {
        format!(
            "serviceAccount:service-{}@gcp-sa-pubsub.iam.gserviceaccount.com",
            self.number
        )
    }
}

impl Cloud {
    pub(crate) fn new(clock: Arc<Clock>) -> Self {
        let mut state = CloudState::default();
        let mut own = Project::new(PROJECT_NUMBER, "Sandbox", &ALL);
        own.agents.insert("pubsub.googleapis.com".to_owned());
        state.projects.insert(PROJECT.to_owned(), own);
        let state = Mutex::new(state);
        Self { clock, state }
    }

    /// Sets the propagation delays.
    pub fn set_lag(&self, lag: Lag) {
        self.state.lock().lag = lag;
    }

    /// Number of checks that still use the old policy.
    pub(crate) fn policy_lag(&self) -> u32 {
        self.state.lock().lag.policies
    }

    /// Denies permissions, such as `pubsub.topics.create`, in `testIamPermissions`, replacing those denied
    /// before.
    pub fn deny(&self, permissions: &[&str]) {
        let denied = permissions.iter().map(|&permission| permission.to_owned());
        self.state.lock().denied = denied.collect();
    }

    /// Creates a project as the console does, and returns its number. Only the default APIs are enabled.
    pub fn put_project(&self, id: &str) -> String {
        let mut state = self.state.lock();
        state.made += 1;
        let number = (500_000_000_000 + state.made).to_string();
        let project = state.projects.entry(id.to_owned());
        let project = project.or_insert_with(|| Project::new(&number, id, &FROM_THE_BEGINNING));
        project.number.clone()
    }

    /// Disables an API.
    pub fn disable(&self, project: &str, service: &str) {
        if let Some(project) = self.state.lock().projects.get_mut(project) {
            project.services.remove(service);
        }
    }

    /// Requests deletion of a project, as the console does.
    pub fn delete(&self, project: &str) {
        if let Some(project) = self.state.lock().projects.get_mut(project) {
            project.is_deleted = true;
        }
    }

    /// Whether deletion of a project was requested.
    #[must_use]
    pub fn is_deleted(&self, project: &str) -> bool {
        let state = self.state.lock();
        state
            .projects
            .get(project)
            .is_some_and(|project| project.is_deleted)
    }

    /// Existing resources of a project: APIs and accounts.
    #[must_use]
    pub fn inventory(&self, project: &str) -> Vec<String> {
        let state = self.state.lock();
        let Some(project) = state.projects.get(project).filter(|one| !one.is_deleted) else {
            return Vec::new();
        };
        let usual = |service: &&String| !FROM_THE_BEGINNING.contains(&service.as_str());
        let services = project.services.keys().filter(usual).cloned();
        services.chain(project.accounts.keys().cloned()).collect()
    }

    /// Finds a project by id or number.
    pub(crate) fn id_of(&self, project: &str) -> Option<String> {
        let state = self.state.lock();
        state.find(project).map(|(id, _)| id.clone())
    }

    /// Refuses a call of an API that is not enabled in the quota project.
    pub(crate) fn admit(&self, consumer: &str, service: &str) -> Result<(), Response> {
        let mut state = self.state.lock();
        let project = state.find_mut(consumer);
        let enabled = project.and_then(|project| project.services.get_mut(service));
        match enabled {
            Some(0) => Ok(()),
            Some(left) => {
                *left -= 1;
                Err(service_disabled(service, consumer))
            }
            None => Err(service_disabled(service, consumer)),
        }
    }

    /// Whether Pub/Sub may sign tokens of a service account. For an unknown one it may.
    pub(crate) fn may_sign(&self, project: &str, account: &str) -> bool {
        let state = self.state.lock();
        let Some(project) = state.projects.get(project) else {
            return true;
        };
        let known = project.accounts.get(account);
        known.is_none_or(|account| {
            let policy = &account.policy;
            policy.grants(&SIGNING_ROLES, &project.pubsub_agent())
        })
    }
}

impl CloudState {
    fn find(&self, project: &str) -> Option<(&String, &Project)> {
        let mut projects = self.projects.iter();
        projects.find(|(id, one)| *id == project || one.number == project)
    }

    fn find_mut(&mut self, project: &str) -> Option<&mut Project> {
        let mut projects = self.projects.iter_mut();
        let found = projects.find(|(id, one)| *id == project || one.number == project);
        found.map(|(_, project)| project)
    }
}

/// The routes of the three APIs.
pub(crate) fn routes() -> Router<Sandbox> {
    Router::new()
        .merge(projects::routes())
        .merge(services::routes())
        .merge(accounts::routes())
        .merge(operations::routes())
}

impl FaultPoint {
    /// The fault's point for a call of Google Cloud's APIs.
    pub(crate) fn of_cloud(method: &axum::http::Method, path: &str) -> Option<Self> {
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        match (method.as_str(), &parts[..]) {
            ("POST", ["v3", "projects"]) => Some(Self::ProjectCreate),
            ("GET", ["v3", "projects:search"]) => Some(Self::ProjectSearch),
            ("GET", ["v3", "projects", _]) => Some(Self::ProjectGet),
            ("POST", ["v1beta1", "projects", _, "services", last])
                if last.ends_with(":generateServiceIdentity") =>
            {
                Some(Self::ServiceIdentity)
            }
            (method, ["v1", "projects", _, rest @ ..]) => Self::in_project(method, rest),
            _ => None,
        }
    }

    fn in_project(method: &str, rest: &[&str]) -> Option<Self> {
        match (method, rest) {
            ("GET", ["services:batchGet"] | ["services", _]) => Some(Self::ServicesGet),
            ("POST", ["services:batchEnable"]) => Some(Self::ServicesEnable),
            ("POST", ["services", last]) if last.ends_with(":enable") => Some(Self::ServicesEnable),
            ("POST", ["serviceAccounts"]) => Some(Self::AccountCreate),
            ("GET", ["serviceAccounts", _]) => Some(Self::AccountGet),
            ("PUT", ["topics", _]) => Some(Self::TopicCreate),
            ("PUT", ["subscriptions", _]) => Some(Self::SubscriptionCreate),
            ("POST", [kind, last]) if last.ends_with(":setIamPolicy") => match *kind {
                "serviceAccounts" => Some(Self::AccountSetPolicy),
                "topics" => Some(Self::TopicSetPolicy),
                "subscriptions" => Some(Self::SubscriptionSetPolicy),
                _ => None,
            },
            ("GET", ["topics", last]) if !last.contains(':') => Some(Self::TopicGet),
            _ => None,
        }
    }
}
