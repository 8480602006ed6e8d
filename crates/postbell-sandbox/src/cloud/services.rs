//! Service Usage: enabled APIs of a project
//! (<https://cloud.google.com/service-usage/docs/reference/rest/v1/services>).

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use reqwest::Url;
use serde_json::{Value, json};

use super::caller::{Caller, ServiceUsageApi};
use super::{Cloud, Project};
use crate::Sandbox;
use crate::blockers::title;
use crate::errors::{api_error, error_with_details};

/// Maximum of APIs per call.
const MOST_AT_ONCE: usize = 20;

type Admitted = Caller<ServiceUsageApi>;

pub(super) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/v1/projects/{project}/services", get(list))
        .route("/v1/projects/{project}/services:batchGet", get(batch_get))
        .route(
            "/v1/projects/{project}/services:batchEnable",
            post(batch_enable),
        )
        .route("/v1/projects/{project}/services/{service}", any(on_service))
        .route(
            "/v1beta1/projects/{project}/services/{service}",
            post(generate_identity),
        )
}

async fn list(
    _: Admitted,
    State(sandbox): State<Sandbox>,
    Path(project): Path<String>,
) -> Response {
    sandbox.cloud().with_project(&project, |project| {
        let services = project.services.keys();
        let services: Vec<_> = services.map(|name| project.service(name)).collect();
        Json(json!({ "services": services })).into_response()
    })
}

async fn batch_get(
    _: Admitted,
    State(sandbox): State<Sandbox>,
    Path(project): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let url = Url::parse(&format!("http://query/?{}", query.unwrap_or_default()));
    let pairs: Vec<_> = url.map_or_else(
        |_| Vec::new(),
        |url| url.query_pairs().into_owned().collect(),
    );
    let names = pairs.iter().filter(|(key, _)| key == "names");
    let names: Vec<_> = names
        .filter_map(|(_, name)| name.rsplit('/').next())
        .collect();
    sandbox.cloud().with_project(&project, |project| {
        let services: Vec<_> = names.iter().map(|name| project.service(name)).collect();
        Json(json!({ "services": services })).into_response()
    })
}

async fn batch_enable(
    _: Admitted,
    State(sandbox): State<Sandbox>,
    Path(project): Path<String>,
    Json(request): Json<Value>,
) -> Response {
    let ids = request["serviceIds"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let ids: Vec<_> = ids.iter().filter_map(Value::as_str).collect();
    if ids.is_empty() || ids.len() > MOST_AT_ONCE {
        let text = "Request must have between 1 and 20 service ids.";
        return error_with_details(400, text, "INVALID_ARGUMENT", json!([]));
    }
    sandbox.cloud().enable(&project, &ids, |services| {
        json!({
            "@type": "type.googleapis.com/google.api.serviceusage.v1.BatchEnableServicesResponse",
            "services": services,
        })
    })
}

async fn on_service(
    _: Admitted,
    State(sandbox): State<Sandbox>,
    Path((project, last)): Path<(String, String)>,
    method: Method,
    _body: Bytes,
) -> Response {
    let (service, verb) = last.split_once(':').unwrap_or((&last, ""));
    let cloud = sandbox.cloud();
    match (method.as_str(), verb) {
        ("GET", "") => cloud.with_project(&project, |project| {
            Json(project.service(service)).into_response()
        }),
        ("POST", "enable") => cloud.enable(&project, &[service], |services| {
            json!({
                "@type": "type.googleapis.com/google.api.serviceusage.v1.EnableServiceResponse",
                "service": services.first(),
            })
        }),
        ("POST", "disable") => cloud.disable_by_operation(&project, service),
        _ => api_error(404, "No such method."),
    }
}

/// Creates the service agent of an API in a project
/// (<https://docs.cloud.google.com/service-usage/docs/reference/rest/v1beta1/services/generateServiceIdentity>).
async fn generate_identity(
    _: Admitted,
    State(sandbox): State<Sandbox>,
    Path((project, last)): Path<(String, String)>,
) -> Response {
    let Some(service) = last.strip_suffix(":generateServiceIdentity") else {
        return api_error(404, "No such method.");
    };
    let mut state = sandbox.cloud().state.lock();
    let Some(found) = state.find_mut(&project) else {
        return forbidden();
    };
    found.agents.insert(service.to_owned());
    let response = json!({
        "@type": "type.googleapis.com/google.api.serviceusage.v1beta1.ServiceIdentity",
        "email": found.pubsub_agent().trim_start_matches("serviceAccount:"),
        "uniqueId": "100000000000000000001",
    });
    Json(state.begin("finished.DONE_OPERATION.", json!({}), response)).into_response()
}

impl Cloud {
    fn with_project(&self, id: &str, answer: impl FnOnce(&Project) -> Response) -> Response {
        match self.state.lock().find(id) {
            Some((_, project)) => answer(project),
            None => forbidden(),
        }
    }

    fn enable(
        &self,
        id: &str,
        services: &[&str],
        response: impl FnOnce(Vec<Value>) -> Value,
    ) -> Response {
        let mut state = self.state.lock();
        let lag = state.lag.services;
        let Some(project) = state.find_mut(id) else {
            return forbidden();
        };
        let is_there = |service: &&&str| project.services.contains_key(**service);
        let nothing_to_do = services.iter().filter(is_there).count() == services.len();
        for service in services {
            project.services.entry((*service).to_owned()).or_insert(lag);
        }
        let response = response(services.iter().map(|name| project.service(name)).collect());
        if nothing_to_do {
            let name = "operations/noop.DONE_OPERATION";
            return Json(json!({ "name": name, "done": true, "response": response }))
                .into_response();
        }
        let number = project.number.clone();
        let prefix = format!("acf.p2-{number}-");
        Json(state.begin(&prefix, json!({}), response)).into_response()
    }

    fn disable_by_operation(&self, id: &str, service: &str) -> Response {
        let mut state = self.state.lock();
        let Some(project) = state.find_mut(id) else {
            return forbidden();
        };
        project.services.remove(service);
        let response = json!({ "service": project.service(service) });
        Json(state.begin("acf.", json!({}), response)).into_response()
    }
}

impl Project {
    fn service(&self, name: &str) -> Value {
        let is_enabled = self.services.contains_key(name);
        let parent = format!("projects/{}", self.number);
        json!({
            "name": format!("{parent}/services/{name}"),
            "parent": parent,
            "config": { "name": name, "title": title(name) },
            "state": if is_enabled { "ENABLED" } else { "DISABLED" },
        })
    }
}

fn forbidden() -> Response {
    let text = "Not found or permission denied for service(s)";
    error_with_details(403, text, "PERMISSION_DENIED", json!([]))
}
