use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::post;
use postbell_controller::Controller;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::ServiceExt;
use url::Url;

const TOKEN: &str = "a-gateway-token";

/// A controller and, behind it, a watcher that always answers the same; both go with the test.
struct World {
    controller: Controller,
    _watcher: JoinSet<()>,
}

impl World {
    /// A watcher that answers `status`, if it is shown the gateway token and the right body.
    async fn with_watcher_answering(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap();
        let watcher = async move |headers: HeaderMap, body: String| {
            let token = headers
                .get("x-gog-token")
                .and_then(|value| value.to_str().ok());
            assert_eq!((token, body.as_str()), (Some(TOKEN), "the body"));
            status
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/gmail-pubsub", listener.local_addr().unwrap());
        let router = Router::new().route("/gmail-pubsub", post(watcher));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            controller: controller(Some(&url)),
            _watcher: tasks,
        }
    }

    async fn push(&self, token: &str) -> (u16, Value) {
        push(&self.controller, token, "the body").await
    }
}

fn controller(watcher_url: Option<&str>) -> Controller {
    Controller {
        gateway_token: Arc::new(TOKEN.into()),
        watcher_url: watcher_url.map(|url| Url::parse(url).unwrap()),
        client: reqwest::Client::new(),
    }
}

async fn push(controller: &Controller, token: &str, body: &str) -> (u16, Value) {
    let request = Request::post("/_kilo/gmail-pubsub")
        .header("authorization", token)
        .body(Body::from(body.to_owned()))
        .unwrap();
    let answer = controller.clone().router().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn what_the_watcher_takes_is_passed_through_with_its_status() {
    for status in [200, 202] {
        let world = World::with_watcher_answering(status).await;
        let taken = (status, json!({ "ok": true, "gogStatus": status }));
        assert_eq!(world.push(&format!("Bearer {TOKEN}")).await, taken);
    }
}

#[tokio::test]
async fn what_the_watcher_will_never_take_is_not_repeated() {
    for status in [400, 401, 405, 413] {
        let world = World::with_watcher_answering(status).await;
        let (answered, body) = world.push(&format!("Bearer {TOKEN}")).await;
        assert_eq!((answered, &body["gogStatus"]), (200, &json!(status)));
    }
}

#[tokio::test]
async fn what_the_watcher_failed_at_is_repeated() {
    for status in [500, 502, 503] {
        let world = World::with_watcher_answering(status).await;
        assert_eq!(world.push(&format!("Bearer {TOKEN}")).await.0, 500);
    }
}

#[tokio::test]
async fn a_watcher_that_is_not_there_is_tried_again() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/gmail-pubsub", gone.local_addr().unwrap());
    drop(gone);
    assert_eq!(
        push(&controller(Some(&url)), &format!("Bearer {TOKEN}"), "")
            .await
            .0,
        500
    );
}

#[tokio::test]
async fn only_the_gateway_token_opens() {
    let world = World::with_watcher_answering(200).await;
    let longer = format!("Bearer {TOKEN}x");
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        "Basic a-gateway-token",
        longer.as_str(),
    ] {
        assert_eq!(world.push(wrong).await.0, 401, "{wrong:?}");
    }
}

#[tokio::test]
async fn without_a_watcher_there_is_no_such_route() {
    assert_eq!(
        push(&controller(None), &format!("Bearer {TOKEN}"), "")
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let world = World::with_watcher_answering(200).await;
    let long = "x".repeat(64 * 1024 + 1);
    let (status, _) = push(&world.controller, &format!("Bearer {TOKEN}"), &long).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn health_answers_anybody() {
    let request = Request::get("/health").body(Body::empty()).unwrap();
    let answer = controller(None).router().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
}
