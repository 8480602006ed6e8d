use axum::body::{Body, to_bytes};
use axum::http::Request;
use postbell_controller::{Stage, degraded};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::{Plan, TOKEN, answer, within_deadline};

#[tokio::test]
async fn health_answers_anybody_and_says_what_the_controller_is_doing() {
    let world = Plan::new().start().await;
    let (status, health) = answer(world.get("/health")).await;
    assert_eq!((status.as_u16(), health), (200, json!({ "status": "ok" })));
    let ready = json!({ "status": "ok", "state": "ready" });
    assert_eq!(world.settled().await, ready);
    world.shut_down().await;
}

#[tokio::test]
async fn version_is_for_whoever_has_the_token() {
    let world = Plan::new().start().await;
    world.settled().await;
    for wrong in [
        "",
        "Bearer",
        "Bearer of-the-gatewa",
        "Bearer of-the-gateway2",
        "Basic of-the-gateway",
    ] {
        let (status, _) = answer(world.get("/_kilo/version").header("authorization", wrong)).await;
        assert_eq!(status, 401, "{wrong:?}");
    }
    let (status, version) = answer(world.get("/_kilo/version").bearer_auth(TOKEN)).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&version["version"], &version["commit"]),
        (&json!("1.2.3"), &json!("abc"))
    );
    assert_eq!(version["gateway"]["state"], "running");
    assert_eq!(version["controllerState"], json!({ "state": "ready" }));
    world.shut_down().await;
}

#[tokio::test]
async fn a_gateway_that_cannot_be_started_is_told_in_one_word_until_it_is() {
    let plan = Plan::new();
    let (program, elsewhere) = (plan.path("bin/openclaw"), plan.path("openclaw"));
    std::fs::rename(&program, &elsewhere).unwrap();
    let world = plan.start().await;
    let degraded = json!({
        "status": "ok", "state": "degraded", "error": "Startup failed during gateway-start",
    });
    assert_eq!(world.settled().await, degraded);
    std::fs::rename(&elsewhere, &program).unwrap();
    within_deadline(async { while world.settled().await["state"] != "ready" {} }).await;
    world.shut_down().await;
}

#[tokio::test]
async fn a_controller_that_cannot_start_tells_strangers_no_more_than_that() {
    let ask = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = degraded(Stage::RuntimeConfig)
            .oneshot(request)
            .await
            .unwrap();
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        (status, body)
    };
    assert_eq!(ask("/health").await, (200, json!({ "status": "ok" })));
    let told = json!({
        "status": "ok", "state": "degraded", "error": "Startup failed during runtime-config",
    });
    assert_eq!(ask("/_kilo/health").await, (200, told));
    for path in [
        "/",
        "/_kilo/version",
        "/_kilo/gateway/status",
        "/_kilo/gmail-pubsub",
    ] {
        assert_eq!(ask(path).await.0, 503, "{path}");
    }
}
