use axum::body::{Body, to_bytes};
use axum::http::Request;
use postbell_controller::Stage;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::credentials::tarball;
use crate::fixture::{LONG_RUNNING, TOKEN, TestMachine, answer, with_deadline};

#[tokio::test]
async fn health_is_public_and_reports_the_state() {
    let controller = TestMachine::new().start().await;
    let (status, health) = answer(controller.get("/health")).await;
    assert_eq!((status.as_u16(), health), (200, json!({ "status": "ok" })));
    let ready = json!({ "status": "ok", "state": "ready", "mail": "ok" });
    assert_eq!(controller.settled().await, ready);
    controller.shut_down().await;
}

#[tokio::test]
async fn version_needs_the_token() {
    let controller = TestMachine::new().start().await;
    controller.settled().await;
    for wrong in [
        "",
        "Bearer",
        "Bearer of-the-gatewa",
        "Bearer of-the-gateway2",
        "Basic of-the-gateway",
    ] {
        let (status, _) = answer(
            controller
                .get("/_kilo/version")
                .header("authorization", wrong),
        )
        .await;
        assert_eq!(status, 401, "{wrong:?}");
    }
    let (status, version) = answer(controller.get("/_kilo/version").bearer_auth(TOKEN)).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&version["version"], &version["commit"]),
        (&json!("1.2.3"), &json!("abc"))
    );
    assert_eq!(version["gateway"]["state"], "running");
    assert_eq!(version["controllerState"], json!({ "state": "ready" }));
    controller.shut_down().await;
}

#[tokio::test]
async fn health_reports_a_gateway_that_cannot_be_started() {
    let machine = TestMachine::new();
    let (program, elsewhere) = (machine.path("bin/openclaw"), machine.path("openclaw"));
    std::fs::rename(&program, &elsewhere).unwrap();
    let controller = machine.start().await;
    let degraded = json!({
        "status": "ok", "state": "degraded", "error": "Startup failed during gateway-start",
        "mail": "problem",
    });
    assert_eq!(controller.settled().await, degraded);
    std::fs::rename(&elsewhere, &program).unwrap();
    with_deadline(async { while controller.settled().await["state"] != "ready" {} }).await;
    controller.shut_down().await;
}

#[tokio::test]
async fn a_degraded_controller_has_only_health_routes() {
    let ask = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = postbell_controller::degraded(Stage::RuntimeConfig)
            .oneshot(request)
            .await
            .unwrap();
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        (status, body)
    };
    assert_eq!(ask("/health").await, (200, json!({ "status": "ok" })));
    let degraded = json!({
        "status": "ok", "state": "degraded", "error": "Startup failed during runtime-config",
        "mail": "problem",
    });
    assert_eq!(ask("/_kilo/health").await, (200, degraded));
    for path in [
        "/",
        "/_kilo/version",
        "/_kilo/gateway/status",
        "/_kilo/gmail-pubsub",
    ] {
        assert_eq!(ask(path).await.0, 503, "{path}");
    }
}

#[tokio::test]
async fn a_problem_with_mail_is_named_only_to_those_with_the_token() {
    let machine = TestMachine::new()
        .watcher(LONG_RUNNING)
        .account(&tarball(&[("gogcli/a", "x")]))
        .with_problem("grant_revoked");
    let controller = machine.start().await;
    let health = with_deadline(async {
        loop {
            let health = controller.settled().await;
            if health["mail"] == "problem" {
                return health;
            }
        }
    });
    let expected = json!({ "status": "ok", "state": "ready", "mail": "problem" });
    assert_eq!(health.await, expected);
    let (_, version) = answer(controller.get("/_kilo/version").bearer_auth(TOKEN)).await;
    assert_eq!(version["watcher"]["state"], "running");
    let expected = json!({ "code": "grant_revoked", "since": 1_790_000_000_000_i64, "detail": "in a sentence" });
    assert_eq!(version["watcher"]["problem"], expected);
    controller.shut_down().await;
}

#[tokio::test]
async fn without_a_problem_there_is_none() {
    let machine = TestMachine::new()
        .watcher(LONG_RUNNING)
        .account(&tarball(&[("gogcli/a", "x")]));
    let controller = machine.start().await;
    assert_eq!(controller.settled().await["mail"], "ok");
    let (_, version) = answer(controller.get("/_kilo/version").bearer_auth(TOKEN)).await;
    let watcher = version["watcher"].as_object().unwrap();
    assert_eq!(watcher.get("problem"), Some(&Value::Null));
    controller.shut_down().await;
}
