//! Alerts of `postbell watch`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::timeout;

use postbell_sandbox::{FaultPoint, Frequency, Kind};

use crate::support::{DEADLOCK, ServiceProcess, free_port, run};
use crate::watch::{EMAIL, World, port, push};

/// A service that takes alerts.
struct AlertService {
    url: String,
    status: Arc<AtomicU16>,
    received: UnboundedReceiver<Value>,
    _serving: JoinSet<()>,
}

impl AlertService {
    async fn new() -> Self {
        let listener = free_port().await;
        let url = format!("http://{}/alerts/secret", listener.local_addr().unwrap());
        let (sender, received) = unbounded_channel();
        let status = Arc::new(AtomicU16::new(204));
        let router = Router::new()
            .route("/alerts/secret", post(take))
            .with_state((Arc::clone(&status), sender));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            status,
            received,
            _serving: serving,
        }
    }

    async fn next(&mut self) -> Value {
        let next = timeout(DEADLOCK, self.received.recv()).await;
        next.expect("no alert came").unwrap()
    }
}

async fn take(
    State((status, sender)): State<(Arc<AtomicU16>, UnboundedSender<Value>)>,
    Json(alert): Json<Value>,
) -> StatusCode {
    sender.send(alert).unwrap();
    StatusCode::from_u16(status.load(Ordering::SeqCst)).unwrap()
}

impl World {
    /// Starts `watch serve` with an alert target in the variable.
    async fn serve_with_alerts(&self, port: &str, url: &str) -> ServiceProcess {
        let hook_url = self.sandbox.bot().hook_url();
        let mut command = self.command(&["serve", "--port", port, "--hook-url", &hook_url]);
        let mut variables = self.variables();
        variables.push(("POSTBELL_WATCH_ALERT", url.to_owned()));
        command.args(["--fetch-delay", "1ms"]);
        ServiceProcess::run(command, &variables, "The watcher is running").await
    }
}

#[tokio::test]
async fn a_revoked_grant_is_told_until_it_is_accepted_and_survives_the_watcher() {
    let world = World::watched().await;
    let mut service = AlertService::new().await;
    service.status.store(500, Ordering::SeqCst);
    let address = port().await;
    let port = address.port().to_string();
    let watcher = world.serve_with_alerts(&port, &service.url).await;
    world.sandbox.oauth().revoke(EMAIL);
    assert!(push(address, u64::MAX).await.is_server_error());
    let refused = service.next().await;
    assert_eq!(refused["type"], "grant.revoked", "{refused}");
    watcher.kill().await;

    service.status.store(204, Ordering::SeqCst);
    let watcher = world.serve_with_alerts(&port, &service.url).await;
    let accepted = service.next().await;
    assert_eq!(accepted, refused, "the same alert under the same id");
    assert!(!watcher.command_line().contains("secret"));
    while world.state()["alerts"].is_array() {
        tokio::task::yield_now().await;
    }
    assert!(push(address, u64::MAX).await.is_server_error());
    assert_eq!(watcher.terminate().await, Some(0));
    assert!(service.received.try_recv().is_err(), "told once");
    assert!(!world.state().to_string().contains("/alerts/secret"));
}

#[tokio::test]
async fn a_watcher_that_ends_because_of_a_410_sends_its_alert_before() {
    let world = World::watched().await;
    let mut service = AlertService::new().await;
    let faults = world.sandbox.faults();
    faults.add(FaultPoint::Hook, Kind::refuse(410), Frequency::Always);
    world.deliver();
    let watcher = world.serve_with_alerts("0", &service.url).await;
    assert_eq!(timeout(DEADLOCK, watcher.ended()).await.unwrap(), Some(1));
    let alert = service.received.try_recv().unwrap();
    assert_eq!(alert["type"], "webhook.failing", "{alert}");
}

#[tokio::test]
async fn a_test_alert_shows_whether_each_target_works() {
    let world = World::new().await;
    let mut service = AlertService::new().await;
    let (code, stdout, stderr) = world.run(&["test-alert", "--alert", &service.url]).await;
    assert_eq!(code, Some(0), "{stdout} {stderr}");
    assert_eq!(service.next().await["type"], "test");
    service.status.store(403, Ordering::SeqCst);
    let (code, stdout, _) = world.run(&["test-alert", "--alert", &service.url]).await;
    assert_eq!(code, Some(1), "{stdout}");
    assert!(!stdout.contains("secret"), "{stdout}");
    for arguments in [&["test-alert"][..], &["test-alert", "--alert", "nonsense"]] {
        let (code, _, stderr) = world.run(arguments).await;
        assert_eq!(code, Some(1));
        assert!(stderr.contains("--alert"), "{stderr}");
    }
}

#[tokio::test]
async fn a_test_alert_goes_to_the_targets_of_a_service_and_of_the_variable() {
    let world = World::new().await;
    let mut services = [AlertService::new().await, AlertService::new().await];
    let names = ["POSTBELL_ALERTS__TARGETS", "POSTBELL_WATCH_ALERT"];
    let mut command = world.command(&["test-alert"]);
    command.env_clear().envs(world.variables());
    command.envs(names.into_iter().zip(services.each_ref().map(|it| &it.url)));
    let (code, stdout, stderr) = run(&mut command).await;
    assert_eq!(code, Some(0), "{stdout} {stderr}");
    assert_eq!(stdout.lines().count(), 2, "{stdout}");
    for service in &mut services {
        assert_eq!(service.next().await["type"], "test");
    }
}
