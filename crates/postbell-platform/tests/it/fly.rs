//! Machines on the sandbox's stand-in for Fly.

use std::time::Duration;

use postbell_core::{InstanceStatus, ManagedMachine};
use postbell_platform::{Machines, MachinesError};
use postbell_protocol::env_crypto::EnvKey;
use postbell_sandbox::{FaultPoint, Frequency, Kind, Named, Sandbox};
use serde_json::json;

use crate::test_platform::{TestPlatform, machines, sandbox};

fn machine() -> ManagedMachine {
    ManagedMachine {
        app: "bot".to_owned(),
        machine: "m".to_owned(),
    }
}

fn actions(sandbox: &Sandbox) -> Vec<&'static str> {
    let calls = sandbox.fly().calls().into_iter();
    calls.map(|call| call.action).collect()
}

#[tokio::test]
async fn a_machine_is_started_and_waited_for() {
    let sandbox = sandbox().await;
    sandbox.fly().put("bot", "m", "stopped", &[]);
    sandbox.fly().boot_takes(Duration::from_millis(30));
    let machines = machines(&sandbox, None);
    let machine = &machine();
    let status = async || machines.status(machine).await.unwrap();
    assert_eq!(status().await, Some(InstanceStatus::Stopped));
    machines.start(machine).await.unwrap();
    assert_eq!(status().await, Some(InstanceStatus::Starting));
    let waited = machines.wait_until_started(machine, Duration::from_secs(60));
    assert!(waited.await.unwrap());
    assert_eq!(status().await, Some(InstanceStatus::Running));
    sandbox.fly().put("bot", "m", "stopped", &[]);
    let waited = machines.wait_until_started(machine, Duration::ZERO);
    assert!(!waited.await.unwrap(), "it does not start in that time");
    sandbox.stop().await;
}

#[tokio::test]
async fn errors_of_fly_are_distinguished() {
    let sandbox = sandbox().await;
    let machines = machines(&sandbox, None);
    for app in ["none", "../../x", "a/b", ""] {
        let unknown = ManagedMachine {
            app: app.to_owned(),
            ..machine()
        };
        let error = machines.start(&unknown).await.unwrap_err();
        assert!(matches!(error, MachinesError::Missing), "{app}: {error:?}");
    }
    sandbox.fly().put("bot", "m", "started", &[]);
    let error = machines.start(&machine()).await.unwrap_err();
    assert!(
        matches!(error, MachinesError::Refused { status: 412 }),
        "{error:?}"
    );
    for (kind, is_right) in [
        (Kind::refuse(401), false),
        (Kind::refuse(429), true),
        (Kind::refuse(503), true),
        (Kind::DropBefore, true),
        (Kind::Unreadable, true),
        (Kind::Endless { status: 500 }, true),
        (Kind::Endless { status: 200 }, true),
        (Kind::Endless { status: 400 }, false),
    ] {
        sandbox
            .faults()
            .add(FaultPoint::FlyGet, kind, Frequency::Times(1));
        let error = machines.status(&machine()).await.unwrap_err();
        let is_passing = matches!(error, MachinesError::Unavailable { .. });
        assert_eq!(is_passing, is_right, "{kind:?}: {error:?}");
    }
    let kind = Kind::RefuseUntil {
        status: 429,
        seconds: 600,
        named: Named::Header,
    };
    sandbox
        .faults()
        .add(FaultPoint::FlyStart, kind, Frequency::Times(1));
    let error = machines.start(&machine()).await.unwrap_err();
    let MachinesError::Unavailable { retry_after, .. } = error else {
        panic!("{error:?}");
    };
    let wait = retry_after.unwrap().as_secs();
    assert!((595..=600).contains(&wait), "{wait}");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_running_machine_restarts_with_settings_and_credentials() {
    let sandbox = sandbox().await;
    let world = TestPlatform::on_fly(&sandbox).await;
    sandbox.fly().put("bot", "m", "started", &[("MINE", "1")]);
    let connected = world.connect("ann").await;
    let expected = json!({ "googleConnected": true, "gmailNotificationsEnabled": true });
    assert_eq!(connected, (200, expected));
    let env = sandbox.fly().env("bot", "m");
    let expected = [
        ("GMAIL_NOTIFICATIONS_ENABLED", "true"),
        ("KILOCLAW_GOG_CONFIG_TARBALL", "H4sIAAAA"),
        ("KILOCLAW_GOOGLE_ACCOUNT_EMAIL", "ann@example.com"),
        ("MINE", "1"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(env, expected.into());
    assert_eq!(actions(&sandbox), ["get", "update"]);
    assert_eq!(sandbox.fly().state("bot", "m").as_deref(), Some("started"));

    // Equal variables do not restart the machine.
    world.toggle("ann", true).await;
    assert_eq!(actions(&sandbox), ["get", "update", "get"]);
    world.toggle("ann", false).await;
    let env = sandbox.fly().env("bot", "m");
    assert_eq!(env["GMAIL_NOTIFICATIONS_ENABLED"], "false");
    sandbox.stop().await;
    world.stop().await;
}

#[tokio::test]
async fn a_stopped_machine_gets_its_variables_and_stays_stopped() {
    let sandbox = sandbox().await;
    let world = TestPlatform::on_fly(&sandbox).await;
    sandbox.fly().put("bot", "m", "stopped", &[]);
    let (_, answer) = world.connect("ann").await;
    assert_eq!(answer.get("restartFailed"), None);
    assert_eq!(sandbox.fly().state("bot", "m").as_deref(), Some("stopped"));
    let env = sandbox.fly().env("bot", "m");
    assert_eq!(env["GMAIL_NOTIFICATIONS_ENABLED"], "true");
    sandbox.stop().await;
    world.stop().await;
}

#[tokio::test]
async fn a_failed_sync_is_reported_and_the_change_is_stored() {
    let sandbox = sandbox().await;
    let world = TestPlatform::on_fly(&sandbox).await;
    sandbox.fly().put("bot", "m", "started", &[]);
    world.connect("ann").await;
    for (place, kind) in [
        (FaultPoint::FlyGet, Kind::refuse(503)),
        (FaultPoint::FlyUpdate, Kind::refuse(422)),
        (FaultPoint::FlyUpdate, Kind::DropBefore),
    ] {
        sandbox.faults().add(place, kind, Frequency::Times(1));
        let response = world.toggle("ann", false).await;
        let expected = json!({ "gmailNotificationsEnabled": false, "restartFailed": true });
        assert_eq!(response, (200, expected), "{place} {kind:?}");
        assert!(!world.record("ann").await.notifications_enabled);
        let env = sandbox.fly().env("bot", "m");
        assert_eq!(env["GMAIL_NOTIFICATIONS_ENABLED"], "true");
    }
    // Repeating the change retries the sync.
    let response = world.toggle("ann", false).await;
    assert_eq!(
        response,
        (200, json!({ "gmailNotificationsEnabled": false }))
    );
    let env = sandbox.fly().env("bot", "m");
    assert_eq!(env["GMAIL_NOTIFICATIONS_ENABLED"], "false");
    sandbox.stop().await;
    world.stop().await;
}

#[tokio::test]
async fn a_sync_that_conflicts_with_another_change_is_repeated() {
    let sandbox = sandbox().await;
    let world = TestPlatform::on_fly(&sandbox).await;
    sandbox.fly().put("bot", "m", "started", &[]);
    world.connect("ann").await;
    sandbox.faults().add(
        FaultPoint::FlyUpdate,
        Kind::refuse(409),
        Frequency::Times(2),
    );
    let response = world.toggle("ann", false).await;
    assert_eq!(
        response,
        (200, json!({ "gmailNotificationsEnabled": false }))
    );
    let env = sandbox.fly().env("bot", "m");
    assert_eq!(env["GMAIL_NOTIFICATIONS_ENABLED"], "false");
    sandbox.stop().await;
    world.stop().await;
}

#[tokio::test]
async fn with_an_env_key_credentials_are_encrypted_in_the_configuration() {
    let sandbox = sandbox().await;
    let key = EnvKey::from_base64(&"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".into());
    let machines = machines(&sandbox, Some(key.unwrap()));
    let store = std::sync::Arc::new(postbell_testkit::MemoryUsers::default());
    let world = TestPlatform::with(store, Some(std::sync::Arc::new(machines)), true).await;
    sandbox.fly().put("bot", "m", "started", &[]);
    world.connect("ann").await;
    let env = sandbox.fly().env("bot", "m");
    assert!(env["KILOCLAW_ENC_KILOCLAW_GOG_CONFIG_TARBALL"].starts_with("enc:v1:"));
    assert!(!env.contains_key("KILOCLAW_GOG_CONFIG_TARBALL"));
    sandbox.stop().await;
    world.stop().await;
}

#[tokio::test]
async fn the_status_of_a_stopped_machine_is_refreshed() {
    let sandbox = sandbox().await;
    sandbox.fly().put("bot", "m", "started", &[]);
    let off = |record: &mut postbell_core::UserRecord| record.status = InstanceStatus::Stopped;
    let user = "ann".parse().unwrap();
    let away = TestPlatform::on_fly(&sandbox).await;
    away.change("ann", off).await;
    sandbox
        .faults()
        .add(FaultPoint::FlyGet, Kind::refuse(503), Frequency::Times(1));
    let seen = away.fleet.get(&user).await.unwrap().unwrap();
    assert_eq!(seen.status, InstanceStatus::Stopped, "as it is stored");
    away.stop().await;

    let world = TestPlatform::on_fly(&sandbox).await;
    world.fleet.get(&user).await.unwrap();
    assert_eq!(
        actions(&sandbox),
        Vec::<&str>::new(),
        "no push waits for Fly"
    );
    world.change("ann", off).await;
    let seen = world.fleet.get(&user).await.unwrap().unwrap();
    assert_eq!(seen.status, InstanceStatus::Running);
    assert_eq!(world.record("ann").await.status, InstanceStatus::Running);
    world.change("ann", off).await;
    world.fleet.get(&user).await.unwrap();
    assert_eq!(actions(&sandbox), ["get"], "not at every question");
    sandbox.stop().await;
    world.stop().await;
}
