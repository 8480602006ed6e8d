use postbell_sandbox::{FaultPoint, Frequency, Kind};
use serde_json::{Value, json};

use crate::world::{EMAIL, World};

async fn profile(world: &World) -> Result<reqwest::Response, reqwest::Error> {
    let url = format!("{}/gmail/v1/users/me/profile", world.sandbox.url());
    world.client.get(url).bearer_auth(&world.token).send().await
}

#[tokio::test]
async fn a_dropped_connection_gives_no_answer_whether_the_work_was_done_or_not() {
    let world = World::new().await;
    let bot = world.sandbox.bot();
    for (kind, hooks) in [(Kind::DropBefore, 0), (Kind::DropAfter, 1)] {
        world
            .sandbox
            .faults()
            .add(FaultPoint::Hook, kind, Frequency::Times(1));
        let hook = world
            .client
            .post(bot.hook_url())
            .bearer_auth(bot.token())
            .json(&json!({}));
        assert!(hook.send().await.is_err(), "{kind:?}");
        assert_eq!(bot.hooks().len(), hooks, "{kind:?}");
    }
    world.sandbox.stop().await;
}

#[tokio::test]
async fn a_refusal_has_googles_form_and_ends_when_it_should() {
    let world = World::new().await;
    let kind = Kind::Refuse {
        status: 403,
        retry_after: Some(7),
    };
    world
        .sandbox
        .faults()
        .add(FaultPoint::GmailProfile, kind, Frequency::Times(1));
    let refused = profile(&world).await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (403, &"7".parse().unwrap())
    );
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["errors"][0]["reason"], "rateLimitExceeded");
    assert_eq!(profile(&world).await.unwrap().status(), 200);
    world.sandbox.stop().await;
}

#[tokio::test]
async fn a_token_is_good_until_it_ends_or_is_taken_back() {
    let world = World::new().await;
    assert_eq!(profile(&world).await.unwrap().status(), 200);
    world.sandbox.clock().set_skew(3_600);
    assert_eq!(profile(&world).await.unwrap().status(), 401);
    world.sandbox.clock().set_skew(0);
    world.sandbox.oauth().revoke(EMAIL);
    assert_eq!(profile(&world).await.unwrap().status(), 401);
    world.sandbox.stop().await;
}

#[tokio::test]
async fn after_a_stop_nobody_is_served() {
    let world = World::new().await;
    world.sandbox.stop().await;
    assert!(profile(&world).await.is_err());
}
