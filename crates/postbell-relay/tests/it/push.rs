use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use postbell_core::{Clock, DeadLetterReason, HistoryId, SystemClock};
use postbell_sandbox::{FaultPoint, Frequency, IdTokenClaims, Kind, PlatformInstance};
use serde_json::{Value, json};

use crate::world::{ACCOUNT, AUDIENCE, World, instance, notification};

#[tokio::test]
async fn a_push_is_stored_unchanged_and_then_acknowledged() {
    let world = World::new().await;
    let body = notification("m1", 7).to_string();
    let answer = world
        .push("/push/user/ann", &world.token(), body.clone())
        .await;
    assert_eq!(answer.status(), 204);

    let waiting = world.waiting().await;
    assert_eq!(waiting[0].notification.history_id, HistoryId::new(7));
    assert_eq!(waiting[0].notification.body, body.as_bytes());
    world.stop().await;
}

#[tokio::test]
async fn a_repeat_is_acknowledged_and_not_stored_again() {
    let world = World::new().await;
    for _ in 0..3 {
        assert_eq!(world.push_with(&world.claims()).await, 204);
    }
    assert_eq!(world.waiting().await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_token_of_another_issuer_audience_or_time_is_refused() {
    let world = World::new().await;
    let good = world.claims();
    let now = good.iat;
    let bad = [
        IdTokenClaims {
            signed_by_stranger: true,
            ..good.clone()
        },
        IdTokenClaims {
            iss: "https://evil.example.com".to_owned(),
            ..good.clone()
        },
        IdTokenClaims {
            aud: json!(format!("{AUDIENCE}/push/user/bob")),
            ..good.clone()
        },
        IdTokenClaims {
            aud: json!([good.aud]),
            ..good.clone()
        },
        IdTokenClaims {
            aud: json!(format!("{AUDIENCE}/push/user/ann/")),
            ..good.clone()
        },
        IdTokenClaims {
            exp: now - 3600,
            iat: now - 7200,
            ..good.clone()
        },
        IdTokenClaims {
            iat: now + 3600,
            exp: now + 7200,
            ..good.clone()
        },
    ];
    for claims in bad {
        assert_eq!(world.push_with(&claims).await, 401, "{claims:?}");
    }
    world.assert_nothing_stored().await;
    assert_eq!(world.push_with(&good).await, 204);
    world.stop().await;
}

#[tokio::test]
async fn a_malformed_or_unsigned_token_is_refused() {
    let world = World::new().await;
    let good = world.token();
    let parts: Vec<_> = good.split('.').collect();
    // {"alg":"none"} and {"alg":"HS256","kid":"1"}
    let (none, hs256) = ("eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiIsImtpZCI6IjEifQ");
    let forged = [
        String::new(),
        "x".to_owned(),
        "a.b.c".to_owned(),
        format!("{none}.{}.", parts[1]),
        format!("{hs256}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}", parts[0], parts[2], parts[1]),
        format!("{good}{}", "x".repeat(9_000)),
    ];
    for token in &forged {
        let answer = world.push("/push/user/ann", token, "{}").await;
        assert_eq!(answer.status(), 401, "{token}");
    }
    world.assert_nothing_stored().await;
    world.stop().await;
}

#[tokio::test]
async fn an_error_says_what_was_expected_and_repeats_nothing() {
    let world = World::new().await;
    let answer = world.push("/push/user/ann", "hunter2", "hunter2").await;
    assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    let body: Value = answer.json().await.unwrap();
    let message = body["error"].as_str().unwrap();
    assert!(
        message.starts_with("expected") && !message.contains("hunter2"),
        "{message}"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_valid_token_of_another_account_is_forbidden() {
    let world = World::new().await;
    let good = world.claims();
    for claims in [
        IdTokenClaims {
            email: "thief@evil.iam.gserviceaccount.com".to_owned(),
            ..good.clone()
        },
        IdTokenClaims {
            email: ACCOUNT.to_uppercase(),
            ..good.clone()
        },
        IdTokenClaims {
            email_verified: json!(false),
            ..good.clone()
        },
    ] {
        assert_eq!(world.push_with(&claims).await, 403, "{claims:?}");
    }
    world.assert_nothing_stored().await;
    world.stop().await;
}

#[tokio::test]
async fn unauthenticated_senders_cost_no_directory_request() {
    let world = World::new().await;
    world
        .sandbox
        .faults()
        .add(FaultPoint::Platform, Kind::refuse(500), Frequency::Always);
    let stranger = IdTokenClaims {
        signed_by_stranger: true,
        ..world.claims()
    };
    assert_eq!(world.push_with(&stranger).await, 401);
    let unverified = IdTokenClaims {
        email_verified: json!(false),
        ..world.claims()
    };
    assert_eq!(world.push_with(&unverified).await, 403);
    world.stop().await;
}

#[tokio::test]
async fn an_unwanted_push_is_acknowledged_and_not_stored() {
    let changes: [fn(&mut PlatformInstance); 4] = [
        |instance| instance.gmail_notifications_enabled = false,
        |instance| instance.google_connected = false,
        |instance| instance.gmail_push_oidc_email = None,
        |instance| instance.user_id = "bob".to_owned(),
    ];
    for change in changes {
        let world = World::new().await;
        world.sandbox.platform().remove("ann");
        let mut changed = instance("ann");
        change(&mut changed);
        world.sandbox.platform().put(changed);
        assert_eq!(world.push_with(&world.claims()).await, 204);
        world.assert_nothing_stored().await;
        world.stop().await;
    }
}

/// A cached answer may let a push in; it never refuses one.
#[tokio::test]
async fn a_push_just_after_notifications_were_switched_on_is_kept() {
    let world = World::new().await;
    let platform = world.sandbox.platform();
    platform.update("ann", |ann| ann.gmail_notifications_enabled = false);
    assert_eq!(world.push_with(&world.claims()).await, 204);
    world.assert_nothing_stored().await;
    platform.update("ann", |ann| ann.gmail_notifications_enabled = true);
    assert_eq!(world.push_with(&world.claims()).await, 204);
    assert_eq!(world.waiting().await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn cached_answers_serve_while_the_directory_is_away() {
    let world = World::new().await;
    assert_eq!(world.push_with(&world.claims()).await, 204);
    world
        .sandbox
        .faults()
        .add(FaultPoint::Platform, Kind::refuse(500), Frequency::Always);
    assert_eq!(world.push_with(&world.claims()).await, 204);
    let thief = IdTokenClaims {
        email: "thief@evil.iam.gserviceaccount.com".to_owned(),
        ..world.claims()
    };
    assert_eq!(world.push_with(&thief).await, 403);
    world.stop().await;
}

#[tokio::test]
async fn nothing_is_acknowledged_while_googles_keys_are_away() {
    let world = World::new().await;
    world
        .sandbox
        .faults()
        .add(FaultPoint::OAuthCerts, Kind::refuse(500), Frequency::Always);
    assert_unavailable(&world).await;
    world.stop().await;
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_directory_is_away() {
    let world = World::new().await;
    for kind in [Kind::refuse(500), Kind::refuse(401), Kind::DropBefore] {
        world
            .sandbox
            .faults()
            .add(FaultPoint::Platform, kind, Frequency::Times(1));
        assert_unavailable(&world).await;
    }
    assert_eq!(world.push_with(&world.claims()).await, 204);
    world.stop().await;
}

async fn assert_unavailable(world: &World) {
    let body = notification("m1", 7).to_string();
    let answer = world.push("/push/user/ann", &world.token(), body).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    world.assert_nothing_stored().await;
}

#[tokio::test]
async fn known_keys_serve_while_google_is_away() {
    let world = World::new().await;
    assert_eq!(world.push_with(&world.claims()).await, 204);
    world
        .sandbox
        .faults()
        .add(FaultPoint::OAuthCerts, Kind::refuse(500), Frequency::Always);
    assert_eq!(world.push_with(&world.claims()).await, 204);
    world.stop().await;
}

#[tokio::test]
async fn unknown_keys_are_not_fetched_again_at_once() {
    let world = World::new().await;
    assert_eq!(world.push_with(&world.claims()).await, 204);
    world.sandbox.rotate_keys();
    // Senders choose the key id of a token, so keys are fetched at most once a minute.
    assert_eq!(world.push_with(&world.claims()).await, 401);
    world.stop().await;
}

#[tokio::test]
async fn an_unparseable_body_is_kept_as_a_dead_letter_that_names_the_field() {
    let world = World::new().await;
    let body = json!({ "message": { "messageId": "m1", "data": "bm8ganNvbg==" } }).to_string();
    for _ in 0..2 {
        let answer = world
            .push("/push/user/ann", &world.token(), body.clone())
            .await;
        assert_eq!(answer.status(), 204);
    }
    let dead_letters = world.dead_letters().await;
    assert_eq!(dead_letters.len(), 1);
    assert_eq!(
        (dead_letters[0].message_id.as_str(), dead_letters[0].reason),
        ("m1", DeadLetterReason::Malformed)
    );
    assert!(
        dead_letters[0].cause.contains("historyId"),
        "{}",
        dead_letters[0].cause
    );
    world.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let world = World::new().await;
    let token = world.token();
    let longest = "x".repeat(64 * 1024);
    assert_eq!(
        world
            .push("/push/user/ann", &token, longest.clone())
            .await
            .status(),
        204
    );
    assert_eq!(
        world
            .push("/push/user/ann", &token, longest + "x")
            .await
            .status(),
        413
    );
    world.stop().await;
}

#[tokio::test]
async fn a_user_id_may_contain_characters_that_are_encoded() {
    let world = World::new().await;
    world.sandbox.platform().put(PlatformInstance {
        email: Some("ann@example.com".to_owned()),
        ..instance("oauth/google:a+b@x.org")
    });
    let path = "/push/user/oauth%2Fgoogle%3Aa%2Bb%40x.org";
    let audience = format!("{AUDIENCE}{path}");
    let claims = IdTokenClaims {
        aud: json!(audience),
        ..world.claims()
    };
    let token = world.sandbox.oauth().id_token(&claims);
    for spelling in [path, "/push/user/oauth%2Fgoogle:a+b@x.org"] {
        let body = notification(spelling.len().to_string().as_str(), 7).to_string();
        assert_eq!(
            world.push(spelling, &token, body).await.status(),
            204,
            "{spelling}"
        );
    }
    let waiting = world.waiting().await;
    assert_eq!(
        waiting[0].notification.user.as_str(),
        "oauth/google:a+b@x.org"
    );
    world.stop().await;
}

#[tokio::test]
async fn an_invalid_user_id_is_no_route() {
    let world = World::new().await;
    let long = format!("/push/user/{}", "x".repeat(129));
    for path in [
        "/push/user/",
        "/push/user/a%20b",
        "/push/user/%ff",
        "/push/user/a%00",
        "/",
        &long,
    ] {
        assert_eq!(
            world.push(path, &world.token(), "{}").await.status(),
            404,
            "{path}"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn health_and_readiness_need_no_authentication() {
    let world = World::new().await;
    assert_eq!(world.get("/health").await, 200);
    assert_eq!(world.get("/ready").await, 200);
    assert_eq!(world.get("/push/user/ann").await, 405);
    world.stop().await;
}

/// A push for `ann`'s endpoint about the mailbox with this address.
fn about(message: &str, address: &str, history_id: u64) -> String {
    let data = json!({ "emailAddress": address, "historyId": history_id });
    let data = BASE64_STANDARD.encode(data.to_string());
    json!({ "message": { "data": data, "messageId": message } }).to_string()
}

#[tokio::test]
async fn a_push_for_another_mailbox_is_acknowledged_and_counted_and_changes_nothing() {
    let world = World::new().await;
    let token = world.token();
    let push = async |body: String| world.push("/push/user/ann", &token, body).await.status();
    // The watch of the account that was connected before, and a mailbox on the same topic.
    for (message, address) in [
        ("m1", "old-account@example.com"),
        ("m2", "ann@example.com.evil.example"),
        ("m3", "a.nn@example.com"),
        ("m4", "not an address"),
        ("m5", ""),
    ] {
        assert_eq!(push(about(message, address, 9_000_000)).await, 204);
    }
    world.assert_nothing_stored().await;
    let metrics = world.metrics().await;
    let line = r#"postbell_relay_pushes_total{result="other_mailbox"} 5"#;
    assert!(metrics.contains(line), "{metrics}");

    assert_eq!(push(about("m6", "Ann@Example.com", 7)).await, 204);
    let waiting = world.waiting().await;
    assert_eq!(waiting[0].notification.history_id, HistoryId::new(7));
    world.stop().await;
}

#[tokio::test]
async fn each_spelling_of_a_gmail_address_is_the_users_mailbox() {
    let world = World::new().await;
    world.sandbox.platform().update("ann", |instance| {
        instance.email = Some("ann.smith@gmail.com".to_owned());
    });
    let token = world.token();
    for (number, address) in ["annsmith@gmail.com", "Ann.Smith@googlemail.com"]
        .iter()
        .enumerate()
    {
        let body = about(&format!("m{number}"), address, 7 + number as u64);
        let answer = world.push("/push/user/ann", &token, body).await;
        assert_eq!(answer.status(), 204);
    }
    let waiting = world.waiting().await;
    assert_eq!(waiting[0].notification.history_id, HistoryId::new(8));
    world.stop().await;
}

#[tokio::test]
async fn a_push_is_accepted_while_the_users_address_is_unknown_and_when_it_has_changed() {
    let world = World::new().await;
    let platform = world.sandbox.platform();
    platform.update("ann", |instance| instance.email = None);
    let token = world.token();
    let push = async |body: String| world.push("/push/user/ann", &token, body).await.status();
    assert_eq!(push(about("m1", "new@example.com", 7)).await, 204);
    platform.update("ann", |instance| {
        instance.email = Some("new@example.com".to_owned())
    });
    assert_eq!(push(about("m2", "new@example.com", 8)).await, 204);
    // The cached address is a moment old: it never refuses a push.
    platform.update("ann", |instance| {
        instance.email = Some("newer@example.com".to_owned())
    });
    assert_eq!(push(about("m3", "newer@example.com", 9)).await, 204);
    let waiting = world.waiting().await;
    assert_eq!(waiting[0].notification.history_id, HistoryId::new(9));
    world.stop().await;
}

/// By the publish time, the queue tells a late notification from one that a delivery did not cover.
#[tokio::test]
async fn the_address_and_the_publish_time_are_stored_with_the_notification() {
    let world = World::new().await;
    let mut body = notification("m1", 7);
    body["message"]["publishTime"] = "2021-02-26T19:13:55.749Z".into();
    let token = world.token();
    let pushed = world.push("/push/user/ann", &token, body.to_string()).await;
    assert_eq!(pushed.status(), 204);
    let claims = world.waiting().await;
    let stored = &claims[0].notification;
    let published = stored.published_at.map(postbell_core::Timestamp::as_millis);
    assert_eq!(published, Some(1_614_366_835_749));
    let address = stored.address.as_ref().map(|address| address.as_str());
    assert_eq!(address, Some("ann@example.com"));
    world.stop().await;
}

/// Else one message of such a sender would cover everything that is published until then.
#[tokio::test]
async fn a_publish_time_in_the_future_is_not_believed() {
    let world = World::new().await;
    let mut body = notification("m1", 7);
    body["message"]["publishTime"] = "9998-02-26T19:13:55.749Z".into();
    let token = world.token();
    let pushed = world.push("/push/user/ann", &token, body.to_string()).await;
    assert_eq!(pushed.status(), 204);
    let claims = world.waiting().await;
    let published = claims[0].notification.published_at;
    assert!(published.unwrap() <= SystemClock::new().now());
    world.stop().await;
}
