//! The rules for changing a user.

use std::sync::Arc;

use axum::http::Method;
use postbell_core::{Credentials, HistoryId, MachineLocation};
use postbell_testkit::MemoryUsers;
use serde_json::{Value, json};

use crate::test_platform::{TestPlatform, google_credentials, olga};

async fn report(world: &TestPlatform, history_id: Value) -> (u16, Value) {
    let body = json!({ "userId": "ann", "historyId": history_id });
    world
        .ask(Method::POST, "/api/platform/gmail-history-id", body)
        .await
}

async fn history_id(world: &TestPlatform) -> Option<u64> {
    world
        .record("ann")
        .await
        .last_history_id
        .map(HistoryId::get)
}

#[tokio::test]
async fn connecting_stores_the_envelope_and_turns_notifications_on() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    let record = world.record("ann").await;
    let google = record.google.unwrap();
    assert_eq!(google.email.unwrap().as_str(), "ann@example.com");
    assert!(record.notifications_enabled);
    let stored = world.store.credentials(&record.user).await.unwrap();
    let stored: Value = serde_json::from_str(stored.unwrap().expose()).unwrap();
    assert_eq!(stored, google_credentials()["gogConfigTarball"]);
    assert_eq!(*world.relays.0.lock(), ["ann has changed"]);
    world.stop().await;
}

#[tokio::test]
async fn an_address_may_have_sixteen_users() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    let route = "/api/platform/google-credentials";
    let connect = |name: &str| {
        let body = json!({ "userId": name, "googleCredentials": google_credentials() });
        world.ask(Method::POST, route, body)
    };
    for number in 2..=16 {
        let name = format!("user{number}");
        world.add_another(&name).await;
        assert_eq!(connect(&name).await.0, 200, "{name}");
    }
    world.add_another("zoe").await;
    let text = "This Google account is connected to 16 other users. Disconnect it from one of them \
                first, or ask your operator";
    assert_eq!(connect("zoe").await, (409, json!({ "error": text })));
    let (status, _) = world.connect("ann").await;
    assert_eq!(status, 200, "a connected account may be connected again");

    let uri = "/api/platform/google-credentials?userId=ann";
    world.ask(Method::DELETE, uri, Value::Null).await;
    assert_eq!(connect("zoe").await.0, 200);
    world.stop().await;
}

#[tokio::test]
async fn disconnecting_deletes_everything_about_the_account() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    report(&world, json!(7)).await;
    let uri = "/api/platform/google-credentials?userId=ann";
    for _ in 0..2 {
        let (status, _) = world.ask(Method::DELETE, uri, Value::Null).await;
        assert_eq!(status, 200);
        let record = world.record("ann").await;
        assert_eq!((record.google, record.last_history_id), (None, None));
        assert!(!record.notifications_enabled);
        let stored = world.store.credentials(&record.user).await.unwrap();
        assert!(stored.is_none());
    }
    let uri = "/api/platform/gmail-oidc-email?userId=ann";
    let (_, account) = world.ask(Method::GET, uri, Value::Null).await;
    assert_eq!(account, json!({ "gmailPushOidcEmail": null }));
    world.stop().await;
}

#[tokio::test]
async fn notifications_require_an_account() {
    let world = TestPlatform::new().await;
    let refused = world.toggle("ann", true).await;
    let text = "Cannot enable Gmail notifications without a connected Google account";
    assert_eq!(refused, (400, json!({ "error": text })));
    assert!(!world.record("ann").await.notifications_enabled);
    assert!(world.relays.0.lock().is_empty());

    let off = world.toggle("ann", false).await;
    assert_eq!(off, (200, json!({ "gmailNotificationsEnabled": false })));
    world.connect("ann").await;
    for on in [false, true] {
        let (status, _) = world.toggle("ann", on).await;
        assert_eq!(status, 200);
        assert_eq!(world.record("ann").await.notifications_enabled, on);
    }
    world.stop().await;
}

#[tokio::test]
async fn history_ids_only_rise_and_invalid_ones_are_ignored() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    let two_to_the_63 = 1_u64 << 63;
    for (reported, known) in [
        (json!(9), 9),
        (json!("10"), 10),
        (json!(2), 10),
        (json!("abc"), 10),
        (json!(-1), 10),
        (json!(11.5), 10),
        (json!(null), 10),
        (json!({}), 10),
        (json!((1_u64 << 53) + 1), (1 << 53) + 1),
        (json!(two_to_the_63), two_to_the_63),
        (json!(two_to_the_63 - 1), two_to_the_63),
        (json!("18446744073709551616"), two_to_the_63),
        (json!(u64::MAX), u64::MAX),
    ] {
        let answer = report(&world, reported.clone()).await;
        assert_eq!(answer, (200, json!({ "ok": true })), "{reported}");
        assert_eq!(history_id(&world).await, Some(known), "{reported}");
    }
    let uri = "/api/platform/status?userId=ann";
    let (_, status) = world.ask(Method::GET, uri, Value::Null).await;
    assert_eq!(status["gmailLastHistoryId"], "18446744073709551615");
    world.stop().await;
}

#[tokio::test]
async fn a_late_history_id_of_a_disconnected_account_is_ignored() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    let uri = "/api/platform/google-credentials?userId=ann";
    world.ask(Method::DELETE, uri, Value::Null).await;
    assert_eq!(report(&world, json!(7)).await, (200, json!({ "ok": true })));
    world.connect("ann").await;
    assert_eq!(history_id(&world).await, None);
    world.stop().await;
}

#[tokio::test]
async fn invalid_credentials_are_rejected_and_not_echoed() {
    let world = TestPlatform::new().await;
    let good = google_credentials();
    let with = |field: &str, value: Value| {
        let mut changed = good.clone();
        changed[field] = value;
        changed
    };
    let mut unreadable = good["gogConfigTarball"].clone();
    unreadable["encryptedData"] = json!("hunter2?");
    let mut for_another_key = good["gogConfigTarball"].clone();
    for_another_key["encryptedDEK"] = json!("AAAA");
    for (credentials, expected) in [
        (Value::Null, "gogConfigTarball"),
        (json!({}), "gogConfigTarball"),
        (
            with("gogConfigTarball", json!("hunter2")),
            "gogConfigTarball",
        ),
        (
            with("gogConfigTarball", unreadable),
            "encryptedData in base64",
        ),
        (
            with("gogConfigTarball", for_another_key),
            "the platform's key does not decrypt them",
        ),
        (with("email", json!("hunter2")), "email: expected"),
        (
            with("email", json!("\u{202e}hunter2@example.com")),
            "email: expected",
        ),
        (
            with("gmailPushOidcEmail", json!("hunter2")),
            "gmailPushOidcEmail: expected",
        ),
    ] {
        let body = json!({ "userId": "ann", "googleCredentials": credentials });
        let (status, body) = world
            .ask(Method::POST, "/api/platform/google-credentials", body)
            .await;
        assert_eq!(status, 400, "{credentials}");
        let error = body["error"].as_str().unwrap();
        assert!(
            error.contains(expected) && !error.contains("hunter2"),
            "{error}"
        );
    }
    assert_eq!(world.record("ann").await.google, None);
    let mut unnamed = good;
    unnamed.as_object_mut().unwrap().remove("email");
    unnamed["gmailPushOidcEmail"] = Value::Null;
    let body = json!({ "userId": "ann", "googleCredentials": unnamed });
    let (status, _) = world
        .ask(Method::POST, "/api/platform/google-credentials", body)
        .await;
    assert_eq!(status, 200);
    world.stop().await;
}

#[tokio::test]
async fn concurrent_changes_of_a_user_are_both_kept() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    let toggles = async {
        for on in [false, true, false, true, false] {
            assert_eq!(world.toggle("ann", on).await.0, 200);
        }
    };
    let reports = async {
        for history_id in 1..=20 {
            assert_eq!(report(&world, json!(history_id)).await.0, 200);
        }
    };
    let permits = async {
        for allowed in [true, false, true] {
            let user = "ann".parse().unwrap();
            let by = olga();
            let set = world.users.set_wake_on_mail(&user, allowed, &by);
            set.await.unwrap();
        }
    };
    tokio::join!(toggles, reports, permits);
    let record = world.record("ann").await;
    assert_eq!(history_id(&world).await, Some(20));
    assert!(!record.notifications_enabled && record.wake_on_mail);
    assert!(record.google.is_some());
    world.stop().await;
}

#[tokio::test]
async fn a_machine_with_its_own_url_never_fails_to_sync() {
    let world = TestPlatform::with(Arc::new(MemoryUsers::default()), None, false).await;
    let url = "https://bot.example.com/".parse().unwrap();
    let at_url = MachineLocation::Url(url);
    world
        .change("ann", |record| record.location = at_url.clone())
        .await;
    let expected = json!({ "googleConnected": true, "gmailNotificationsEnabled": true });
    assert_eq!(world.connect("ann").await, (200, expected));
    let uri = "/api/platform/status?userId=ann";
    let (_, status) = world.ask(Method::GET, uri, Value::Null).await;
    assert_eq!(status["url"], "https://bot.example.com/");
    assert_eq!(status["flyAppName"], Value::Null);
    world.stop().await;
}
