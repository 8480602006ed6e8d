//! Who may do what with a topic
//! (<https://cloud.google.com/iam/docs/reference/rest/v1/Policy>).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// Who publishes Gmail's notifications, and the roles that let it.
pub(super) const GMAIL: &str = "serviceAccount:gmail-api-push@system.gserviceaccount.com";
pub(super) const PUBLISHER: &str = "roles/pubsub.publisher";
const PUBLISHING_ROLES: [&str; 3] = [PUBLISHER, "roles/pubsub.editor", "roles/pubsub.admin"];

/// A policy, and how often it changed.
#[derive(Debug, Default)]
pub(super) struct Policy {
    bindings: Vec<Value>,
    changes: u64,
}

impl Policy {
    pub(super) fn json(&self) -> Value {
        let mut json = json!({ "version": 1, "etag": self.etag() });
        if !self.bindings.is_empty() {
            json["bindings"] = json!(self.bindings);
        }
        json
    }

    /// Replaces the bindings, and returns whether it did: not where the etag is of another state.
    pub(super) fn set(&mut self, policy: &Value) -> bool {
        if policy["etag"]
            .as_str()
            .is_some_and(|etag| etag != self.etag())
        {
            return false;
        }
        self.bindings = policy["bindings"].as_array().cloned().unwrap_or_default();
        self.changes += 1;
        true
    }

    pub(super) fn lets_gmail_publish(&self) -> bool {
        self.bindings.iter().any(|binding| {
            let role = binding["role"].as_str().unwrap_or_default();
            let members = binding["members"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            PUBLISHING_ROLES.contains(&role) && members.iter().any(|member| member == GMAIL)
        })
    }

    fn etag(&self) -> String {
        BASE64_STANDARD.encode(self.changes.to_be_bytes())
    }
}
