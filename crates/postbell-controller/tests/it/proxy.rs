use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Served, TOKEN, TestController, TestMachine, answer, with_deadline};

/// A gateway that answers with the request it received.
async fn echo() -> Served {
    let echo = async |request: Request| {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 24).await.unwrap();
        let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap());
        let echoed = json!({
            "method": parts.method.as_str(),
            "path": parts.uri.to_string(),
            "host": header("host"),
            "proxyToken": header("x-kiloclaw-proxy-token"),
            "forwarded": header("x-forwarded-for"),
            "authorization": header("authorization"),
            "length": body.len(),
        });
        (
            StatusCode::CREATED,
            [("x-of-the-gateway", "1"), ("keep-alive", "9")],
            echoed.to_string(),
        )
    };
    Served::new(Router::new().fallback(any(echo))).await
}

/// Sends raw bytes and returns the whole response.
pub(crate) async fn raw(controller: &TestController, text: &str) -> String {
    let mut stream = TcpStream::connect(controller.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_body_of_unknown_length_arrives_with_any_method() {
    let gateway = echo().await;
    let controller = TestMachine::new().gateway_at(&gateway).start().await;
    controller.settled().await;
    for method in ["GET", "DELETE", "POST"] {
        let head = format!(
            "{method} /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked"
        );
        let answer = raw(&controller, &format!("{head}\r\n\r\n3\r\nabc\r\n0\r\n\r\n")).await;
        assert!(answer.contains(r#""length":3"#), "{method}: {answer}");
    }
    controller.shut_down().await;
}

#[tokio::test]
async fn other_paths_are_forwarded_to_the_gateway() {
    let gateway = echo().await;
    let controller = TestMachine::new().gateway_at(&gateway).start().await;
    controller.settled().await;
    let request = controller
        .client
        .patch(controller.url("/a%20b/c?d=%2F&e"))
        .header("x-forwarded-for", "203.0.113.7")
        .header("x-kiloclaw-proxy-token", "given without need")
        .bearer_auth("of somebody")
        .body("12345");
    let answered = request.send().await.unwrap();
    assert_eq!(answered.status(), 201);
    assert_eq!(answered.headers()["x-of-the-gateway"], "1");
    assert!(!answered.headers().contains_key("keep-alive"));
    let echoed: Value = answered.json().await.unwrap();
    let expected = json!({
        "method": "PATCH",
        "path": "/a%20b/c?d=%2F&e",
        "host": format!("127.0.0.1:{}", gateway.port),
        "proxyToken": null,
        "forwarded": null,
        "authorization": "Bearer of somebody",
        "length": 5,
    });
    assert_eq!(echoed, expected);
    controller.shut_down().await;
}

#[tokio::test]
async fn a_required_proxy_token_is_enforced() {
    let gateway = echo().await;
    let machine = TestMachine::new().gateway_at(&gateway);
    let controller = machine.with("REQUIRE_PROXY_TOKEN", "true").start().await;
    controller.settled().await;
    for wrong in ["", "of-the-gatewa", "of-the-gatewayx"] {
        let request = controller.get("/").header("x-kiloclaw-proxy-token", wrong);
        assert_eq!(answer(request).await.0, 401, "{wrong:?}");
    }
    assert_eq!(answer(controller.get("/").bearer_auth(TOKEN)).await.0, 401);
    let request = controller.get("/").header("x-kiloclaw-proxy-token", TOKEN);
    let (status, echoed) = answer(request).await;
    assert_eq!(
        (status.as_u16(), &echoed["proxyToken"]),
        (201, &Value::Null)
    );
    assert_eq!(answer(controller.get("/health")).await.0, 200);
    controller.shut_down().await;
}

#[tokio::test]
async fn a_stopped_gateway_is_503_and_one_that_does_not_listen_is_502() {
    let gateway = echo().await;
    let controller = TestMachine::new().gateway_at(&gateway).start().await;
    controller.settled().await;
    let stop = controller.post("/_kilo/gateway/stop").bearer_auth(TOKEN);
    assert_eq!(answer(stop).await.0, 200);
    let answered = controller.get("/").send().await.unwrap();
    assert_eq!(answered.status(), 503);
    assert_eq!(answered.headers()["retry-after"], "5");
    controller.shut_down().await;

    let controller = TestMachine::new().start().await;
    controller.settled().await;
    let (status, body) = answer(controller.get("/")).await;
    let bad = json!({ "error": "Bad Gateway" });
    assert_eq!((status.as_u16(), body), (502, bad));
    controller.shut_down().await;
}

#[tokio::test]
async fn the_gateway_is_503_before_its_start() {
    let machine = TestMachine::new();
    std::fs::remove_file(machine.path("bin/openclaw")).unwrap();
    let controller = machine.start().await;
    // The program is missing, so the process never runs.
    assert_eq!(answer(controller.get("/")).await.0, 503);
    controller.settled().await;
    assert_eq!(answer(controller.get("/")).await.0, 503);
    controller.shut_down().await;
}

#[tokio::test]
async fn bodies_are_streamed_in_both_directions() {
    // Answers each chunk before the next one is sent.
    let answer_each = async |body: Body| {
        let pieces = body.into_data_stream();
        let doubled = pieces.map(|piece| Ok::<_, Infallible>([&piece.unwrap()[..]; 2].concat()));
        Body::from_stream(doubled)
    };
    let gateway = Served::new(Router::new().fallback(any(answer_each))).await;
    let controller = TestMachine::new().gateway_at(&gateway).start().await;
    controller.settled().await;

    let (send, sent) = mpsc::channel::<&'static str>(1);
    let body = stream::unfold(sent, |mut sent| async {
        let piece = sent.recv().await?;
        Some((Ok::<_, Infallible>(piece), sent))
    });
    let request = controller.post("/").body(reqwest::Body::wrap_stream(body));
    send.send("ab").await.unwrap();
    let mut answered = request.send().await.unwrap();
    for piece in ["ab", "cd", "ef"] {
        if piece != "ab" {
            send.send(piece).await.unwrap();
        }
        let chunk = answered.chunk().await.unwrap().unwrap();
        assert_eq!(chunk, Bytes::from(format!("{piece}{piece}")));
    }
    drop(send);
    assert_eq!(answered.chunk().await.unwrap(), None);
    controller.shut_down().await;
}

#[tokio::test]
async fn a_disconnected_caller_cancels_the_request() {
    let has_left = CancellationToken::new();
    let leaves = has_left.clone();
    let never_ends = async move || -> Response {
        let guard = leaves.clone().drop_guard();
        let pieces = stream::unfold(guard, |guard| async {
            tokio::task::yield_now().await;
            Some((Ok::<_, Infallible>("x"), guard))
        });
        Body::from_stream(pieces).into_response()
    };
    let gateway = Served::new(Router::new().route("/events", get(never_ends))).await;
    let controller = TestMachine::new().gateway_at(&gateway).start().await;
    controller.settled().await;
    let mut answered = controller.get("/events").send().await.unwrap();
    assert_eq!(answered.chunk().await.unwrap().unwrap()[0], b'x');
    drop(answered);
    with_deadline(has_left.cancelled()).await;
    controller.shut_down().await;
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let gateway = echo().await;
    let controller = TestMachine::new().gateway_at(&gateway).start().await;
    controller.settled().await;
    for request in [
        "CONNECT example.com:443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    ] {
        let answer = raw(&controller, request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    // An absolute URI does not change the destination.
    let absolute =
        "GET http://example.com/x HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n";
    let answer = raw(&controller, absolute).await;
    let host = format!("\"host\":\"127.0.0.1:{}\"", gateway.port);
    assert!(
        answer.starts_with("HTTP/1.1 201") && answer.contains(&host),
        "{answer}"
    );
    controller.shut_down().await;
}

#[tokio::test]
async fn requests_cannot_be_smuggled() {
    let gateway = echo().await;
    let controller = TestMachine::new().gateway_at(&gateway).start().await;
    controller.settled().await;
    // Conflicting lengths: neither side may read the rest as a request.
    let two_lengths = "POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\
                       connection: close\r\n\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = raw(&controller, two_lengths).await;
    assert!(!answer.contains("/hidden"), "{answer}");
    let is_one = answer.matches("HTTP/1.1 ").count() == 1;
    assert!(is_one, "{answer}");
    let two_hosts = "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n";
    let answer = raw(&controller, two_hosts).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    controller.shut_down().await;
}

#[tokio::test]
async fn an_aborted_response_is_aborted_for_the_caller() {
    let (arrived, has_arrived) = mpsc::channel::<()>(1);
    let has_arrived = Arc::new(Mutex::new(has_arrived));
    let break_off = async move |headers: HeaderMap| -> Response {
        assert!(!headers.contains_key("expect"));
        let broken = stream::once(async move {
            has_arrived.lock().await.recv().await;
            Err("broken")
        });
        Body::from_stream(stream::iter([Ok("some")]).chain(broken)).into_response()
    };
    let gateway = Served::new(Router::new().fallback(any(break_off))).await;
    let controller = TestMachine::new().gateway_at(&gateway).start().await;
    controller.settled().await;
    let request = controller.get("/").header("expect", "100-continue");
    let mut answered = request.send().await.unwrap();
    assert_eq!(answered.chunk().await.unwrap().unwrap(), "some");
    arrived.send(()).await.unwrap();
    assert!(
        answered.chunk().await.is_err(),
        "half an answer looks whole"
    );
    controller.shut_down().await;
}
