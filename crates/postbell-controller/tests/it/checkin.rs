use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{any, post};
use postbell_core::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::credentials::tarball;
use crate::world::{Plan, Served, TOKEN, answer, within_deadline, written};

/// A platform that hears of machines; it refuses the first `refusals` of them.
async fn platform(refusals: usize) -> (Served, UnboundedReceiver<(HeaderMap, Value)>) {
    let (tell, told) = unbounded_channel();
    let left = Arc::new(AtomicUsize::new(refusals));
    let take = async move |headers: HeaderMap, body: String| {
        let body = serde_json::from_str(&body).unwrap();
        tell.send((headers, body)).unwrap();
        let refuse = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        });
        if refuse.is_ok() {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::NO_CONTENT
        }
    };
    let served = Served::new(Router::new().route("/api/controller/checkin", post(take))).await;
    (served, told)
}

fn plan(platform: &Served) -> Plan {
    let url = format!("http://127.0.0.1:{}/api/controller/checkin", platform.port);
    Plan::new()
        .with("KILOCLAW_CHECKIN_URL", &url)
        .with("KILOCLAW_SANDBOX_ID", "sandbox-7")
}

async fn next(told: &mut UnboundedReceiver<(HeaderMap, Value)>) -> (HeaderMap, Value) {
    within_deadline(told.recv()).await.unwrap()
}

#[tokio::test]
async fn the_platform_is_told_once_the_bot_can_take_mail() {
    let (platform, mut told) = platform(0).await;
    let gateway = Served::new(Router::new().fallback(any(|| async {}))).await;
    let world = plan(&platform).gateway_at(&gateway).start().await;
    let (headers, body) = next(&mut told).await;
    assert_eq!(headers["authorization"], "Bearer of-the-gateway");
    assert_eq!(body, json!({ "sandboxId": "sandbox-7" }));
    world.shut_down().await;
    assert!(told.try_recv().is_err(), "it was told twice");
}

#[tokio::test]
async fn a_platform_that_fails_is_told_again() {
    let (platform, mut told) = platform(1).await;
    let gateway = Served::new(Router::new().fallback(any(|| async {}))).await;
    let world = plan(&platform).gateway_at(&gateway).start().await;
    next(&mut told).await;
    next(&mut told).await;
    world.shut_down().await;
}

#[tokio::test]
async fn it_is_told_again_when_what_takes_mail_was_started_again() {
    let (platform, mut told) = platform(0).await;
    let gateway = Served::new(Router::new().fallback(any(|| async {}))).await;
    let world = plan(&platform).gateway_at(&gateway).start().await;
    next(&mut told).await;
    let restart = world.post("/_kilo/gateway/restart").bearer_auth(TOKEN);
    assert_eq!(answer(restart).await.0, 200);
    next(&mut told).await;
    world.shut_down().await;
}

#[tokio::test]
async fn it_is_told_when_the_watch_ends_and_again_when_the_watcher_has_crashed() {
    let (platform, mut told) = platform(0).await;
    let anybody = Router::new().fallback(any(|| async {}));
    let gateway = Served::new(anybody.clone()).await;
    let watcher = Served::new(anybody).await;
    let plan = plan(&platform)
        .watcher("echo $$ > $HOME/pid; exec sleep 1000")
        .account(&tarball(&[("gogcli/a", "x")]))
        .gateway_at(&gateway)
        .watcher_at(&watcher)
        .watched_until(Timestamp::from_millis(1_700_000_000_123));
    let world = plan.start().await;
    let (_, body) = next(&mut told).await;
    let expected = json!({ "sandboxId": "sandbox-7", "watchExpiresAt": 1_700_000_000_123_i64 });
    assert_eq!(body, expected);
    let pid = written(&world.folder.path().join("pid")).await;
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    next(&mut told).await;
    world.shut_down().await;
}

#[tokio::test]
async fn a_platform_that_does_not_answer_holds_nothing_up() {
    let (tell, mut told) = unbounded_channel();
    let hang = async move || -> StatusCode {
        tell.send(()).unwrap();
        std::future::pending().await
    };
    let platform = Served::new(Router::new().fallback(any(hang))).await;
    let gateway = Served::new(Router::new().fallback(any(|| async { "hello" }))).await;
    let world = plan(&platform).gateway_at(&gateway).start().await;
    within_deadline(told.recv()).await.unwrap();
    let restart = world.post("/_kilo/gateway/restart").bearer_auth(TOKEN);
    assert_eq!(answer(restart).await.0, 200);
    assert_eq!(
        world.get("/").send().await.unwrap().text().await.unwrap(),
        "hello"
    );
    world.shut_down().await;
}
