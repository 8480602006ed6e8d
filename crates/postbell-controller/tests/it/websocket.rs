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

use crate::proxy::raw;
use crate::world::{Plan, Served, TOKEN, World, within_deadline};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A gateway that says everything back over a WebSocket, after what it knows of the handshake.
async fn echo() -> Served {
    let upgrade = async |mut request: Request| -> Response {
        let headers = request.headers();
        let header = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let told = format!(
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
            socket.send(told.into()).await.unwrap();
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

async fn connect(world: &World, headers: &[(&'static str, &str)]) -> Result<Socket, Error> {
    let url = format!("ws://{}/chat?room=1", world.address);
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    connect_async(request).await.map(|(socket, _)| socket)
}

/// The status with which a handshake was refused.
async fn refused(world: &World, headers: &[(&'static str, &str)]) -> u16 {
    match connect(world, headers).await {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        other => panic!("expected a refusal, not {other:?}"),
    }
}

async fn heard(socket: &mut Socket) -> String {
    let message = socket.next().await.unwrap().unwrap();
    message.to_text().unwrap().to_owned()
}

#[tokio::test]
async fn a_websocket_is_passed_on_both_ways_as_one_of_this_machine() {
    let gateway = echo().await;
    let world = Plan::new().gateway_at(&gateway).start().await;
    world.settled().await;
    let given = [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-kiloclaw-proxy-token", TOKEN),
    ];
    let mut socket = connect(&world, &given).await.unwrap();
    let host = format!("127.0.0.1:{}", gateway.port);
    let expected = format!("/chat?room=1 Some({host:?}) None None");
    assert_eq!(heard(&mut socket).await, expected);
    for text in ["hello", "", &"long ".repeat(100_000)] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(heard(&mut socket).await, text);
    }
    socket.close(None).await.unwrap();
    world.shut_down().await;
}

#[tokio::test]
async fn where_the_token_is_required_a_websocket_needs_it_too() {
    let gateway = echo().await;
    let plan = Plan::new().gateway_at(&gateway);
    let world = plan.with("REQUIRE_PROXY_TOKEN", "true").start().await;
    world.settled().await;
    assert_eq!(refused(&world, &[]).await, 401);
    assert_eq!(
        refused(&world, &[("x-kiloclaw-proxy-token", "x")]).await,
        401
    );
    connect(&world, &[("x-kiloclaw-proxy-token", TOKEN)])
        .await
        .unwrap();
    world.shut_down().await;
}

#[tokio::test]
async fn there_are_no_more_than_there_may_be() {
    let gateway = echo().await;
    let plan = Plan::new().gateway_at(&gateway);
    let world = plan.with("MAX_WS_CONNS", "2").start().await;
    world.settled().await;
    let first = connect(&world, &[]).await.unwrap();
    let _second = connect(&world, &[]).await.unwrap();
    assert_eq!(refused(&world, &[]).await, 503);
    drop(first);
    within_deadline(async { while connect(&world, &[]).await.is_err() {} }).await;
    world.shut_down().await;
}

#[tokio::test]
async fn a_silent_websocket_is_ended() {
    let gateway = echo().await;
    let plan = Plan::new().gateway_at(&gateway);
    let world = plan.with("WS_IDLE_TIMEOUT_MS", "50").start().await;
    world.settled().await;
    let mut socket = connect(&world, &[]).await.unwrap();
    // What the gateway says first may come too late; the end comes.
    let ends = async { while let Some(Ok(_)) = socket.next().await {} };
    within_deadline(ends).await;
    world.shut_down().await;
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_the_handshake_is_not_waited_for() {
    let silent = async || -> Response { std::future::pending().await };
    let gateway = Served::new(Router::new().fallback(any(silent))).await;
    let plan = Plan::new().gateway_at(&gateway);
    let world = plan.with("WS_HANDSHAKE_TIMEOUT_MS", "50").start().await;
    world.settled().await;
    assert_eq!(refused(&world, &[]).await, 502);
    world.shut_down().await;
}

#[tokio::test]
async fn a_handshake_that_the_gateway_refuses_is_passed_back_as_it_is() {
    let gateway = echo().await;
    let plan = Plan::new().gateway_at(&gateway);
    let world = plan.with("MAX_WS_CONNS", "1").start().await;
    world.settled().await;
    for _ in 0..3 {
        // It takes no room.
        let version = [("sec-websocket-version", "7")];
        assert_eq!(refused(&world, &version).await, 418);
    }
    connect(&world, &[]).await.unwrap();
    world.shut_down().await;
}

#[tokio::test]
async fn a_handshake_has_no_body_that_a_gateway_could_wait_for() {
    let gateway = echo().await;
    let world = Plan::new().gateway_at(&gateway).start().await;
    world.settled().await;
    let head = "GET /chat HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: websocket";
    for body in [
        "content-length: 3\r\n\r\nabc",
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ] {
        let answer = raw(&world, &format!("{head}\r\n{body}")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    world.shut_down().await;
}

#[tokio::test]
async fn websockets_end_with_the_controller() {
    let gateway = echo().await;
    let world = Plan::new().gateway_at(&gateway).start().await;
    world.settled().await;
    let mut socket = connect(&world, &[]).await.unwrap();
    heard(&mut socket).await;
    within_deadline(world.shut_down()).await;
    assert!(socket.next().await.is_none_or(|end| end.is_err()));
}
