//! Each service over HTTP.

use std::time::Duration;

use postbell_alerts::SendError;
use postbell_protocol::webhook::SigningKeys;
use postbell_sandbox::{AlertServices, Misbehaviour};

use crate::{client, event, failure, target};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::test]
async fn a_webhook_gets_a_signed_event() {
    let services = AlertServices::start().await.unwrap();
    let target = target(&format!("{}/alerts#{SECRET}", services.url()));
    client().send(&target, &event()).await.unwrap();
    let received = services.received().remove(0);
    let header = |name: &str| received.headers[name].to_str().unwrap();
    let key: SigningKeys = SECRET.parse().unwrap();
    let id = header("webhook-id");
    assert_eq!(id, event().id.as_str());
    assert_eq!(header("idempotency-key"), id);
    assert!(key.verify(
        id,
        header("webhook-timestamp"),
        header("webhook-signature"),
        &received.body
    ));
    let json = received.json;
    assert_eq!(json["type"], "grant.revoked");
    assert_eq!(json["timestamp"], "2026-09-21T14:13:20Z");
    assert_eq!(json["data"]["account"], "ann@example.com");
    assert_eq!(json["data"]["problem"], "grant_revoked");
}

#[tokio::test]
async fn a_webhook_without_a_secret_gets_no_signature() {
    let services = AlertServices::start().await.unwrap();
    let target = target(&format!("{}/alerts", services.url()));
    client().send(&target, &event()).await.unwrap();
    assert!(
        !services.received()[0]
            .headers
            .contains_key("webhook-signature")
    );
}

#[tokio::test]
async fn each_service_accepts_its_form() {
    let services = AlertServices::start().await.unwrap();
    let host = services.host();
    for (text, service, field) in [
        (format!("ntfy+http://{host}/topic"), "ntfy", "message"),
        (
            format!("slack+http://{host}/services/T/B/X"),
            "slack",
            "text",
        ),
        (
            format!("mattermost+http://{host}/hooks/1"),
            "mattermost",
            "text",
        ),
        (
            format!("discord+http://{host}/api/webhooks/1/x"),
            "discord",
            "content",
        ),
        (
            format!("telegram+http://1:A-b@{host}/-100"),
            "telegram",
            "text",
        ),
    ] {
        client().send(&target(&text), &event()).await.unwrap();
        let received = services.received().pop().unwrap();
        assert_eq!(received.service, service);
        let sent = received.json[field].as_str().unwrap();
        assert!(sent.contains("Google answered"), "{service}: {sent}");
        assert!(
            sent.contains("Since 2026-09-21 14:13 UTC"),
            "{service}: {sent}"
        );
    }
    let received = services.received();
    assert_eq!(
        received[0].json["title"],
        "Postbell: Access to Gmail was revoked: ann@example.com"
    );
    let slack = received[1].json["text"].as_str().unwrap();
    assert!(slack.contains("&lt;invalid_grant&gt; &amp;"), "{slack}");
    assert_eq!(
        received[3].json["allowed_mentions"]["parse"],
        serde_json::json!([])
    );
    assert_eq!(received[4].json["chat_id"], "-100");
}

#[tokio::test]
async fn a_protected_topic_needs_a_token_or_a_password() {
    let services = AlertServices::start().await.unwrap();
    let host = services.host();
    for login in ["ann:right@", ":tk_right@", "tk_right@"] {
        let topic = target(&format!("ntfy+http://{login}{host}/protected"));
        client().send(&topic, &event()).await.unwrap();
    }
    let topic = target(&format!("ntfy+http://ann:wrong@{host}/protected"));
    let (text, wait) = failure(client().send(&topic, &event()).await);
    assert_eq!(
        text,
        "the service answered 403: it does not accept the token or password"
    );
    assert_eq!(wait, None);
}

#[tokio::test]
async fn a_service_that_is_busy_says_how_long_to_wait() {
    let services = AlertServices::start().await.unwrap();
    let host = services.host();
    for text in [
        format!("http://{host}/alerts"),
        format!("slack+http://{host}/services/T/B/X"),
        format!("discord+http://{host}/api/webhooks/1/x"),
        format!("telegram+http://1:A@{host}/7"),
    ] {
        services.misbehave(Misbehaviour::Refuse {
            status: 429,
            retry_after: Some(7),
        });
        let (said, wait) = failure(client().send(&target(&text), &event()).await);
        assert_eq!(said, "the service answered 429: too many messages");
        assert_eq!(wait, Some(Duration::from_secs(7)), "{text}");
    }
}

#[tokio::test]
async fn a_wait_is_bounded() {
    let services = AlertServices::start().await.unwrap();
    services.misbehave(Misbehaviour::Refuse {
        status: 503,
        retry_after: Some(10_000_000),
    });
    let target = target(&format!("{}/alerts", services.url()));
    let (_, wait) = failure(client().send(&target, &event()).await);
    assert_eq!(wait, Some(Duration::from_secs(6 * 3600)));
}

#[tokio::test]
async fn a_target_that_is_gone_is_known_as_such() {
    let services = AlertServices::start().await.unwrap();
    services.misbehave(Misbehaviour::Refuse {
        status: 410,
        retry_after: None,
    });
    let target = target(&format!("slack+http://{}/services/T/B/X", services.host()));
    let sent = client().send(&target, &event()).await;
    assert!(matches!(sent, Err(SendError::Gone)));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let services = AlertServices::start().await.unwrap();
    services.misbehave(Misbehaviour::Redirect(format!("{}/alerts", services.url())));
    let target = target(&format!("{}/alerts", services.url()));
    let (text, _) = failure(client().send(&target, &event()).await);
    assert_eq!(text, "the service answered 302: redirects are not followed");
    assert!(services.received().is_empty());
}

#[tokio::test]
async fn nothing_of_a_target_is_in_an_error() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let target = target(&format!("http://user:hunter2@{address}/hunter3"));
    let error = client().send(&target, &event()).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert_eq!(error.to_string(), "the service cannot be reached");
    assert!(!shown.contains("hunter"), "{shown}");
}

#[tokio::test]
async fn a_service_that_hangs_is_given_up() {
    let services = AlertServices::start().await.unwrap();
    services.misbehave(Misbehaviour::Hang);
    let target = target(&format!("{}/alerts", services.url()));
    let client = client();
    let event = event();
    let sending = client.send(&target, &event);
    tokio::pin!(sending);
    tokio::select! {
        _ = &mut sending => panic!("the service hangs"),
        () = services.wait_for_requests(1) => (),
    }
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(21)).await;
    let (text, _) = failure(sending.await);
    assert_eq!(text, "the service did not answer in time");
}
