use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::http::{HeaderMap, StatusCode};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use postbell_core::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::credentials::tarball;
use crate::fixture::{Served, TOKEN, TestMachine, answer, with_deadline, written};

/// A platform that records check-ins and refuses the first `refusals`.
async fn platform(refusals: usize) -> (Served, UnboundedReceiver<(HeaderMap, Value)>) {
    let (sender, check_ins) = unbounded_channel();
    let remaining = Arc::new(AtomicUsize::new(refusals));
    let take = async move |headers: HeaderMap, body: String| {
        let body = serde_json::from_str(&body).unwrap();
        sender.send((headers, body)).unwrap();
        let refuse = remaining.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        });
        if refuse.is_ok() {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::NO_CONTENT
        }
    };
    let served = Served::new(Router::new().route("/api/controller/checkin", post(take))).await;
    (served, check_ins)
}

fn machine(platform: &Served) -> TestMachine {
    let url = format!("http://127.0.0.1:{}/api/controller/checkin", platform.port);
    TestMachine::new()
        .with("KILOCLAW_CHECKIN_URL", &url)
        .with("KILOCLAW_SANDBOX_ID", "sandbox-7")
}

async fn next(check_ins: &mut UnboundedReceiver<(HeaderMap, Value)>) -> (HeaderMap, Value) {
    with_deadline(check_ins.recv()).await.unwrap()
}

#[tokio::test]
async fn the_controller_checks_in_once_the_gateway_listens() {
    let (platform, mut check_ins) = platform(0).await;
    let gateway = Served::new(Router::new().fallback(any(|| async {}))).await;
    let controller = machine(&platform).gateway_at(&gateway).start().await;
    let (headers, body) = next(&mut check_ins).await;
    assert_eq!(headers["authorization"], "Bearer of-the-gateway");
    assert_eq!(headers["x-kiloclaw-gateway-token"], "of-the-gateway");
    assert_eq!(body, json!({ "sandboxId": "sandbox-7" }));
    controller.shut_down().await;
    assert!(check_ins.try_recv().is_err(), "it checked in twice");
}

#[tokio::test]
async fn a_failed_check_in_is_retried() {
    let (platform, mut check_ins) = platform(1).await;
    let gateway = Served::new(Router::new().fallback(any(|| async {}))).await;
    let controller = machine(&platform).gateway_at(&gateway).start().await;
    next(&mut check_ins).await;
    next(&mut check_ins).await;
    controller.shut_down().await;
}

#[tokio::test]
async fn a_restarted_gateway_causes_a_check_in() {
    let (platform, mut check_ins) = platform(0).await;
    let gateway = Served::new(Router::new().fallback(any(|| async {}))).await;
    let controller = machine(&platform).gateway_at(&gateway).start().await;
    next(&mut check_ins).await;
    let restart = controller.post("/_kilo/gateway/restart").bearer_auth(TOKEN);
    assert_eq!(answer(restart).await.0, 200);
    next(&mut check_ins).await;
    controller.shut_down().await;
}

#[tokio::test]
async fn a_check_in_has_the_watch_expiry_and_follows_a_watcher_crash() {
    let (platform, mut check_ins) = platform(0).await;
    let anybody = Router::new().fallback(any(|| async {}));
    let gateway = Served::new(anybody.clone()).await;
    let watcher = Served::new(anybody).await;
    let machine = machine(&platform)
        .watcher("echo $$ > $HOME/pid; exec sleep 1000")
        .account(&tarball(&[("gogcli/a", "x")]))
        .gateway_at(&gateway)
        .watcher_at(&watcher)
        .watched_until(Timestamp::from_millis(4_000_000_000_123));
    let controller = machine.start().await;
    let (_, body) = next(&mut check_ins).await;
    let expected = json!({ "sandboxId": "sandbox-7", "watchExpiresAt": 4_000_000_000_123_i64 });
    assert_eq!(body, expected);
    let pid = written(&controller.folder.path().join("pid")).await;
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    next(&mut check_ins).await;
    controller.shut_down().await;
}

#[tokio::test]
async fn a_problem_is_checked_in_even_if_the_watcher_never_listens() {
    let (platform, mut check_ins) = platform(1).await;
    let gateway = Served::new(Router::new().fallback(any(|| async {}))).await;
    let machine = machine(&platform)
        .watcher("exit 1")
        .account(&tarball(&[("gogcli/a", "x")]))
        .gateway_at(&gateway)
        .with_problem("webhook_gone");
    let controller = machine.start().await;
    let expected = json!({
        "sandboxId": "sandbox-7",
        "problem": { "code": "webhook_gone", "since": 1_790_000_000_000_i64 },
    });
    // The first one is refused and repeated.
    for _ in 0..2 {
        assert_eq!(next(&mut check_ins).await.1, expected);
    }
    controller.settled().await;
    controller.set_problem("");
    while next(&mut check_ins).await.1.get("problem").is_some() {}
    controller.shut_down().await;
}

/// The watcher cannot write this problem into its state.
#[tokio::test]
async fn a_watcher_that_cannot_write_its_state_is_a_problem_until_it_can() {
    let (platform, mut check_ins) = platform(0).await;
    let gateway = Served::new(Router::new().fallback(any(|| async {}))).await;
    let can_write = Arc::new(AtomicBool::new(false));
    let ready = {
        let can_write = Arc::clone(&can_write);
        async move || {
            let problem = json!({ "status": "problem", "code": "state_unwritable", "since": 7 });
            if can_write.load(Ordering::SeqCst) {
                (StatusCode::OK, Json(json!({ "status": "ready" })))
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, Json(problem))
            }
        }
    };
    let watcher = Served::new(Router::new().route("/ready", get(ready))).await;
    let machine = machine(&platform)
        .watcher("exec sleep 1000")
        .account(&tarball(&[("gogcli/a", "x")]))
        .gateway_at(&gateway)
        .watcher_at(&watcher);
    let controller = machine.start().await;
    let expected = json!({ "code": "state_unwritable", "since": 7 });
    while next(&mut check_ins).await.1.get("problem") != Some(&expected) {}
    can_write.store(true, Ordering::SeqCst);
    while next(&mut check_ins).await.1.get("problem").is_some() {}
    controller.shut_down().await;
}

#[tokio::test]
async fn a_hanging_platform_blocks_nothing() {
    let (sender, mut check_ins) = unbounded_channel();
    let hang = async move || -> StatusCode {
        sender.send(()).unwrap();
        std::future::pending().await
    };
    let platform = Served::new(Router::new().fallback(any(hang))).await;
    let gateway = Served::new(Router::new().fallback(any(|| async { "hello" }))).await;
    let controller = machine(&platform).gateway_at(&gateway).start().await;
    with_deadline(check_ins.recv()).await.unwrap();
    let restart = controller.post("/_kilo/gateway/restart").bearer_auth(TOKEN);
    assert_eq!(answer(restart).await.0, 200);
    assert_eq!(
        controller
            .get("/")
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        "hello"
    );
    controller.shut_down().await;
}
