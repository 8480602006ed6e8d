//! Pub/Sub's resources as protocol buffers and as the JSON of the REST API
//! (<https://protobuf.dev/programming-guides/json/>). Fields that the sandbox does not know are dropped.

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::push_config::{
    AuthenticationMethod, NoWrapper, OidcToken, Wrapper,
};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    DeadLetterPolicy, ExpirationPolicy, PubsubMessage, PushConfig, ReceivedMessage, RetryPolicy,
    Subscription, Topic,
};
use serde_json::{Map, Value, json};

/// A field's name in JSON: `push_config` is `pushConfig`.
pub(super) fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (initial, rest) = word.split_at(word.len().min(1));
        name + &initial.to_uppercase() + rest
    })
}

/// The texts of an array.
pub(super) fn texts(json: &Value) -> Vec<String> {
    let texts = json.as_array().into_iter().flatten();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn text(json: &Value) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

fn map(json: &Value) -> HashMap<String, String> {
    let members = json.as_object().into_iter().flatten();
    members
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn number(json: &Value) -> i32 {
    let number = json.as_i64().and_then(|number| number.try_into().ok());
    number.unwrap_or_default()
}

/// Parses a duration such as `10s`, or a time. A type of `prost`.
fn parsed<T: std::str::FromStr>(json: &Value) -> Option<T> {
    json.as_str()?.parse().ok()
}

/// An object of those fields that are set.
fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let set = fields.into_iter();
    let set = set.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(set.collect::<Map<_, _>>())
}

fn unless_empty(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| text.into())
}

/// A duration of `prost`, as `10s`.
fn time<T: ToString>(time: Option<&T>) -> Option<Value> {
    time.map(|time| time.to_string().into())
}

pub(super) fn topic_json(topic: &Topic) -> Value {
    object([
        (
            "labels",
            (!topic.labels.is_empty()).then(|| json!(topic.labels)),
        ),
        (
            "messageRetentionDuration",
            time(topic.message_retention_duration.as_ref()),
        ),
    ])
}

pub(super) fn topic(json: &Value) -> Topic {
    Topic {
        name: text(&json["name"]),
        labels: map(&json["labels"]),
        message_retention_duration: parsed(&json["messageRetentionDuration"]),
        ..Topic::default()
    }
}

pub(super) fn message_json(message: &PubsubMessage) -> Value {
    json!({
        "data": BASE64_STANDARD.encode(&message.data),
        "attributes": message.attributes,
        "orderingKey": message.ordering_key,
    })
}

pub(super) fn received(json: &Value) -> ReceivedMessage {
    let message = &json["message"];
    let data = message["data"].as_str().unwrap_or_default();
    ReceivedMessage {
        ack_id: text(&json["ackId"]),
        message: Some(PubsubMessage {
            data: BASE64_STANDARD.decode(data).unwrap_or_default(),
            attributes: map(&message["attributes"]),
            message_id: text(&message["messageId"]),
            publish_time: parsed(&message["publishTime"]),
            ordering_key: text(&message["orderingKey"]),
        }),
        delivery_attempt: 0,
    }
}

pub(super) fn subscription_json(subscription: &Subscription) -> Value {
    let push = subscription.push_config.as_ref();
    let expiration = subscription.expiration_policy.as_ref();
    let dead_letters = subscription.dead_letter_policy.as_ref();
    let retry = subscription.retry_policy.as_ref();
    let deadline = subscription.ack_deadline_seconds;
    let labels = &subscription.labels;
    let flag = |is_set: bool| is_set.then_some(Value::Bool(true));
    object([
        ("topic", unless_empty(&subscription.topic)),
        ("pushConfig", push.map(push_config_json)),
        (
            "ackDeadlineSeconds",
            (deadline != 0).then(|| deadline.into()),
        ),
        (
            "retainAckedMessages",
            flag(subscription.retain_acked_messages),
        ),
        (
            "messageRetentionDuration",
            time(subscription.message_retention_duration.as_ref()),
        ),
        ("labels", (!labels.is_empty()).then(|| json!(labels))),
        (
            "enableMessageOrdering",
            flag(subscription.enable_message_ordering),
        ),
        (
            "expirationPolicy",
            expiration.map(|policy| object([("ttl", time(policy.ttl.as_ref()))])),
        ),
        ("filter", unless_empty(&subscription.filter)),
        ("deadLetterPolicy", dead_letters.map(dead_letters_json)),
        ("retryPolicy", retry.map(retry_json)),
        (
            "enableExactlyOnceDelivery",
            flag(subscription.enable_exactly_once_delivery),
        ),
    ])
}

fn dead_letters_json(policy: &DeadLetterPolicy) -> Value {
    json!({
        "deadLetterTopic": policy.dead_letter_topic,
        "maxDeliveryAttempts": policy.max_delivery_attempts,
    })
}

fn retry_json(policy: &RetryPolicy) -> Value {
    object([
        ("minimumBackoff", time(policy.minimum_backoff.as_ref())),
        ("maximumBackoff", time(policy.maximum_backoff.as_ref())),
    ])
}

pub(super) fn subscription(json: &Value) -> Subscription {
    let policy = |name: &str| Some(&json[name]).filter(|policy| policy.is_object());
    Subscription {
        name: text(&json["name"]),
        topic: text(&json["topic"]),
        push_config: policy("pushConfig").map(push_config),
        ack_deadline_seconds: number(&json["ackDeadlineSeconds"]),
        retain_acked_messages: json["retainAckedMessages"] == true,
        message_retention_duration: parsed(&json["messageRetentionDuration"]),
        labels: map(&json["labels"]),
        enable_message_ordering: json["enableMessageOrdering"] == true,
        expiration_policy: policy("expirationPolicy").map(|policy| ExpirationPolicy {
            ttl: parsed(&policy["ttl"]),
        }),
        filter: text(&json["filter"]),
        dead_letter_policy: policy("deadLetterPolicy").map(|policy| DeadLetterPolicy {
            dead_letter_topic: text(&policy["deadLetterTopic"]),
            max_delivery_attempts: number(&policy["maxDeliveryAttempts"]),
        }),
        retry_policy: policy("retryPolicy").map(|policy| RetryPolicy {
            minimum_backoff: parsed(&policy["minimumBackoff"]),
            maximum_backoff: parsed(&policy["maximumBackoff"]),
        }),
        enable_exactly_once_delivery: json["enableExactlyOnceDelivery"] == true,
        // ACTIVE
        state: 1,
        ..Subscription::default()
    }
}

pub(super) fn push_config_json(push: &PushConfig) -> Value {
    let token = push.authentication_method.as_ref();
    let wrapper = push.wrapper.as_ref();
    object([
        ("pushEndpoint", unless_empty(&push.push_endpoint)),
        (
            "attributes",
            (!push.attributes.is_empty()).then(|| json!(push.attributes)),
        ),
        (
            "oidcToken",
            token.map(|AuthenticationMethod::OidcToken(token)| {
                json!({
                    "serviceAccountEmail": token.service_account_email,
                    "audience": token.audience,
                })
            }),
        ),
        (
            "noWrapper",
            wrapper.and_then(|wrapper| match wrapper {
                Wrapper::NoWrapper(how) => Some(json!({ "writeMetadata": how.write_metadata })),
                Wrapper::PubsubWrapper(_) => None,
            }),
        ),
    ])
}

fn push_config(json: &Value) -> PushConfig {
    let token = Some(&json["oidcToken"]).filter(|token| token.is_object());
    let bare = Some(&json["noWrapper"]).filter(|bare| bare.is_object());
    PushConfig {
        push_endpoint: text(&json["pushEndpoint"]),
        attributes: map(&json["attributes"]),
        authentication_method: token.map(|token| {
            AuthenticationMethod::OidcToken(OidcToken {
                service_account_email: text(&token["serviceAccountEmail"]),
                audience: text(&token["audience"]),
            })
        }),
        wrapper: bare.map(|bare| {
            Wrapper::NoWrapper(NoWrapper {
                write_metadata: bare["writeMetadata"] == true,
            })
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_survives_both_ways() {
        let json = json!({
            "name": "projects/p/subscriptions/s",
            "topic": "projects/p/topics/t",
            "pushConfig": {
                "pushEndpoint": "https://push.example.com/",
                "oidcToken": { "serviceAccountEmail": "push@p.example", "audience": "a" },
                "noWrapper": { "writeMetadata": true },
            },
            "ackDeadlineSeconds": 30,
            "messageRetentionDuration": "600s",
            "expirationPolicy": {},
            "filter": "attributes.a = \"b\"",
            "retryPolicy": { "minimumBackoff": "10s", "maximumBackoff": "0.500s" },
        });
        let read = subscription(&json);
        assert_eq!(read.name, "projects/p/subscriptions/s");
        let mut without_name = json;
        without_name.as_object_mut().unwrap().remove("name");
        assert_eq!(subscription_json(&read), without_name);
    }

    #[test]
    fn fields_have_their_names_of_json() {
        assert_eq!(camel("push_config"), "pushConfig");
        assert_eq!(camel("filter"), "filter");
    }
}
