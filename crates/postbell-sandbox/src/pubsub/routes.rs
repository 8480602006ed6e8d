//! Pub/Sub's routes: `projects/P/topics/T` and `projects/P/subscriptions/S` with their verbs.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::subscription::Subscription;
use super::topics::missing;
use super::{GMAIL, PUBLISHER, grpc, pusher};
use crate::PROJECT;
use crate::Sandbox;
use crate::cloud::{Caller, PubSubApi};
use crate::errors::api_error;

/// Time that a pull waits for a message.
const PULL_WAIT: Duration = Duration::from_secs(5);

/// Pub/Sub's routes.
pub(crate) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/v1/projects/{project}/topics", get(list_topics))
        .route("/v1/projects/{project}/topics/{topic}", any(on_topic))
        .route(
            "/v1/projects/{project}/subscriptions",
            get(list_subscriptions),
        )
        .route(
            "/v1/projects/{project}/subscriptions/{subscription}",
            any(on_subscription),
        )
        .merge(grpc::routes())
}

/// The project, id and verb of `projects/P/KIND/ID:VERB`; `None` if it is not a resource's name.
fn parts<'a>(name: &'a str, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let (project, rest) = name.strip_prefix("projects/")?.split_once('/')?;
    let last = rest.strip_prefix(kind)?.strip_prefix('/')?;
    let (id, verb) = last.split_once(':').unwrap_or((last, ""));
    is_id(id).then_some((project, id, verb))
}

/// Ids have 3 to 255 characters, begin with a letter, and not with `goog`.
fn is_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+%".contains(&byte);
    (3..=255).contains(&id.len())
        && id.starts_with(|first: char| first.is_ascii_alphabetic())
        && !id.starts_with("goog")
        && id.bytes().all(allowed)
}

async fn list_topics(
    _: Caller<PubSubApi>,
    State(sandbox): State<Sandbox>,
    Path(project): Path<String>,
) -> Response {
    sandbox.pubsub().list_topics(&project)
}

async fn on_topic(
    _: Caller<PubSubApi>,
    State(sandbox): State<Sandbox>,
    Path((project, last)): Path<(String, String)>,
    method: Method,
    body: Bytes,
) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let name = format!("projects/{project}/topics/{last}");
    call_topic(&sandbox, &name, method.as_str(), &request)
}

/// Calls a method of a topic; `name` may end with a verb.
pub(super) fn call_topic(sandbox: &Sandbox, name: &str, method: &str, request: &Value) -> Response {
    let Some((project, id, verb)) = parts(name, "topics") else {
        return api_error(
            400,
            "You have passed an invalid argument to the service (argument=topic).",
        );
    };
    let name = format!("projects/{project}/topics/{id}");
    let pubsub = sandbox.pubsub();
    match (method, verb) {
        ("PUT", "") if sandbox.cloud().id_of(project).is_none() => no_project(project),
        ("PUT", "") => pubsub.create_topic(&name, request),
        ("GET", "") => pubsub.topic(&name),
        ("DELETE", "") => pubsub.delete_topic(&name),
        ("POST", "publish") => pubsub.publish_request(&name, request),
        ("GET", "getIamPolicy") => pubsub.policy(&name),
        ("POST", "setIamPolicy") => {
            let lag = sandbox.cloud().policy_lag();
            pubsub.set_policy(&name, request, lag)
        }
        ("POST", "testIamPermissions") => {
            Json(sandbox.cloud().permissions(request)).into_response()
        }
        _ => api_error(404, "No such method."),
    }
}

async fn list_subscriptions(
    _: Caller<PubSubApi>,
    State(sandbox): State<Sandbox>,
    Path(project): Path<String>,
) -> Response {
    list_of(&sandbox, &project)
}

/// The subscriptions of a project.
pub(super) fn list_of(sandbox: &Sandbox, project: &str) -> Response {
    let prefix = format!("projects/{project}/subscriptions/");
    let state = sandbox.pubsub().state.lock();
    let of_project = state
        .subscriptions
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix));
    let subscriptions: Vec<_> = of_project
        .map(|(_, subscription)| subscription.json())
        .collect();
    Json(json!({ "subscriptions": subscriptions })).into_response()
}

/// `testIamPermissions` answers with an empty set, and not with `NOT_FOUND`
/// (<https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions/testIamPermissions>).
fn on_missing_subscription(name: &str, verb: &str) -> Response {
    match verb {
        "testIamPermissions" => Json(json!({})).into_response(),
        _ => missing(name),
    }
}

async fn on_subscription(
    _: Caller<PubSubApi>,
    State(sandbox): State<Sandbox>,
    Path((project, last)): Path<(String, String)>,
    method: Method,
    body: Bytes,
) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let name = format!("projects/{project}/subscriptions/{last}");
    call_subscription(&sandbox, &name, method.as_str(), request).await
}

/// Calls a method of a subscription; `name` may end with a verb.
pub(super) async fn call_subscription(
    sandbox: &Sandbox,
    name: &str,
    method: &str,
    request: Value,
) -> Response {
    let Some((project, id, verb)) = parts(name, "subscriptions") else {
        let text = "You have passed an invalid argument to the service (argument=subscription).";
        return api_error(400, text);
    };
    let name = format!("projects/{project}/subscriptions/{id}");
    if (method, verb) == ("PUT", "") {
        return create(sandbox, &name, request);
    }
    let Some(subscription) = sandbox.pubsub().subscription(&name) else {
        return on_missing_subscription(&name, verb);
    };
    match (method, verb) {
        ("GET", "") => (),
        ("PATCH", "") => {
            let mask = request["updateMask"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let fields: Vec<_> = mask
                .split(',')
                .map(|path| path.split('.').next().unwrap_or(path))
                .collect();
            subscription.update(&fields, &request["subscription"]);
        }
        ("POST", "modifyPushConfig") => {
            subscription.update(&["pushConfig"], &request);
            return Json(json!({})).into_response();
        }
        ("DELETE", "") => {
            sandbox.pubsub().state.lock().subscriptions.remove(&name);
            subscription.deleted.cancel();
            return Json(json!({})).into_response();
        }
        ("GET", "getIamPolicy") => {
            return Json(subscription.policy.lock().json()).into_response();
        }
        ("POST", "setIamPolicy") => return subscription.policy.lock().set(&request["policy"]),
        ("POST", "testIamPermissions") => {
            return Json(sandbox.cloud().permissions(&request)).into_response();
        }
        ("POST", "pull") => return pull(&subscription, &request).await,
        ("POST", "acknowledge") => {
            ack_ids(&request).for_each(|id| subscription.backlog.acknowledge(id));
            return Json(json!({})).into_response();
        }
        ("POST", "modifyAckDeadline") => {
            let deadline = request["ackDeadlineSeconds"].as_u64().unwrap_or(0);
            let deadline = Duration::from_secs(deadline);
            ack_ids(&request).for_each(|id| subscription.backlog.extend(id, deadline));
            return Json(json!({})).into_response();
        }
        _ => return api_error(404, "No such method."),
    }
    Json(subscription.json()).into_response()
}

/// Creates a topic to which Gmail may publish, and a pull subscription, unless they exist. Returns
/// their names.
pub(crate) fn prepare(sandbox: &Sandbox, topic: &str) -> (String, String) {
    let subscription = format!("projects/{PROJECT}/subscriptions/{topic}-pull");
    let topic = format!("projects/{PROJECT}/topics/{topic}");
    sandbox.pubsub().create_topic(&topic, &json!({}));
    let binding = json!({ "role": PUBLISHER, "members": [GMAIL] });
    let policy = json!({ "policy": { "bindings": [binding] } });
    sandbox.pubsub().set_policy(&topic, &policy, 0);
    create(sandbox, &subscription, json!({ "topic": topic }));
    (topic, subscription)
}

fn create(sandbox: &Sandbox, name: &str, settings: Value) -> Response {
    let topic = settings["topic"].as_str().unwrap_or_default().to_owned();
    let subscription = {
        let mut state = sandbox.pubsub().state.lock();
        if state.subscriptions.contains_key(name) {
            return api_error(409, "Resource already exists in the project.");
        }
        if !state.topics.contains_key(&topic) {
            return missing(&topic);
        }
        let deleted = sandbox.child_token();
        let subscription = Arc::new(Subscription::new(name, &topic, settings, deleted));
        state
            .subscriptions
            .insert(name.to_owned(), Arc::clone(&subscription));
        subscription
    };
    let stop = sandbox.child_token();
    sandbox.spawn(pusher::push_all(
        sandbox.clone(),
        Arc::clone(&subscription),
        stop,
    ));
    Json(subscription.json()).into_response()
}

fn no_project(project: &str) -> Response {
    let text = format!(
        "Requested project not found or user does not have access to it (project={project})."
    );
    api_error(404, &text)
}

fn ack_ids(request: &Value) -> impl Iterator<Item = &str> {
    let ids = request["ackIds"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    ids.iter().filter_map(Value::as_str)
}

/// Waits for a message, unless `returnImmediately` is set.
async fn pull(subscription: &Subscription, request: &Value) -> Response {
    if subscription.push_config().is_some() {
        return api_error(
            400,
            "This method is not supported for this subscription type.",
        );
    }
    let most = request["maxMessages"].as_u64().unwrap_or(0);
    let Some(most) = usize::try_from(most).ok().filter(|most| *most > 0) else {
        return api_error(400, "The value for max_messages is too small.");
    };
    let deadline = subscription.ack_deadline();
    let available = subscription.backlog.available.notified();
    let mut taken = subscription.backlog.take(most, deadline);
    if taken.is_empty() && request["returnImmediately"] != true {
        // After a notification or the time-out, available messages are returned.
        let _ = timeout(PULL_WAIT, available).await;
        taken = subscription.backlog.take(most, deadline);
    }
    let received: Vec<_> = taken
        .into_iter()
        .map(|(ack_id, leased)| {
            let message = &leased.message;
            let mut json = json!({
                "data": message.data,
                "messageId": message.id,
                "publishTime": message.published_at,
            });
            if !message.attributes.is_empty() {
                json["attributes"] = json!(message.attributes);
            }
            json!({ "ackId": ack_id, "message": json })
        })
        .collect();
    if received.is_empty() {
        return Json(json!({})).into_response();
    }
    Json(json!({ "receivedMessages": received })).into_response()
}
