use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::platform::OurPlatform;
use crate::support::{DEADLOCK, Received, ServiceProcess, send};

const SWITCH: &str = "/api/platform/gmail-notifications";

#[tokio::test]
async fn a_users_mail_comes_as_long_as_they_want_it() {
    let ours = OurPlatform::new().await;
    let world = &ours.world;
    let service = ours.serve().await;
    ours.add_ada(&[]).await;
    let connected = ours.connect().await;
    let expected = json!({ "googleConnected": true, "gmailNotificationsEnabled": true });
    assert_eq!(connected, expected, "nobody can restart a machine at a URL");
    world.begin().await.unwrap();
    let mut hooks = world.sandbox.bot().subscribe();
    let mut received = Received::default();
    received.wait_for(&[send(world, 1)], &mut hooks).await;
    ours.delivery_reported().await;

    let off = format!("{SWITCH}?userId=ada");
    ours.ask(Method::DELETE, &off, Value::Null).await;
    ours.drained().await;
    let before = ours.deliveries().await;
    let while_off = send(world, 2);
    ours.drained().await;
    assert_eq!(ours.deliveries().await, before, "acknowledged, and dropped");

    let on = ours.ask(Method::POST, SWITCH, json!({ "userId": "ada" }));
    assert_eq!(on.await, json!({ "gmailNotificationsEnabled": true }));
    // The next notification covers the earlier ones, because a notification is a cursor.
    let next = send(world, 3);
    received.wait_for(&[while_off, next], &mut hooks).await;
    assert_eq!(received.ids.len(), 3);
    // The bot has it a moment before the relay knows that.
    let noted = async { while ours.deliveries().await == before {} };
    timeout(DEADLOCK, noted).await.unwrap();

    ours.disconnect_with_token().await;
    ours.drained().await;
    let before = ours.deliveries().await;
    send(world, 4);
    ours.drained().await;
    assert_eq!(ours.deliveries().await, before);
    let ada = ours.ada().await;
    assert_eq!(ada["googleConnected"], false);
    assert_eq!(ada["gmailLastHistoryId"], Value::Null);
    assert_eq!(service.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}

#[tokio::test]
async fn relay_and_platform_are_not_ready_while_the_disk_is_full() {
    let ours = OurPlatform::new().await;
    ours.add_ada(&[]).await;
    let service = ServiceProcess::start_with_small_files("serve", &ours.variables()).await;
    ours.connect().await;
    let ready = async |url: String| reqwest::get(url + "/ready").await.unwrap().status();
    for url in [ours.url(), ours.relay_url()] {
        assert_eq!(ready(url).await, 200);
    }
    let mut writes = 0_i64;
    while ours.report_running(1_700_000_000_000 + writes).await == 200 {
        writes += 1;
        assert!(writes < 2000, "the disk was never full");
    }
    for url in [ours.url(), ours.relay_url(), ours.url()] {
        assert_eq!(ready(url).await, 503);
    }
    let health = reqwest::get(ours.url() + "/health").await.unwrap();
    assert_eq!(health.status(), 200, "a restart would not help");
    assert_eq!(service.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}

#[tokio::test]
async fn what_waits_for_a_machine_is_delivered_when_it_reports_in_to_the_platform() {
    let ours = OurPlatform::new().await;
    let world = &ours.world;
    let service = ours.serve().await;
    ours.add_ada(&["--machine-status", "stopped"]).await;
    ours.connect().await;
    world.begin().await.unwrap();
    let mut hooks = world.sandbox.bot().subscribe();
    let sent = [send(world, 1)];
    ours.delivery_tried().await;
    let failed = &ours.deliveries().await[0];
    assert_eq!(failed["cause"], "the machine is not running");

    ours.check_in().await;
    Received::default().wait_for(&sent, &mut hooks).await;
    assert_eq!(ours.ada().await["status"], "running");
    // Else the next process does it, and the record changes under our eyes.
    ours.delivery_reported().await;
    // What one process has stored, the next one finds.
    service.kill().await;
    let again = ours.serve().await;
    let uri = "/api/platform/status?userId=ada";
    let status = ours.ask(Method::GET, uri, Value::Null).await;
    assert_eq!(status, ours.ada().await);
    assert_eq!(again.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}
