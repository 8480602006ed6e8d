//! IAM policies of resources
//! (<https://cloud.google.com/iam/docs/reference/rest/v1/Policy>).

use axum::Json;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::errors::error_with_details;

/// Policy version that supports conditional bindings.
const WITH_CONDITIONS: u64 = 3;

/// A policy with its change count.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    bindings: Vec<Value>,
    changes: u64,
}

impl Policy {
    pub(crate) fn json(&self) -> Value {
        let conditional = self.bindings.iter().any(is_conditional);
        let version = if conditional { WITH_CONDITIONS } else { 1 };
        let mut json = json!({ "version": version, "etag": self.etag() });
        if !self.bindings.is_empty() {
            json["bindings"] = json!(self.bindings);
        }
        json
    }

    /// Implements `setIamPolicy`: replaces the bindings, unless the etag is outdated or conditions would be
    /// lost.
    pub(crate) fn set(&mut self, policy: &Value) -> Response {
        let etag = policy["etag"].as_str();
        if etag.is_some_and(|etag| etag != self.etag()) {
            return conflict();
        }
        let bindings = policy["bindings"].as_array().cloned().unwrap_or_default();
        if bindings.iter().any(is_conditional) && policy["version"] != WITH_CONDITIONS {
            let text = "Conditional role bindings need a policy of version 3.";
            return error_with_details(400, text, "INVALID_ARGUMENT", json!([]));
        }
        self.bindings = bindings;
        self.bindings.retain(|binding| !members(binding).is_empty());
        self.changes += 1;
        Json(self.json()).into_response()
    }

    /// Whether a member has one of these roles, ignoring conditions.
    pub(crate) fn grants(&self, roles: &[&str], member: &str) -> bool {
        self.bindings.iter().any(|binding| {
            let role = binding["role"].as_str().unwrap_or_default();
            roles.contains(&role) && members(binding).iter().any(|one| one == member)
        })
    }

    fn etag(&self) -> String {
        BASE64_STANDARD.encode(self.changes.to_be_bytes())
    }
}

/// All members of a policy.
pub(crate) fn members_of(policy: &Value) -> impl Iterator<Item = &str> {
    let bindings = policy["bindings"].as_array().map(Vec::as_slice);
    let bindings = bindings.unwrap_or_default().iter();
    bindings.flat_map(members).filter_map(Value::as_str)
}

fn members(binding: &Value) -> &[Value] {
    let members = binding["members"].as_array().map(Vec::as_slice);
    members.unwrap_or_default()
}

fn is_conditional(binding: &Value) -> bool {
    !binding["condition"].is_null()
}

/// The error of a concurrent change.
pub(crate) fn conflict() -> Response {
    let text = "There were concurrent policy changes. \
        Please retry the whole read-modify-write with exponential backoff.";
    error_with_details(409, text, "ABORTED", json!([]))
}
