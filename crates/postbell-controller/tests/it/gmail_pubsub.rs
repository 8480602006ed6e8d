use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::post;
use futures_util::stream;
use postbell_controller::{Endpoint, PushRoute};
use postbell_protocol::gateway_token::GatewayToken;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower::ServiceExt;

use crate::credentials::tarball;
use crate::world::{Plan, STAYS, Served, TOKEN, answer, closed_port};

/// A machine with a Google account, whose watcher's process is this script.
fn plan(script: &str) -> Plan {
    let tarball = tarball(&[("gogcli/config.json", "{}")]);
    Plan::new().watcher(script).account(&tarball)
}

/// A watcher that always answers the same, if it is shown the gateway token and the right body.
async fn watcher_answering(status: u16) -> Served {
    let status = StatusCode::from_u16(status).unwrap();
    let take = async move |headers: HeaderMap, body: String| {
        let token = headers
            .get("x-gog-token")
            .and_then(|token| token.to_str().ok());
        assert_eq!((token, body.as_str()), (Some(TOKEN), "the body"));
        (status, "nothing that the relay would need")
    };
    Served::new(Router::new().route("/gmail-pubsub", post(take))).await
}

/// What the relay is told where the watcher answers `status`.
async fn told(status: u16) -> (u16, Value) {
    let watcher = watcher_answering(status).await;
    let world = plan(STAYS).watcher_at(&watcher).start().await;
    let told = world.push(&format!("Bearer {TOKEN}")).await;
    world.shut_down().await;
    told
}

#[tokio::test]
async fn what_the_watcher_takes_is_passed_through_with_its_status() {
    for status in [200, 202] {
        let taken = (status, json!({ "ok": true, "gogStatus": status }));
        assert_eq!(told(status).await, taken);
    }
}

#[tokio::test]
async fn what_the_watcher_will_never_take_is_not_repeated() {
    for status in [400, 401, 405, 413] {
        let (told, body) = told(status).await;
        assert_eq!((told, &body["gogStatus"]), (200, &json!(status)));
    }
}

#[tokio::test]
async fn what_the_watcher_failed_at_is_repeated() {
    for status in [500, 502, 503, 301] {
        assert_eq!(told(status).await.0, 500);
    }
}

#[tokio::test]
async fn a_watcher_whose_process_does_not_run_is_unavailable() {
    let watcher = watcher_answering(200).await;
    let plan = plan(STAYS).watcher_at(&watcher);
    std::fs::remove_file(plan.path("bin/watcher")).unwrap();
    let world = plan.start().await;
    let degraded = json!({
        "status": "ok", "state": "degraded", "error": "Startup failed during watcher-start",
    });
    assert_eq!(world.settled().await, degraded);
    let refused = json!({ "error": "The watcher is not running" });
    assert_eq!(world.push("Bearer of-the-gateway").await, (503, refused));
    world.shut_down().await;
}

#[tokio::test]
async fn a_push_that_wakes_the_machine_waits_for_the_watcher() {
    let port = closed_port().await;
    let world = plan(STAYS).watcher_on(port).start().await;
    world.settled().await;
    // Its process runs, and it does not listen before somebody has tried its door.
    let watcher = async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Whoever only tries the door says nothing.
            if stream.read(&mut [0; 4096]).await.unwrap() > 0 {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
                return;
            }
        }
    };
    let (pushed, ()) = tokio::join!(world.push("bearer of-the-gateway"), watcher);
    assert_eq!(pushed.0, 200);
    world.shut_down().await;
}

#[tokio::test]
async fn a_watcher_that_breaks_off_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let world = plan(STAYS).watcher_on(port).start().await;
    let breaks_off = async {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream)
        }
    };
    let pushed = world.push("Bearer of-the-gateway");
    let pushed = tokio::select! {
        pushed = pushed => pushed,
        () = breaks_off => unreachable!(),
    };
    let failed = json!({ "error": "The watcher did not answer" });
    assert_eq!(pushed, (500, failed));
    world.shut_down().await;
}

#[tokio::test]
async fn only_the_gateway_token_opens() {
    let watcher = watcher_answering(200).await;
    let world = plan(STAYS).watcher_at(&watcher).start().await;
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        "Basic of-the-gateway",
        "Bearer of-the-gatewayx",
    ] {
        assert_eq!(world.push(wrong).await.0, 401, "{wrong:?}");
    }
    world.shut_down().await;
}

#[tokio::test]
async fn without_a_google_account_there_is_no_such_route() {
    let world = Plan::new().start().await;
    for authorization in ["", "Bearer of-the-gateway"] {
        assert_eq!(world.push(authorization).await.0, 404);
    }
    world.shut_down().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let watcher = watcher_answering(200).await;
    let world = plan(STAYS).watcher_at(&watcher).start().await;
    let long = "x".repeat(64 * 1024 + 1);
    let request = world
        .post("/_kilo/gmail-pubsub")
        .bearer_auth(TOKEN)
        .body(long);
    let refused = answer(request).await;
    assert_eq!(refused.0, 413);
    assert!(refused.1["error"].is_string(), "{refused:?}");
    world.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_that_never_comes_whole_is_not_waited_for() {
    let token = GatewayToken::try_from(TOKEN).unwrap();
    let route = PushRoute::new(token, Some(Endpoint::always_there(9)));
    let never = stream::pending::<Result<Bytes, std::io::Error>>();
    let push = Request::post("/_kilo/gmail-pubsub")
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Body::from_stream(never))
        .unwrap();
    let answer = route.router().oneshot(push).await.unwrap();
    assert_eq!(answer.status(), 500);
}
