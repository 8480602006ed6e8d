//! Pub/Sub over gRPC, as Google's client libraries call it
//! (<https://docs.cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1>). A call is made as its
//! counterpart of the REST API, as Google's own servers do (<https://cloud.google.com/endpoints/docs/grpc/transcoding>).
//!
//! A client that `PUBSUB_EMULATOR_HOST` directs here sends no credentials, and Google's emulator wants none.

mod streaming_pull;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    AcknowledgeRequest, DeleteSubscriptionRequest, DeleteTopicRequest, GetSubscriptionRequest,
    GetTopicRequest, ListSubscriptionsRequest, ListSubscriptionsResponse,
    ListTopicSubscriptionsRequest, ListTopicSubscriptionsResponse, ListTopicsRequest,
    ListTopicsResponse, ModifyAckDeadlineRequest, ModifyPushConfigRequest, PublishRequest,
    PublishResponse, PullRequest, PullResponse, Subscription, Topic, UpdateSubscriptionRequest,
};
use serde_json::{Value, json};
use tonic::codec::Codec;
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::proto;
use super::routes::{call_subscription, call_topic, list_of};
use super::topics::missing;
use crate::Sandbox;
use crate::oauth::Account;

/// The largest answer of a REST call.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// The routes of Pub/Sub's gRPC services.
pub(super) fn routes() -> Router<Sandbox> {
    let publisher = |call: &str| format!("/google.pubsub.v1.Publisher/{call}");
    let subscriber = |call: &str| format!("/google.pubsub.v1.Subscriber/{call}");
    Router::new()
        .route(&publisher("CreateTopic"), unary(create_topic))
        .route(&publisher("GetTopic"), unary(get_topic))
        .route(&publisher("ListTopics"), unary(list_topics))
        .route(
            &publisher("ListTopicSubscriptions"),
            unary(list_topic_subscriptions),
        )
        .route(&publisher("DeleteTopic"), unary(delete_topic))
        .route(&publisher("Publish"), unary(publish))
        .route(
            &subscriber("CreateSubscription"),
            unary(create_subscription),
        )
        .route(&subscriber("GetSubscription"), unary(get_subscription))
        .route(
            &subscriber("UpdateSubscription"),
            unary(update_subscription),
        )
        .route(&subscriber("ListSubscriptions"), unary(list_subscriptions))
        .route(
            &subscriber("DeleteSubscription"),
            unary(delete_subscription),
        )
        .route(&subscriber("ModifyPushConfig"), unary(modify_push_config))
        .route(&subscriber("Pull"), unary(pull))
        .route(&subscriber("Acknowledge"), unary(acknowledge))
        .route(&subscriber("ModifyAckDeadline"), unary(modify_ack_deadline))
        .merge(streaming_pull::routes())
}

/// A caller without credentials, or with a valid token.
struct GrpcCaller;

impl FromRequestParts<Sandbox> for GrpcCaller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, sandbox: &Sandbox) -> Result<Self, Response> {
        if !parts.headers.contains_key(AUTHORIZATION) {
            return Ok(Self);
        }
        match Account::from_request_parts(parts, sandbox).await {
            Ok(_) => Ok(Self),
            Err(_) => {
                let text = "Request had invalid authentication credentials.";
                Err(Status::unauthenticated(text).into_http())
            }
        }
    }
}

/// The route of a call with one request and one answer.
fn unary<R, A, C, F>(call: C) -> MethodRouter<Sandbox>
where
    R: Send + 'static,
    A: Send + 'static,
    C: Fn(Sandbox, R) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
    ProstCodec<A, R>: Codec<Encode = A, Decode = R>,
{
    let answer = async move |_: GrpcCaller, State(sandbox): State<Sandbox>, request: Request| {
        let mut grpc = Grpc::new(ProstCodec::<A, R>::default());
        let answer = grpc.unary(Unary { sandbox, call }, request).await;
        answer.map(Body::new)
    };
    post(answer)
}

struct Unary<C> {
    sandbox: Sandbox,
    call: C,
}

impl<R, A, C, F> UnaryService<R> for Unary<C>
where
    R: Send + 'static,
    C: Fn(Sandbox, R) -> F + Clone + Send + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    type Response = A;
    type Future = futures_util::future::BoxFuture<'static, Result<tonic::Response<A>, Status>>;

    fn call(&mut self, request: tonic::Request<R>) -> Self::Future {
        let answer = (self.call)(self.sandbox.clone(), request.into_inner());
        Box::pin(async move { answer.await.map(tonic::Response::new) })
    }
}

/// The JSON of a REST call's answer, or the status of its error.
async fn json_of(answer: Response) -> Result<Value, Status> {
    let status = answer.status();
    let body = to_bytes(answer.into_body(), ANSWER_LIMIT).await;
    let body = body.map_err(|_| Status::internal("The answer is too long."))?;
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_success() {
        return Ok(json);
    }
    let code = match status.as_u16() {
        400 => Code::InvalidArgument,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        409 => Code::AlreadyExists,
        429 => Code::ResourceExhausted,
        503 => Code::Unavailable,
        _ => Code::Internal,
    };
    let message = json["error"]["message"].as_str().unwrap_or_default();
    Err(Status::new(code, message))
}

async fn on_topic(
    sandbox: &Sandbox,
    name: &str,
    method: &str,
    request: Value,
) -> Result<Value, Status> {
    json_of(call_topic(sandbox, name, method, &request)).await
}

async fn on_subscription(
    sandbox: &Sandbox,
    name: &str,
    method: &str,
    request: Value,
) -> Result<Value, Status> {
    json_of(call_subscription(sandbox, name, method, request).await).await
}

async fn create_topic(sandbox: Sandbox, topic: Topic) -> Result<Topic, Status> {
    let made = on_topic(&sandbox, &topic.name, "PUT", proto::topic_json(&topic)).await?;
    Ok(proto::topic(&made))
}

async fn get_topic(sandbox: Sandbox, request: GetTopicRequest) -> Result<Topic, Status> {
    let found = on_topic(&sandbox, &request.topic, "GET", Value::Null).await?;
    Ok(proto::topic(&found))
}

async fn list_topics(
    sandbox: Sandbox,
    request: ListTopicsRequest,
) -> Result<ListTopicsResponse, Status> {
    let project = project_of(&request.project)?;
    let listed = json_of(sandbox.pubsub().list_topics(project)).await?;
    let topics = listed["topics"].as_array();
    Ok(ListTopicsResponse {
        topics: topics.into_iter().flatten().map(proto::topic).collect(),
        next_page_token: String::new(),
    })
}

async fn list_topic_subscriptions(
    sandbox: Sandbox,
    request: ListTopicSubscriptionsRequest,
) -> Result<ListTopicSubscriptionsResponse, Status> {
    let Some(subscriptions) = sandbox.pubsub().subscriptions_of(&request.topic) else {
        json_of(missing(&request.topic)).await?;
        return Ok(ListTopicSubscriptionsResponse::default());
    };
    Ok(ListTopicSubscriptionsResponse {
        subscriptions,
        next_page_token: String::new(),
    })
}

async fn delete_topic(sandbox: Sandbox, request: DeleteTopicRequest) -> Result<(), Status> {
    let deleted = on_topic(&sandbox, &request.topic, "DELETE", Value::Null).await;
    deleted.map(drop)
}

async fn publish(sandbox: Sandbox, request: PublishRequest) -> Result<PublishResponse, Status> {
    let messages: Vec<_> = request.messages.iter().map(proto::message_json).collect();
    let name = format!("{}:publish", request.topic);
    let published = on_topic(&sandbox, &name, "POST", json!({ "messages": messages })).await?;
    Ok(PublishResponse {
        message_ids: proto::texts(&published["messageIds"]),
    })
}

async fn create_subscription(
    sandbox: Sandbox,
    subscription: Subscription,
) -> Result<Subscription, Status> {
    let settings = proto::subscription_json(&subscription);
    let made = on_subscription(&sandbox, &subscription.name, "PUT", settings).await?;
    Ok(proto::subscription(&made))
}

async fn get_subscription(
    sandbox: Sandbox,
    request: GetSubscriptionRequest,
) -> Result<Subscription, Status> {
    let found = on_subscription(&sandbox, &request.subscription, "GET", Value::Null).await?;
    Ok(proto::subscription(&found))
}

async fn update_subscription(
    sandbox: Sandbox,
    request: UpdateSubscriptionRequest,
) -> Result<Subscription, Status> {
    let subscription = request.subscription.unwrap_or_default();
    let paths = request.update_mask.map(|mask| mask.paths);
    let paths: Vec<_> = paths
        .iter()
        .flatten()
        .map(|path| proto::camel(path))
        .collect();
    let change = json!({
        "subscription": proto::subscription_json(&subscription),
        "updateMask": paths.join(","),
    });
    let changed = on_subscription(&sandbox, &subscription.name, "PATCH", change).await?;
    Ok(proto::subscription(&changed))
}

async fn list_subscriptions(
    sandbox: Sandbox,
    request: ListSubscriptionsRequest,
) -> Result<ListSubscriptionsResponse, Status> {
    let project = project_of(&request.project)?;
    let listed = json_of(list_of(&sandbox, project)).await?;
    let listed = listed["subscriptions"].as_array();
    Ok(ListSubscriptionsResponse {
        subscriptions: listed
            .into_iter()
            .flatten()
            .map(proto::subscription)
            .collect(),
        next_page_token: String::new(),
    })
}

async fn delete_subscription(
    sandbox: Sandbox,
    request: DeleteSubscriptionRequest,
) -> Result<(), Status> {
    let deleted = on_subscription(&sandbox, &request.subscription, "DELETE", Value::Null).await;
    deleted.map(drop)
}

async fn modify_push_config(
    sandbox: Sandbox,
    request: ModifyPushConfigRequest,
) -> Result<(), Status> {
    let name = format!("{}:modifyPushConfig", request.subscription);
    let push = request.push_config.as_ref().map(proto::push_config_json);
    let change = json!({ "pushConfig": push.unwrap_or_else(|| json!({})) });
    on_subscription(&sandbox, &name, "POST", change)
        .await
        .map(drop)
}

async fn pull(sandbox: Sandbox, request: PullRequest) -> Result<PullResponse, Status> {
    let name = format!("{}:pull", request.subscription);
    let how = json!({ "maxMessages": request.max_messages });
    let pulled = on_subscription(&sandbox, &name, "POST", how).await?;
    let received = pulled["receivedMessages"].as_array();
    Ok(PullResponse {
        received_messages: received
            .into_iter()
            .flatten()
            .map(proto::received)
            .collect(),
    })
}

async fn acknowledge(sandbox: Sandbox, request: AcknowledgeRequest) -> Result<(), Status> {
    let name = format!("{}:acknowledge", request.subscription);
    let ids = json!({ "ackIds": request.ack_ids });
    on_subscription(&sandbox, &name, "POST", ids)
        .await
        .map(drop)
}

async fn modify_ack_deadline(
    sandbox: Sandbox,
    request: ModifyAckDeadlineRequest,
) -> Result<(), Status> {
    let name = format!("{}:modifyAckDeadline", request.subscription);
    let change = json!({
        "ackIds": request.ack_ids,
        "ackDeadlineSeconds": request.ack_deadline_seconds,
    });
    on_subscription(&sandbox, &name, "POST", change)
        .await
        .map(drop)
}

/// The project of `projects/P`.
fn project_of(name: &str) -> Result<&str, Status> {
    let project = name.strip_prefix("projects/");
    project.ok_or_else(|| Status::invalid_argument("A project is named projects/P."))
}
