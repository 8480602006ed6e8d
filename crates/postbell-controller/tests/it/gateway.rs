use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Plan, Served, TOKEN, World, answer, exists};

impl World {
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
async fn without_the_token_nothing_of_it_is_told_or_done() {
    let world = Plan::new().start().await;
    world.settled().await;
    let before = world.status().await["pid"].clone();
    for (method, name) in [
        (Method::GET, "status"),
        (Method::GET, "ready"),
        (Method::POST, "start"),
        (Method::POST, "stop"),
        (Method::POST, "restart"),
    ] {
        let url = world.url(&format!("/_kilo/gateway/{name}"));
        for wrong in ["", "Bearer x"] {
            let request = world.client.request(method.clone(), &url);
            let (status, body) = answer(request.header("authorization", wrong)).await;
            assert_eq!(
                (status.as_u16(), body),
                (401, json!({ "error": "Unauthorized" }))
            );
        }
    }
    assert_eq!(world.status().await["pid"], before);
    world.shut_down().await;
}

#[tokio::test]
async fn it_is_stopped_started_and_restarted_on_command() {
    let world = Plan::new().start().await;
    world.settled().await;
    let first = world.status().await["pid"].to_string();
    let done = (200, json!({ "ok": true }));
    let (status, refusal) = world.command("start").await;
    assert_eq!(status, 409, "{refusal}");

    assert_eq!(world.command("stop").await, done);
    assert!(!exists(&first));
    assert_eq!(world.status().await["state"], "stopped");
    assert_eq!(world.status().await["pid"], Value::Null);
    assert_eq!(world.status().await["lastExit"]["signal"], "SIGTERM");
    assert_eq!(world.command("stop").await, done);

    assert_eq!(world.command("start").await, done);
    let second = world.status().await["pid"].to_string();
    assert_eq!(world.command("restart").await, done);
    assert!(!exists(&second));
    assert_eq!(world.status().await["state"], "running");
    world.shut_down().await;
}

#[tokio::test]
async fn it_gets_its_arguments_and_the_token_of_its_hooks() {
    let script = "echo $@ $KILOCLAW_HOOKS_TOKEN > $HOME/called; exec sleep 1000";
    let world = Plan::new().program("openclaw", script).start().await;
    let called = world.written("called").await;
    assert_eq!(called, "gateway --port 3001 a-fresh-token");
    world.shut_down().await;

    let plan = Plan::new().program("openclaw", script);
    let world = plan.with("KILOCLAW_HOOKS_TOKEN", "given").start().await;
    let called = world.written("called").await;
    assert_eq!(called, "gateway --port 3001 given");
    world.shut_down().await;
}

#[tokio::test]
async fn whether_it_is_ready_is_its_own_answer() {
    for (says, expected) in [(200, 200), (204, 200), (503, 503), (500, 503), (404, 503)] {
        let status = StatusCode::from_u16(says).unwrap();
        let ready = get(async move || (status, r#"{"models":3}"#));
        let gateway = Served::new(Router::new().route("/ready", ready)).await;
        let world = Plan::new().gateway_at(&gateway).start().await;
        let request = world.get("/_kilo/gateway/ready").bearer_auth(TOKEN);
        let (status, body) = answer(request).await;
        assert_eq!(status.as_u16(), expected);
        if says != 204 {
            assert_eq!(body, json!({ "models": 3 }));
        }
        world.shut_down().await;
    }
}

#[tokio::test]
async fn one_that_does_not_listen_is_unreachable() {
    let world = Plan::new().start().await;
    let request = world.get("/_kilo/gateway/ready").bearer_auth(TOKEN);
    let unreachable = json!({ "error": "Gateway unreachable" });
    let (status, body) = answer(request).await;
    assert_eq!((status.as_u16(), body), (502, unreachable));
    world.shut_down().await;
}

#[tokio::test]
async fn what_it_says_beyond_reason_is_not_passed_on() {
    for (says, expected) in [
        ("<html>".to_owned(), json!({ "ready": true })),
        (
            format!("\"{}\"", "x".repeat(70_000)),
            json!({ "error": "Gateway unreachable" }),
        ),
    ] {
        let gateway = Served::new(Router::new().route("/ready", get(async move || says))).await;
        let world = Plan::new().gateway_at(&gateway).start().await;
        let request = world.get("/_kilo/gateway/ready").bearer_auth(TOKEN);
        assert_eq!(answer(request).await.1, expected);
        world.shut_down().await;
    }
}

#[tokio::test]
async fn one_that_cannot_be_started_is_told_of() {
    let plan = Plan::new();
    std::fs::remove_file(plan.path("bin/openclaw")).unwrap();
    let world = plan.start().await;
    world.settled().await;
    let refused = json!({ "error": "Failed to start gateway" });
    assert_eq!(world.command("restart").await, (500, refused));
    world.shut_down().await;
}
