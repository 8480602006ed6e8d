//! Starting machines for mail.

use std::time::Duration;

use axum::http::Method;
use postbell_core::InstanceStatus;
use postbell_sandbox::{FaultPoint, Frequency, Kind, Sandbox};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::test_platform::{TestPlatform, sandbox};

/// The timeout of a test.
const DEADLOCK: Duration = Duration::from_secs(30);

/// With `ann` connected, her machine stopped, and `wake_on_mail` on.
async fn asleep(sandbox: &Sandbox) -> TestPlatform {
    let world = TestPlatform::on_fly(sandbox).await;
    sandbox.fly().put("bot", "m", "stopped", &[]);
    world.connect("ann").await;
    world
        .change("ann", |record| {
            record.status = InstanceStatus::Stopped;
            record.wake_on_mail = true;
        })
        .await;
    world
}

async fn wake(world: &TestPlatform) -> Value {
    let body = json!({ "userId": "ann" });
    let (status, answer) = world.ask(Method::POST, "/api/platform/wake", body).await;
    assert_eq!(status, 200);
    answer["starting"].clone()
}

fn starts(sandbox: &Sandbox) -> usize {
    let calls = sandbox.fly().calls();
    calls.iter().filter(|call| call.action == "start").count()
}

pub(crate) async fn waited_for(sandbox: &Sandbox) {
    let waited = sandbox.fly().called(|call| call.action == "wait");
    timeout(DEADLOCK, waited).await.unwrap();
}

#[tokio::test]
async fn concurrent_requests_start_a_machine_once() {
    let sandbox = sandbox().await;
    let world = asleep(&sandbox).await;
    sandbox.fly().boot_takes(Duration::from_millis(50));
    for _ in 0..5 {
        assert_eq!(wake(&world).await, true);
    }
    waited_for(&sandbox).await;
    assert_eq!(sandbox.fly().state("bot", "m").as_deref(), Some("started"));
    assert_eq!(starts(&sandbox), 1);
    world.stop().await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_running_status_is_checked_before_a_start() {
    let sandbox = sandbox().await;
    let world = asleep(&sandbox).await;
    world
        .change("ann", |record| record.status = InstanceStatus::Running)
        .await;
    assert_eq!(wake(&world).await, true, "it has stopped behind our back");
    waited_for(&sandbox).await;
    assert_eq!(starts(&sandbox), 1);
    world.stop().await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_started_machine_is_recorded_as_running() {
    let sandbox = sandbox().await;
    let world = asleep(&sandbox).await;
    wake(&world).await;
    let runs = async {
        while world.record("ann").await.status != InstanceStatus::Running {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLOCK, runs).await.unwrap();
    world.stop().await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_machine_is_not_started_without_permission() {
    let sandbox = sandbox().await;
    let world = asleep(&sandbox).await;
    world
        .change("ann", |record| record.wake_on_mail = false)
        .await;
    assert_eq!(wake(&world).await, false);
    world
        .change("ann", |record| {
            record.wake_on_mail = true;
            record.notifications_enabled = false;
        })
        .await;
    assert_eq!(wake(&world).await, false);
    world
        .change("ann", |record| {
            record.notifications_enabled = true;
            record.status = InstanceStatus::Destroying;
        })
        .await;
    assert_eq!(wake(&world).await, false);
    assert_eq!(starts(&sandbox), 0);
    world.stop().await;
    sandbox.stop().await;
}

#[tokio::test]
async fn unmanaged_machines_are_not_started() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    world
        .change("ann", |record| {
            record.status = InstanceStatus::Stopped;
            record.wake_on_mail = true;
        })
        .await;
    assert_eq!(wake(&world).await, false);
    world.stop().await;
}

#[tokio::test]
async fn a_failed_start_is_not_retried_at_once() {
    let sandbox = sandbox().await;
    let world = asleep(&sandbox).await;
    sandbox
        .faults()
        .add(FaultPoint::FlyStart, Kind::refuse(503), Frequency::Times(1));
    assert_eq!(wake(&world).await, true);
    let failed = async {
        while wake(&world).await == true {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLOCK, failed).await.unwrap();
    assert_eq!(sandbox.faults().list(), [], "it was tried");
    assert_eq!(wake(&world).await, false);
    assert_eq!(starts(&sandbox), 0);
    world.stop().await;
    sandbox.stop().await;
}
