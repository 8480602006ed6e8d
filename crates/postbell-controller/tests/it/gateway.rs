use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{Served, TOKEN, TestController, TestMachine, answer, exists};

impl TestController {
    async fn command(&self, command: &str) -> (u16, Value) {
        let request = self.post(&format!("/_kilo/gateway/{command}"));
        let (status, body) = answer(request.bearer_auth(TOKEN)).await;
        (status.as_u16(), body)
    }

    async fn status(&self) -> Value {
        let request = self.get("/_kilo/gateway/status").bearer_auth(TOKEN);
        answer(request).await.1
    }
}

#[tokio::test]
async fn all_gateway_routes_need_the_token() {
    let controller = TestMachine::new().start().await;
    controller.settled().await;
    let before = controller.status().await["pid"].clone();
    for (method, name) in [
        (Method::GET, "status"),
        (Method::GET, "ready"),
        (Method::POST, "start"),
        (Method::POST, "stop"),
        (Method::POST, "restart"),
    ] {
        let url = controller.url(&format!("/_kilo/gateway/{name}"));
        for wrong in ["", "Bearer x"] {
            let request = controller.client.request(method.clone(), &url);
            let (status, body) = answer(request.header("authorization", wrong)).await;
            assert_eq!(
                (status.as_u16(), body),
                (401, json!({ "error": "Unauthorized" }))
            );
        }
    }
    assert_eq!(controller.status().await["pid"], before);
    controller.shut_down().await;
}

#[tokio::test]
async fn the_gateway_is_stopped_started_and_restarted_on_command() {
    let controller = TestMachine::new().start().await;
    controller.settled().await;
    let first = controller.status().await["pid"].to_string();
    let done = (200, json!({ "ok": true }));
    let (status, refusal) = controller.command("start").await;
    assert_eq!(status, 409, "{refusal}");

    assert_eq!(controller.command("stop").await, done);
    assert!(!exists(&first));
    assert_eq!(controller.status().await["state"], "stopped");
    assert_eq!(controller.status().await["pid"], Value::Null);
    assert_eq!(controller.status().await["lastExit"]["signal"], "SIGTERM");
    assert_eq!(controller.command("stop").await, done);

    assert_eq!(controller.command("start").await, done);
    let second = controller.status().await["pid"].to_string();
    assert_eq!(controller.command("restart").await, done);
    assert!(!exists(&second));
    assert_eq!(controller.status().await["state"], "running");
    controller.shut_down().await;
}

#[tokio::test]
async fn the_gateway_gets_its_arguments_and_the_webhook_token() {
    let script = "echo $@ $KILOCLAW_HOOKS_TOKEN > $HOME/called; exec sleep 1000";
    let controller = TestMachine::new().program("openclaw", script).start().await;
    let called = controller.written("called").await;
    assert_eq!(called, "gateway --port 3001 a-fresh-token");
    controller.shut_down().await;

    let machine = TestMachine::new().program("openclaw", script);
    let controller = machine.with("KILOCLAW_HOOKS_TOKEN", "given").start().await;
    let called = controller.written("called").await;
    assert_eq!(called, "gateway --port 3001 given");
    controller.shut_down().await;
}

#[tokio::test]
async fn readiness_is_the_gateways_own_response() {
    for (says, expected) in [(200, 200), (204, 200), (503, 503), (500, 503), (404, 503)] {
        let status = StatusCode::from_u16(says).unwrap();
        let ready = get(async move || (status, r#"{"models":3}"#));
        let gateway = Served::new(Router::new().route("/ready", ready)).await;
        let controller = TestMachine::new().gateway_at(&gateway).start().await;
        let request = controller.get("/_kilo/gateway/ready").bearer_auth(TOKEN);
        let (status, body) = answer(request).await;
        assert_eq!(status.as_u16(), expected);
        if says != 204 {
            assert_eq!(body, json!({ "models": 3 }));
        }
        controller.shut_down().await;
    }
}

#[tokio::test]
async fn a_gateway_that_does_not_listen_is_unreachable() {
    let controller = TestMachine::new().start().await;
    let request = controller.get("/_kilo/gateway/ready").bearer_auth(TOKEN);
    let unreachable = json!({ "error": "Gateway unreachable" });
    let (status, body) = answer(request).await;
    assert_eq!((status.as_u16(), body), (502, unreachable));
    controller.shut_down().await;
}

#[tokio::test]
async fn invalid_readiness_responses_are_not_forwarded() {
    for (says, expected) in [
        ("<html>".to_owned(), json!({ "ready": true })),
        (
            format!("\"{}\"", "x".repeat(70_000)),
            json!({ "error": "Gateway unreachable" }),
        ),
    ] {
        let gateway = Served::new(Router::new().route("/ready", get(async move || says))).await;
        let controller = TestMachine::new().gateway_at(&gateway).start().await;
        let request = controller.get("/_kilo/gateway/ready").bearer_auth(TOKEN);
        assert_eq!(answer(request).await.1, expected);
        controller.shut_down().await;
    }
}

#[tokio::test]
async fn a_failed_start_is_reported() {
    let machine = TestMachine::new();
    std::fs::remove_file(machine.path("bin/openclaw")).unwrap();
    let controller = machine.start().await;
    controller.settled().await;
    let refused = json!({ "error": "Failed to start gateway" });
    assert_eq!(controller.command("restart").await, (500, refused));
    controller.shut_down().await;
}
