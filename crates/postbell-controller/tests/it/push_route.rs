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
use crate::fixture::{LONG_RUNNING, Served, TOKEN, TestMachine, answer, closed_port};

/// A machine with a Google account and a script as its watcher.
fn machine(script: &str) -> TestMachine {
    let tarball = tarball(&[("gogcli/config.json", "{}")]);
    TestMachine::new().watcher(script).account(&tarball)
}

/// A watcher that checks the gateway token and the body and answers with `status`.
async fn watcher_answering(status: u16) -> Served {
    let status = StatusCode::from_u16(status).unwrap();
    let handler = async move |headers: HeaderMap, body: String| {
        let token = headers
            .get("x-gog-token")
            .and_then(|token| token.to_str().ok());
        assert_eq!((token, body.as_str()), (Some(TOKEN), "the body"));
        (status, "ignored")
    };
    Served::new(Router::new().route("/gmail-pubsub", post(handler))).await
}

/// Returns the response to the relay if the watcher answers `status`.
async fn response(status: u16) -> (u16, Value) {
    let watcher = watcher_answering(status).await;
    let controller = machine(LONG_RUNNING).watcher_at(&watcher).start().await;
    let response = controller.push(&format!("Bearer {TOKEN}")).await;
    controller.shut_down().await;
    response
}

#[tokio::test]
async fn success_statuses_of_the_watcher_are_forwarded() {
    for status in [200, 202] {
        let expected = (status, json!({ "ok": true, "gogStatus": status }));
        assert_eq!(response(status).await, expected);
    }
}

/// Its watcher would answer 202 to a mailbox that it does not know.
#[tokio::test]
async fn a_machine_that_watches_one_account_refuses_pushes_for_further_ones() {
    let watcher = watcher_answering(202).await;
    let controller = machine(LONG_RUNNING).watcher_at(&watcher).start().await;
    let token = GatewayToken::try_from(TOKEN).unwrap();
    let token = token.of_further_accounts();
    let refused = controller.push(&format!("Bearer {}", token.expose())).await;
    assert_eq!(refused.0, 401);
    controller.shut_down().await;
}

#[tokio::test]
async fn a_push_keeps_its_trace_and_one_without_gets_one() {
    let (sender, mut traces) = tokio::sync::mpsc::unbounded_channel();
    let handler = async move |headers: HeaderMap| {
        let trace = headers.get("traceparent").unwrap().to_str().unwrap();
        sender.send(trace.to_owned()).unwrap();
        "ok"
    };
    let watcher = Served::new(Router::new().route("/gmail-pubsub", post(handler))).await;
    let controller = machine(LONG_RUNNING).watcher_at(&watcher).start().await;
    let push = async |headers: &[(&str, &str)]| {
        let mut request = controller.post("/_kilo/gmail-pubsub").body("the body");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("authorization", format!("Bearer {TOKEN}"));
        assert_eq!(request.send().await.unwrap().status(), 200);
    };
    let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    push(&[("traceparent", given)]).await;
    let sent = traces.recv().await.unwrap();
    assert_eq!(sent[..36], given[..36], "the version and the trace");
    assert_ne!(sent, given, "a span of its own");
    push(&[]).await;
    let begun = traces.recv().await.unwrap();
    assert!(begun.parse::<postbell_core::TraceContext>().is_ok());
    controller.shut_down().await;
}

#[tokio::test]
async fn client_errors_of_the_watcher_become_200() {
    for status in [400, 401, 405, 413] {
        let (relayed, body) = response(status).await;
        assert_eq!((relayed, &body["gogStatus"]), (200, &json!(status)));
    }
}

#[tokio::test]
async fn server_errors_of_the_watcher_become_500() {
    for status in [500, 502, 503, 301] {
        assert_eq!(response(status).await.0, 500);
    }
}

#[tokio::test]
async fn a_failure_of_the_watcher_has_its_reason_and_says_when_to_retry() {
    let failing = async || {
        (
            StatusCode::BAD_GATEWAY,
            [("retry-after", "17")],
            "of a mail",
        )
    };
    let watcher = Served::new(Router::new().route("/gmail-pubsub", post(failing))).await;
    let controller = machine(LONG_RUNNING).watcher_at(&watcher).start().await;
    controller.settled().await;
    for (problem, expected) in [
        ("", json!({ "error": "The watcher failed" })),
        (
            "grant_revoked",
            json!({ "error": "The watcher failed", "problem": "grant_revoked" }),
        ),
    ] {
        controller.set_problem(problem);
        let push = controller.post("/_kilo/gmail-pubsub").bearer_auth(TOKEN);
        let response = push.body("the body").send().await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["retry-after"], "17");
        assert_eq!(response.json::<Value>().await.unwrap(), expected);
    }
    controller.shut_down().await;
}

#[tokio::test]
async fn a_watcher_that_cannot_start_is_503() {
    let watcher = watcher_answering(200).await;
    let machine = machine(LONG_RUNNING).watcher_at(&watcher);
    std::fs::remove_file(machine.path("bin/watcher")).unwrap();
    let controller = machine.start().await;
    let degraded = json!({
        "status": "ok", "state": "degraded", "error": "Startup failed during watcher-start",
        "mail": "problem",
    });
    assert_eq!(controller.settled().await, degraded);
    let refused = json!({ "error": "The watcher is not running" });
    assert_eq!(
        controller.push("Bearer of-the-gateway").await,
        (503, refused)
    );
    controller.shut_down().await;
}

#[tokio::test]
async fn a_push_waits_for_a_starting_watcher() {
    let port = closed_port().await;
    let controller = machine(LONG_RUNNING).watcher_on(port).start().await;
    controller.settled().await;
    // The process runs, but does not listen yet.
    let watcher = async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The readiness probe sends nothing.
            if stream.read(&mut [0; 4096]).await.unwrap() > 0 {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
                return;
            }
        }
    };
    let (pushed, ()) = tokio::join!(controller.push("bearer of-the-gateway"), watcher);
    assert_eq!(pushed.0, 200);
    controller.shut_down().await;
}

#[tokio::test]
async fn an_aborted_response_of_the_watcher_is_500() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let controller = machine(LONG_RUNNING).watcher_on(port).start().await;
    let breaks_off = async {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream)
        }
    };
    let pushed = controller.push("Bearer of-the-gateway");
    let pushed = tokio::select! {
        pushed = pushed => pushed,
        () = breaks_off => unreachable!(),
    };
    let failed = json!({ "error": "The watcher did not answer" });
    assert_eq!(pushed, (500, failed));
    controller.shut_down().await;
}

#[tokio::test]
async fn other_tokens_are_rejected() {
    let watcher = watcher_answering(200).await;
    let controller = machine(LONG_RUNNING).watcher_at(&watcher).start().await;
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        "Basic of-the-gateway",
        "Bearer of-the-gatewayx",
    ] {
        assert_eq!(controller.push(wrong).await.0, 401, "{wrong:?}");
    }
    controller.shut_down().await;
}

#[tokio::test]
async fn without_a_google_account_pushes_are_404() {
    let controller = TestMachine::new().start().await;
    for authorization in ["", "Bearer of-the-gateway"] {
        assert_eq!(controller.push(authorization).await.0, 404);
    }
    controller.shut_down().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let watcher = watcher_answering(200).await;
    let controller = machine(LONG_RUNNING).watcher_at(&watcher).start().await;
    let long = "x".repeat(64 * 1024 + 1);
    let request = controller
        .post("/_kilo/gmail-pubsub")
        .bearer_auth(TOKEN)
        .body(long);
    let refused = answer(request).await;
    assert_eq!(refused.0, 413);
    assert!(refused.1["error"].is_string(), "{refused:?}");
    controller.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_push_times_out() {
    let token = GatewayToken::try_from(TOKEN).unwrap();
    let route = PushRoute::new(token, Some(Endpoint::always_ready(9)));
    let never = stream::pending::<Result<Bytes, std::io::Error>>();
    let push = Request::post("/_kilo/gmail-pubsub")
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Body::from_stream(never))
        .unwrap();
    let answer = route.router().oneshot(push).await.unwrap();
    assert_eq!(answer.status(), 500);
}
