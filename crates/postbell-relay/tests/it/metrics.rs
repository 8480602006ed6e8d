use crate::world::{World, notification};

#[tokio::test]
async fn pushes_are_counted_by_result() {
    let world = World::new().await;
    let token = world.token();
    for (message, history_id) in [("m1", 7), ("m1", 7), ("m2", 8), ("m3", 9)] {
        let body = notification(message, history_id).to_string();
        world.push("/push/user/ann", &token, body).await;
    }
    world.push("/push/user/ann", &token, "{}").await;
    world.push("/push/user/ann", "no.jwt", "{}").await;
    world.push("/push/user/a%20b", "no.jwt", "{}").await;
    world.sandbox.platform().update("ann", |instance| {
        instance.google_connected = false;
        instance.gmail_push_oidc_email = None;
    });
    world.sandbox.platform().remove("bob");

    let text = world.metrics().await;
    for line in [
        r#"postbell_relay_pushes_total{result="accepted"} 1"#,
        r#"postbell_relay_pushes_total{result="merged"} 2"#,
        r#"postbell_relay_pushes_total{result="duplicate"} 1"#,
        r#"postbell_relay_pushes_total{result="unreadable"} 1"#,
        r#"postbell_relay_pushes_total{result="unauthenticated"} 1"#,
        r#"postbell_relay_pushes_total{result="no_such_route"} 1"#,
        "postbell_relay_waiting_mailboxes 1",
        "postbell_relay_dead_letters 1",
        "postbell_relay_oldest_waiting_seconds 0",
        "postbell_relay_push_seconds_count 7",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    assert!(!text.contains("ann"), "metrics name no user");
    world.stop().await;
}
