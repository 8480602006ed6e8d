//! Operations on topics.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{PubSub, Topic};
use crate::errors::api_error;

/// Maximum of messages per publish request.
const MOST_MESSAGES: usize = 1_000;

impl PubSub {
    pub(super) fn create_topic(&self, name: &str, settings: &Value) -> Response {
        let mut state = self.state.lock();
        if state.topics.contains_key(name) {
            return api_error(409, "Resource already exists in the project.");
        }
        let settings = settings.as_object().cloned().unwrap_or_default();
        state.topics.insert(
            name.to_owned(),
            Topic {
                settings,
                ..Topic::default()
            },
        );
        drop(state);
        self.topic(name)
    }

    pub(super) fn topic(&self, name: &str) -> Response {
        match self.state.lock().topics.get(name) {
            Some(topic) => Json(topic.json(name)).into_response(),
            None => missing(name),
        }
    }

    pub(super) fn delete_topic(&self, name: &str) -> Response {
        let mut state = self.state.lock();
        let orphans = state.subscriptions.values().filter(|one| one.is_of(name));
        orphans.for_each(|one| one.detach_topic());
        match state.topics.remove(name) {
            Some(_) => Json(json!({})).into_response(),
            None => missing(name),
        }
    }

    pub(super) fn list_topics(&self, project: &str) -> Response {
        let prefix = format!("projects/{project}/topics/");
        let state = self.state.lock();
        let of_project = state
            .topics
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix));
        let topics: Vec<_> = of_project.map(|(name, topic)| topic.json(name)).collect();
        Json(json!({ "topics": topics })).into_response()
    }

    pub(super) fn publish_request(&self, topic: &str, request: &Value) -> Response {
        let messages = request["messages"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        if messages.is_empty() || messages.len() > MOST_MESSAGES {
            return api_error(400, "The value for message_count is out of range.");
        }
        let publish = |message: &Value| {
            let data = message["data"].as_str().unwrap_or_default().to_owned();
            let attributes = message["attributes"]
                .as_object()
                .cloned()
                .unwrap_or_default();
            let key = message["orderingKey"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            self.publish_message(topic, data, attributes, key)
        };
        match messages.iter().map(publish).collect::<Option<Vec<_>>>() {
            Some(ids) => Json(json!({ "messageIds": ids })).into_response(),
            None => missing(topic),
        }
    }

    pub(super) fn policy(&self, topic: &str) -> Response {
        match self.state.lock().topics.get(topic) {
            Some(topic) => Json(topic.policy.json()).into_response(),
            None => missing(topic),
        }
    }

    /// Replaces a topic's policy. The next `lag` checks use the old one.
    pub(super) fn set_policy(&self, topic: &str, request: &Value, lag: u32) -> Response {
        let mut state = self.state.lock();
        let Some(found) = state.topics.get_mut(topic) else {
            return missing(topic);
        };
        found.unseen_by = lag;
        found.policy.set(&request["policy"])
    }
}

impl Topic {
    fn json(&self, name: &str) -> Value {
        let mut json: Map<_, _> = self.settings.clone();
        json.insert("name".to_owned(), name.into());
        json.into()
    }
}

pub(super) fn missing(name: &str) -> Response {
    let short = name.rsplit('/').next().unwrap_or_default();
    api_error(404, &format!("Resource not found (resource={short})."))
}
