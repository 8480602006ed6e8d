//! IAM policies of a resource (<https://cloud.google.com/iam/docs/reference/rest/v1/Policy>).

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The policy version with conditional bindings. Writing an older version would remove the
/// conditions.
const VERSION: u32 = 3;

/// A policy. Unknown fields are kept.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(transparent)]
pub struct Policy(Map<String, Value>);

impl Policy {
    /// Whether a member has a role without conditions.
    #[must_use]
    pub fn grants(&self, role: &str, member: &str) -> bool {
        let bindings = self.0.get("bindings").and_then(Value::as_array);
        let mut bindings = bindings.into_iter().flatten();
        bindings.any(|binding| is_plain(binding, role) && names(binding, member))
    }

    /// Adds a member to a role, and returns whether that changed anything.
    pub fn add(&mut self, role: &str, member: &str) -> bool {
        if self.grants(role, member) {
            return false;
        }
        let Some(bindings) = self.bindings() else {
            return false;
        };
        let plain = bindings.iter_mut().find(|binding| is_plain(binding, role));
        match plain.and_then(|binding| binding["members"].as_array_mut()) {
            Some(members) => members.push(json!(member)),
            None => bindings.push(json!({ "role": role, "members": [member] })),
        }
        true
    }

    /// Removes a member from a role, and returns whether that changed anything. Conditional
    /// bindings are kept.
    pub fn remove(&mut self, role: &str, member: &str) -> bool {
        if !self.grants(role, member) {
            return false;
        }
        let Some(bindings) = self.bindings() else {
            return false;
        };
        for binding in bindings
            .iter_mut()
            .filter(|binding| is_plain(binding, role))
        {
            if let Some(members) = binding["members"].as_array_mut() {
                members.retain(|one| one != member);
            }
        }
        bindings.retain(|binding| binding["members"] != json!([]));
        true
    }

    fn bindings(&mut self) -> Option<&mut Vec<Value>> {
        let bindings = self.0.entry("bindings").or_insert_with(|| json!([]));
        bindings.as_array_mut()
    }

    /// The request that writes it, with the etag that was read.
    pub(super) fn to_write(&self) -> Value {
        let mut policy = self.0.clone();
        policy.insert("version".to_owned(), VERSION.into());
        json!({ "policy": policy })
    }
}

fn is_plain(binding: &Value, role: &str) -> bool {
    binding["role"] == role && binding["condition"].is_null()
}

fn names(binding: &Value, member: &str) -> bool {
    let members = binding["members"].as_array().map(Vec::as_slice);
    members.unwrap_or_default().iter().any(|one| one == member)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let conditional = json!({ "role": "r", "members": ["b"], "condition": { "title": "t" } });
        let read = json!({ "etag": "BwW=", "bindings": [conditional], "auditConfigs": [1] });
        serde_json::from_value(read).unwrap()
    }

    #[test]
    fn a_member_is_added_once_and_nothing_else_changes() {
        let mut policy = policy();
        assert!(!policy.grants("r", "b"), "only under a condition");
        assert!(policy.add("r", "b"));
        assert!(!policy.add("r", "b"));
        assert!(policy.add("r", "c"));
        let written = policy.to_write()["policy"].clone();
        let plain = json!({ "role": "r", "members": ["b", "c"] });
        assert_eq!(written["bindings"][1], plain);
        assert_eq!(written["bindings"][0]["condition"]["title"], "t");
        assert_eq!(written["etag"], "BwW=");
        assert_eq!(written["version"], 3);
        assert_eq!(written["auditConfigs"], json!([1]));
    }

    #[test]
    fn removing_a_member_keeps_conditional_bindings() {
        let mut policy = policy();
        let before = policy.clone();
        assert!(!policy.remove("r", "b"));
        policy.add("r", "b");
        assert!(policy.remove("r", "b"));
        assert_eq!(policy, before);
    }
}
