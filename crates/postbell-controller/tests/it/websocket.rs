use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::fixture::{Served, TOKEN, TestController, TestMachine, with_deadline};
use crate::proxy::raw;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A gateway that sends the handshake's head over a WebSocket and then echoes.
async fn echo() -> Served {
    let upgrade = async |mut request: Request| -> Response {
        let headers = request.headers();
        let header = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let handshake = format!(
            "{} {:?} {:?} {:?}",
            request.uri(),
            header("host"),
            header("x-forwarded-for"),
            header("x-kiloclaw-proxy-token"),
        );
        let answer = create_response_with_body(&head_of(&request), axum::body::Body::empty);
        let Ok(answer) = answer else {
            return (StatusCode::IM_A_TEAPOT, "no WebSocket").into_response();
        };
        let upgraded = hyper::upgrade::on(&mut request);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let io = TokioIo::new(upgraded.await.unwrap());
            let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            socket.send(handshake.into()).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                if message.is_close() || socket.send(message).await.is_err() {
                    break;
                }
            }
        });
        tasks.detach_all();
        answer
    };
    Served::new(Router::new().fallback(any(upgrade))).await
}

fn head_of(request: &Request) -> axum::http::Request<()> {
    let mut head = axum::http::Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.headers_mut() = request.headers().clone();
    head
}

async fn connect(
    controller: &TestController,
    headers: &[(&'static str, &str)],
) -> Result<Socket, Error> {
    let url = format!("ws://{}/chat?room=1", controller.address);
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    connect_async(request).await.map(|(socket, _)| socket)
}

/// Returns the status of a refused handshake.
async fn refused(controller: &TestController, headers: &[(&'static str, &str)]) -> u16 {
    match connect(controller, headers).await {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        other => panic!("expected a refusal, not {other:?}"),
    }
}

async fn heard(socket: &mut Socket) -> String {
    let message = socket.next().await.unwrap().unwrap();
    message.to_text().unwrap().to_owned()
}

#[tokio::test]
async fn a_websocket_is_forwarded_in_both_directions_and_looks_local() {
    let gateway = echo().await;
    let controller = TestMachine::new().gateway_at(&gateway).start().await;
    controller.settled().await;
    let given = [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-kiloclaw-proxy-token", TOKEN),
    ];
    let mut socket = connect(&controller, &given).await.unwrap();
    let host = format!("127.0.0.1:{}", gateway.port);
    let expected = format!("/chat?room=1 Some({host:?}) None None");
    assert_eq!(heard(&mut socket).await, expected);
    for text in ["hello", "", &"long ".repeat(100_000)] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(heard(&mut socket).await, text);
    }
    socket.close(None).await.unwrap();
    controller.shut_down().await;
}

#[tokio::test]
async fn a_required_proxy_token_applies_to_websockets() {
    let gateway = echo().await;
    let machine = TestMachine::new().gateway_at(&gateway);
    let controller = machine.with("REQUIRE_PROXY_TOKEN", "true").start().await;
    controller.settled().await;
    assert_eq!(refused(&controller, &[]).await, 401);
    assert_eq!(
        refused(&controller, &[("x-kiloclaw-proxy-token", "x")]).await,
        401
    );
    connect(&controller, &[("x-kiloclaw-proxy-token", TOKEN)])
        .await
        .unwrap();
    controller.shut_down().await;
}

#[tokio::test]
async fn websockets_over_the_limit_are_refused() {
    let gateway = echo().await;
    let machine = TestMachine::new().gateway_at(&gateway);
    let controller = machine.with("MAX_WS_CONNS", "2").start().await;
    controller.settled().await;
    let first = connect(&controller, &[]).await.unwrap();
    let _second = connect(&controller, &[]).await.unwrap();
    assert_eq!(refused(&controller, &[]).await, 503);
    drop(first);
    with_deadline(async { while connect(&controller, &[]).await.is_err() {} }).await;
    controller.shut_down().await;
}

#[tokio::test]
async fn an_idle_websocket_is_closed() {
    let gateway = echo().await;
    let machine = TestMachine::new().gateway_at(&gateway);
    let controller = machine.with("WS_IDLE_TIMEOUT_MS", "50").start().await;
    controller.settled().await;
    let mut socket = connect(&controller, &[]).await.unwrap();
    // The first message may be lost; the close is not.
    let ends = async { while let Some(Ok(_)) = socket.next().await {} };
    with_deadline(ends).await;
    controller.shut_down().await;
}

#[tokio::test]
async fn an_unanswered_handshake_times_out() {
    let silent = async || -> Response { std::future::pending().await };
    let gateway = Served::new(Router::new().fallback(any(silent))).await;
    let machine = TestMachine::new().gateway_at(&gateway);
    let controller = machine.with("WS_HANDSHAKE_TIMEOUT_MS", "50").start().await;
    controller.settled().await;
    assert_eq!(refused(&controller, &[]).await, 502);
    controller.shut_down().await;
}

#[tokio::test]
async fn a_rejected_handshake_is_returned_unchanged() {
    let gateway = echo().await;
    let machine = TestMachine::new().gateway_at(&gateway);
    let controller = machine.with("MAX_WS_CONNS", "1").start().await;
    controller.settled().await;
    for _ in 0..3 {
        // It does not count against the limit.
        let version = [("sec-websocket-version", "7")];
        assert_eq!(refused(&controller, &version).await, 418);
    }
    connect(&controller, &[]).await.unwrap();
    controller.shut_down().await;
}

#[tokio::test]
async fn a_handshake_is_forwarded_without_a_body() {
    let gateway = echo().await;
    let controller = TestMachine::new().gateway_at(&gateway).start().await;
    controller.settled().await;
    let head = "GET /chat HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: websocket";
    for body in [
        "content-length: 3\r\n\r\nabc",
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ] {
        let answer = raw(&controller, &format!("{head}\r\n{body}")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    controller.shut_down().await;
}

#[tokio::test]
async fn websockets_are_closed_at_shutdown() {
    let gateway = echo().await;
    let controller = TestMachine::new().gateway_at(&gateway).start().await;
    controller.settled().await;
    let mut socket = connect(&controller, &[]).await.unwrap();
    heard(&mut socket).await;
    with_deadline(controller.shut_down()).await;
    assert!(socket.next().await.is_none_or(|end| end.is_err()));
}
