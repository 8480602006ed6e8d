use std::num::NonZeroU32;

use postbell_core::DeadLetterReason;
use postbell_relay::Rate;
use postbell_sandbox::{Frequency, IdTokenClaims, Kind, PlatformInstance};
use serde_json::json;

use crate::world::{AUDIENCE, World, instance, notification};

fn claims(world: &World) -> IdTokenClaims {
    IdTokenClaims {
        aud: json!(format!("{AUDIENCE}/push/gmail")),
        ..world.claims()
    }
}

async fn push(world: &World, claims: &IdTokenClaims, body: String) -> u16 {
    let token = world.sandbox.oauth().id_token(claims);
    world
        .push("/push/gmail", &token, body)
        .await
        .status()
        .as_u16()
}

async fn push_good(world: &World, claims: &IdTokenClaims) -> u16 {
    push(world, claims, notification("m1", 7).to_string()).await
}

#[tokio::test]
async fn the_user_is_found_by_the_notifications_address() {
    let world = World::new().await;
    let of_another = PlatformInstance {
        email: Some("Bob@Example.com".to_owned()),
        ..instance("bob")
    };
    world.sandbox.platform().put(of_another);
    assert_eq!(push_good(&world, &claims(&world)).await, 204);
    let waiting = world.waiting().await;
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].notification.user.as_str(), "ann");
    world.stop().await;
}

#[tokio::test]
async fn each_user_of_a_mailbox_is_notified_unless_another_account_pushes_for_them() {
    let world = World::new().await;
    let bot_of_ann = |name: &str| PlatformInstance {
        email: Some("Ann@Example.com".to_owned()),
        ..instance(name)
    };
    let platform = world.sandbox.platform();
    platform.put(bot_of_ann("bob"));
    platform.put(PlatformInstance {
        gmail_push_oidc_email: Some("own@other.iam.gserviceaccount.com".to_owned()),
        ..bot_of_ann("cid")
    });
    platform.put(PlatformInstance {
        gmail_notifications_enabled: false,
        ..bot_of_ann("dan")
    });
    assert_eq!(push_good(&world, &claims(&world)).await, 204);
    let waiting = world.waiting().await.into_iter();
    let mut users: Vec<_> = waiting.map(|claim| claim.notification.user).collect();
    users.sort();
    assert_eq!(users, ["ann".parse().unwrap(), "bob".parse().unwrap()]);
    world.stop().await;
}

/// The push is repeated for that one, which adds nothing for the others.
#[tokio::test]
async fn a_user_over_the_rate_limit_does_not_hold_up_the_others_of_the_mailbox() {
    let one = NonZeroU32::new(1).unwrap();
    let world = World::with(|parts| {
        parts.rate = Rate {
            per_second: one,
            burst: one,
        };
    })
    .await;
    world.sandbox.platform().put(PlatformInstance {
        email: Some("Ann@Example.com".to_owned()),
        ..instance("bob")
    });
    // It takes the limit of ann, who comes first.
    assert_eq!(world.push_with(&world.claims()).await, 204);
    let body = notification("m2", 8).to_string();
    assert_eq!(push(&world, &claims(&world), body).await, 429);
    let waiting = world.waiting().await.into_iter();
    let mut waiting: Vec<_> = waiting
        .map(|claim| (claim.notification.user, claim.notification.history_id.get()))
        .collect();
    waiting.sort();
    assert_eq!(
        waiting,
        [("ann".parse().unwrap(), 7), ("bob".parse().unwrap(), 8)]
    );
    world.stop().await;
}

#[tokio::test]
async fn a_token_is_valid_for_one_endpoint_only() {
    let world = World::new().await;
    assert_eq!(push_good(&world, &world.claims()).await, 401);
    assert_eq!(world.push_with(&claims(&world)).await, 401);
    world.assert_nothing_stored().await;
    world.stop().await;
}

#[tokio::test]
async fn another_service_account_may_not_push_for_the_user() {
    let world = World::new().await;
    let good = claims(&world);
    for thief in [
        IdTokenClaims {
            email: "thief@evil.iam.gserviceaccount.com".to_owned(),
            ..good.clone()
        },
        IdTokenClaims {
            email_verified: json!(false),
            ..good
        },
    ] {
        assert_eq!(push_good(&world, &thief).await, 403);
    }
    world.assert_nothing_stored().await;
    world.stop().await;
}

#[tokio::test]
async fn an_unwanted_push_is_acknowledged_and_not_stored() {
    let changes: [fn(&mut PlatformInstance); 4] = [
        |instance| instance.gmail_notifications_enabled = false,
        |instance| instance.google_connected = false,
        |instance| instance.gmail_push_oidc_email = None,
        |instance| instance.email = None,
    ];
    for change in changes {
        let world = World::new().await;
        world.sandbox.platform().update("ann", change);
        assert_eq!(push_good(&world, &claims(&world)).await, 204);
        world.assert_nothing_stored().await;
        world.stop().await;
    }
}

#[tokio::test]
async fn a_message_without_a_mailbox_is_kept_as_a_dead_letter() {
    let world = World::new().await;
    assert_eq!(push(&world, &claims(&world), "{}".to_owned()).await, 204);
    let dead_letters = world.dead_letters().await;
    assert_eq!(dead_letters.len(), 1);
    assert_eq!(dead_letters[0].reason, DeadLetterReason::Malformed);
    assert_eq!(dead_letters[0].user.as_str(), "/push/gmail");
    world.stop().await;
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_directory_is_away() {
    let world = World::new().await;
    let faults = world.sandbox.faults();
    faults.add(
        postbell_sandbox::FaultPoint::Platform,
        Kind::refuse(500),
        Frequency::Times(1),
    );
    assert_eq!(push_good(&world, &claims(&world)).await, 503);
    assert_eq!(push_good(&world, &claims(&world)).await, 204);
    world.stop().await;
}
