use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::yield_now;

use crate::credentials::tarball;
use crate::world::{Plan, STAYS, Served, TOKEN, World, answer};

/// A machine with a Google account, whose watcher's process is this script.
fn plan(script: &str) -> Plan {
    let account = ("KILOCLAW_GOOGLE_ACCOUNT_EMAIL", "ann@example.com");
    Plan::new()
        .program("watcher", script)
        .with(
            "KILOCLAW_GOG_CONFIG_TARBALL",
            &tarball(&[("gogcli/config.json", "{}")]),
        )
        .with(account.0, account.1)
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

async fn push(world: &World, authorization: &str) -> (u16, Value) {
    let request = world.post("/_kilo/gmail-pubsub").body("the body");
    let (status, body) = answer(request.header("authorization", authorization)).await;
    (status.as_u16(), body)
}

/// What the relay is told where the watcher answers `status`.
async fn told(status: u16) -> (u16, Value) {
    let watcher = watcher_answering(status).await;
    let world = plan(STAYS).watcher_at(&watcher).start().await;
    let told = push(&world, &format!("Bearer {TOKEN}")).await;
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
async fn a_watcher_whose_process_does_not_run_is_tried_again() {
    let watcher = watcher_answering(200).await;
    let plan = plan("exit 1").watcher_at(&watcher);
    std::fs::remove_file(plan.path("bin/watcher")).unwrap();
    // There is none in PATH either.
    let world = plan.start().await;
    world.settled().await;
    let refused = json!({ "error": "The watcher is not running" });
    assert_eq!(push(&world, "Bearer of-the-gateway").await, (503, refused));
    world.shut_down().await;
}

#[tokio::test]
async fn a_push_that_wakes_the_machine_waits_for_the_watcher() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let world = plan(STAYS).watcher_on(port).start().await;
    world.settled().await;
    let (answer, ()) = tokio::join!(push(&world, "bearer of-the-gateway"), async {
        // Its process runs, and it does not listen yet.
        for _ in 0..100 {
            yield_now().await;
        }
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let (mut stream, _) = loop {
            let (mut stream, address) = listener.accept().await.unwrap();
            // Whoever only tries the door says nothing.
            if stream.read(&mut [0; 4096]).await.unwrap() > 0 {
                break (stream, address);
            }
        };
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    assert_eq!(answer.0, 200);
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
        assert_eq!(push(&world, wrong).await.0, 401, "{wrong:?}");
    }
    world.shut_down().await;
}

#[tokio::test]
async fn without_a_google_account_there_is_no_such_route() {
    let world = Plan::new().start().await;
    for authorization in ["", "Bearer of-the-gateway"] {
        assert_eq!(push(&world, authorization).await.0, 404);
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
    assert_eq!(answer(request).await.0, 413);
    world.shut_down().await;
}
