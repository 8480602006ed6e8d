//! Streaming pull, as Google's client libraries use it
//! (<https://docs.cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#subscriber>).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{BoxStream, StreamExt, unfold};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    PubsubMessage, ReceivedMessage, StreamingPullRequest, StreamingPullResponse,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::server::{Grpc, StreamingService};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use super::GrpcCaller;
use crate::Sandbox;
use crate::pubsub::backlog::Leased;
use crate::pubsub::subscription::Subscription;

/// Interval of the check for expired deadlines.
const OVERDUE_LOOK: Duration = Duration::from_millis(500);

/// Default bound of outstanding messages.
const MOST_OUT: usize = 1_000;

/// The route of the streaming pull.
pub(super) fn routes() -> Router<Sandbox> {
    Router::new().route(
        "/google.pubsub.v1.Subscriber/StreamingPull",
        post(streaming_pull),
    )
}

async fn streaming_pull(
    _: GrpcCaller,
    State(sandbox): State<Sandbox>,
    request: Request,
) -> Response {
    let mut grpc = Grpc::new(ProstCodec::default());
    let answer = grpc.streaming(Calls(sandbox), request).await;
    answer.map(Body::new)
}

struct Calls(Sandbox);

impl Calls {
    fn subscription(&self, name: &str) -> Result<Arc<Subscription>, Status> {
        self.0
            .pubsub()
            .subscription(name)
            .ok_or_else(|| Status::not_found("Resource not found."))
    }
}

impl StreamingService<StreamingPullRequest> for Calls {
    type Response = StreamingPullResponse;
    type ResponseStream = BoxStream<'static, Result<StreamingPullResponse, Status>>;
    type Future = BoxFuture<'static, Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<StreamingPullRequest>>) -> Self::Future {
        let calls = Self(self.0.clone());
        let mut requests = request.into_inner();
        async move {
            let missing = || Status::invalid_argument("The first request names a subscription.");
            let first = requests.message().await?.ok_or_else(missing)?;
            let subscription = calls.subscription(&first.subscription)?;
            if subscription.push_config().is_some() {
                let message = "This method is not supported for this subscription type.";
                return Err(Status::failed_precondition(message));
            }
            let pulling = Pulling {
                most_out: usize::try_from(first.max_outstanding_messages)
                    .ok()
                    .filter(|most| *most > 0)
                    .unwrap_or(MOST_OUT),
                deadline: seconds(first.stream_ack_deadline_seconds)?,
                stop: calls.0.child_token(),
                subscription,
                requests,
            };
            let answers = unfold(Some(pulling), |pulling| async move {
                let mut pulling = pulling?;
                match pulling.next().await {
                    Ok(answer) => Some((Ok(answer), Some(pulling))),
                    Err(status) => Some((Err(status), None)),
                }
            });
            Ok(tonic::Response::new(answers.boxed()))
        }
        .boxed()
    }
}

/// An open stream.
struct Pulling {
    subscription: Arc<Subscription>,
    requests: Streaming<StreamingPullRequest>,
    most_out: usize,
    deadline: Duration,
    stop: CancellationToken,
}

impl Pulling {
    /// Waits for available messages, or for the status that ends the stream.
    async fn next(&mut self) -> Result<StreamingPullResponse, Status> {
        let subscription = Arc::clone(&self.subscription);
        let backlog = &subscription.backlog;
        loop {
            let acknowledged = backlog.acknowledgements.notified();
            let available = backlog.available.notified();
            let room = self.most_out.saturating_sub(backlog.out());
            let taken = backlog.take(room, self.deadline);
            if !taken.is_empty() {
                return Ok(StreamingPullResponse {
                    received_messages: taken.into_iter().map(received).collect(),
                    ..StreamingPullResponse::default()
                });
            }
            tokio::select! {
                () = self.stop.cancelled() => return Err(Status::unavailable("Stopping.")),
                () = subscription.deleted.cancelled() => {
                    return Err(Status::not_found("Resource not found."));
                }
                request = self.requests.message() => match request? {
                    Some(request) => self.act_on(&request)?,
                    // The client half-closed the stream: no more messages.
                    None => return Err(Status::ok("")),
                },
                () = available => (),
                () = acknowledged => (),
                () = sleep(OVERDUE_LOOK) => (),
            }
        }
    }

    fn act_on(&self, request: &StreamingPullRequest) -> Result<(), Status> {
        for id in &request.ack_ids {
            self.subscription.backlog.acknowledge(id);
        }
        let deadlines = request.modify_deadline_seconds.iter();
        for (id, deadline) in request.modify_deadline_ack_ids.iter().zip(deadlines) {
            self.subscription.backlog.extend(id, seconds(*deadline)?);
        }
        Ok(())
    }
}

fn seconds(number: i32) -> Result<Duration, Status> {
    let number = u64::try_from(number);
    let number = number.map_err(|_| Status::invalid_argument("A deadline is not negative."))?;
    Ok(Duration::from_secs(number.min(600)))
}

fn received((ack_id, leased): (String, Leased)) -> ReceivedMessage {
    let message = &leased.message;
    let attributes = message.attributes.iter().filter_map(|(name, value)| {
        let value = value.as_str()?;
        Some((name.clone(), value.to_owned()))
    });
    ReceivedMessage {
        ack_id,
        message: Some(PubsubMessage {
            data: BASE64_STANDARD.decode(&message.data).unwrap_or_default(),
            attributes: attributes.collect(),
            message_id: message.id.clone(),
            publish_time: message.published_at.parse().ok(),
            ordering_key: message.ordering_key.clone(),
        }),
        delivery_attempt: 0,
    }
}
