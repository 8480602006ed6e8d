//! Long-running operations (<https://cloud.google.com/resource-manager/reference/rest/v3/operations>).

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::caller::{Caller, ResourceManagerApi, ServiceUsageApi};
use super::{Cloud, CloudState};
use crate::Sandbox;
use crate::errors::api_error;

/// An operation that is done after some polls.
#[derive(Debug)]
pub(super) struct Operation {
    looks_left: u32,
    metadata: Value,
    response: Value,
}

impl CloudState {
    /// Starts an operation with this name prefix, and returns its state.
    pub(super) fn begin(&mut self, prefix: &str, metadata: Value, response: Value) -> Value {
        self.made += 1;
        let name = format!("operations/{prefix}{}", self.made);
        let operation = Operation {
            looks_left: self.lag.operations,
            metadata,
            response,
        };
        let json = operation.json(&name);
        self.operations.insert(name, operation);
        json
    }
}

impl Operation {
    fn json(&self, name: &str) -> Value {
        let mut json = json!({ "name": name, "metadata": self.metadata });
        if self.looks_left == 0 {
            json["done"] = true.into();
            json["response"] = self.response.clone();
        }
        json
    }
}

impl Cloud {
    fn poll(&self, name: &str) -> Response {
        let name = format!("operations/{name}");
        match self.state.lock().operations.get_mut(&name) {
            Some(operation) => {
                operation.looks_left = operation.looks_left.saturating_sub(1);
                Json(operation.json(&name)).into_response()
            }
            None => api_error(404, "Operation not found."),
        }
    }
}

pub(super) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/v3/operations/{name}", get(of_projects))
        .route("/v1/operations/{name}", get(of_services))
        .route("/v1beta1/operations/{name}", get(of_services))
}

async fn of_projects(
    _: Caller<ResourceManagerApi>,
    State(sandbox): State<Sandbox>,
    Path(name): Path<String>,
) -> Response {
    sandbox.cloud().poll(&name)
}

async fn of_services(
    _: Caller<ServiceUsageApi>,
    State(sandbox): State<Sandbox>,
    Path(name): Path<String>,
) -> Response {
    sandbox.cloud().poll(&name)
}
