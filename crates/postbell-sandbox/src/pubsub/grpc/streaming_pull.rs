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
use tokio::time::{Instant, sleep, sleep_until};
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

/// How long a client may send nothing until its stream is ended. Google's libraries send a request each 30 seconds, which
/// may be empty, because streams are ended after a minute (google-cloud-dotnet, `SubscriberClientImpl`).
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

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
                // <https://github.com/googleapis/google-cloud-go/pull/13457>
                answers_pings: first.protocol_version >= 1,
                heard_at: Instant::now(),
                _open: Arc::clone(&subscription.open),
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
    /// Whether an empty request gets an empty answer.
    answers_pings: bool,
    /// When the client has sent something last.
    heard_at: Instant,
    /// Counts the streams.
    _open: Arc<()>,
}

impl Pulling {
    /// Waits for available messages, or for the status that ends the stream.
    async fn next(&mut self) -> Result<StreamingPullResponse, Status> {
        let subscription = Arc::clone(&self.subscription);
        let backlog = &subscription.backlog;
        loop {
            if self.heard_at.elapsed() >= LONGEST_SILENCE {
                return Err(Status::unavailable(
                    "The client has sent nothing for a minute.",
                ));
            }
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
                    Some(request) => {
                        self.heard_at = Instant::now();
                        if self.answers_pings && request == StreamingPullRequest::default() {
                            return Ok(StreamingPullResponse::default());
                        }
                        self.act_on(&request)?;
                    }
                    // The client half-closed the stream: no more messages.
                    None => return Err(Status::ok("")),
                },
                () = available => (),
                () = acknowledged => (),
                () = sleep_until(self.heard_at + LONGEST_SILENCE) => (),
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

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use futures_util::stream::{iter, pending};
    use serde_json::{Map, Value};
    use tonic::codec::Codec;

    use super::*;
    use crate::pubsub::Message;

    const NAME: &str = "projects/p/subscriptions/s";

    /// A stream whose client sends so many empty requests at once, and then nothing.
    fn pulling(subscription: &Arc<Subscription>, pings: usize) -> Pulling {
        // An uncompressed message of no bytes.
        let ping = || Ok::<_, Status>(Bytes::from_static(&[0; 5]));
        let body = Body::from_stream(iter((0..pings).map(move |_| ping())).chain(pending()));
        let mut codec = ProstCodec::<StreamingPullResponse, StreamingPullRequest>::default();
        Pulling {
            subscription: Arc::clone(subscription),
            requests: Streaming::new_request(codec.decoder(), body, None, None),
            most_out: MOST_OUT,
            deadline: Duration::from_secs(60),
            stop: CancellationToken::new(),
            answers_pings: true,
            heard_at: Instant::now(),
            _open: Arc::clone(&subscription.open),
        }
    }

    fn subscription() -> Arc<Subscription> {
        let deleted = CancellationToken::new();
        Arc::new(Subscription::new(NAME, "t", Value::Null, deleted))
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_request_gets_an_empty_answer() {
        let mut pulling = pulling(&subscription(), 2);
        for _ in 0..2 {
            let answer = pulling.next().await.unwrap();
            assert_eq!(answer, StreamingPullResponse::default());
        }
    }

    /// Its unacknowledged messages are delivered on another one, after the deadline.
    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_client_is_dead_gets_a_message_and_is_ended_after_a_minute() {
        let subscription = subscription();
        let mut dead = pulling(&subscription, 0);
        subscription.backlog.add(Arc::new(Message {
            id: "1".to_owned(),
            data: String::new(),
            attributes: Map::new(),
            published_at: String::new(),
            ordering_key: String::new(),
        }));
        let begun = Instant::now();
        assert_eq!(dead.next().await.unwrap().received_messages.len(), 1);
        assert_eq!(
            dead.next().await.unwrap_err().code(),
            tonic::Code::Unavailable
        );
        assert_eq!(begun.elapsed(), LONGEST_SILENCE);

        let answer = pulling(&subscription, 0).next().await.unwrap();
        assert_eq!(answer.received_messages.len(), 1);
    }
}
