use postbell_sandbox::{BotPolicy, FaultPoint, Frequency, Kind, Named};
use serde_json::{Value, json};

use crate::world::{EMAIL, World};

async fn profile(world: &World) -> Result<reqwest::Response, reqwest::Error> {
    let url = format!("{}/gmail/v1/users/me/profile", world.sandbox.url());
    world.client.get(url).bearer_auth(&world.token).send().await
}

/// A webhook call with a message for each subject.
fn payload(subjects: &[&str]) -> Value {
    let message = |subject: &&str| {
        json!({
            "id": "1", "threadId": "1", "from": "", "to": EMAIL, "subject": subject, "date": "",
            "snippet": "", "labels": [],
        })
    };
    json!({
        "source": "gmail",
        "account": EMAIL,
        "historyId": "1",
        "messages": subjects.iter().map(message).collect::<Vec<_>>(),
        "untrusted": true,
    })
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
            .json(&payload(&[]));
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

#[tokio::test]
async fn an_answer_can_name_the_time_of_the_next_call() {
    let world = World::new().await;
    for named in [Named::Header, Named::Text] {
        let kind = Kind::RefuseUntil {
            status: 429,
            seconds: 60,
            named,
        };
        let faults = world.sandbox.faults();
        faults.add(FaultPoint::GmailProfile, kind, Frequency::Times(1));
    }
    let first = profile(&world).await.unwrap();
    let date = first.headers()["retry-after"].to_str().unwrap();
    assert!(httpdate::parse_http_date(date).is_ok(), "{date}");
    let second: Value = profile(&world).await.unwrap().json().await.unwrap();
    let message = second["error"]["message"].as_str().unwrap();
    assert!(message.contains("Retry after 2"), "{message}");
    assert_eq!(world.sandbox.faults().occurred(FaultPoint::GmailProfile), 2);
    world.sandbox.stop().await;
}

#[tokio::test]
async fn a_body_can_be_endless_or_of_another_form() {
    let world = World::new().await;
    let faults = world.sandbox.faults();
    let at = FaultPoint::GmailProfile;
    faults.add(at, Kind::Endless { status: 500 }, Frequency::Times(1));
    let mut endless = profile(&world).await.unwrap();
    assert_eq!(endless.status(), 500);
    let mut read = 0;
    while read < 1_000_000 {
        read += endless.chunk().await.unwrap().unwrap().len();
    }
    drop(endless);
    faults.add(at, Kind::Unreadable, Frequency::Times(1));
    let answer: Value = profile(&world).await.unwrap().json().await.unwrap();
    assert!(answer["historyId"].is_object(), "{answer}");
    world.sandbox.stop().await;
}

#[tokio::test]
async fn pages_can_repeat_or_never_end() {
    let world = World::new().await;
    let mail = b"Subject: x\n\n.";
    let id = world.sandbox.gmail().deliver(EMAIL, mail).unwrap();
    let page = async |token: &str| -> Value {
        let url = format!("{}/gmail/v1/users/me/messages", world.sandbox.url());
        let request = world.client.get(url).query(&[("pageToken", token)]);
        let answer = request.bearer_auth(&world.token).send().await.unwrap();
        answer.json().await.unwrap()
    };
    let faults = world.sandbox.faults();
    for (kind, is_same) in [(Kind::RepeatPage, true), (Kind::EndlessPages, false)] {
        faults.add(FaultPoint::GmailMessages, kind, Frequency::Times(2));
        let first = page("0").await;
        let second = page(first["nextPageToken"].as_str().unwrap()).await;
        assert_eq!(second["messages"][0]["id"], json!(id.message_id));
        let same = first["nextPageToken"] == second["nextPageToken"];
        assert_eq!(same, is_same, "{kind:?}");
    }
    world.sandbox.stop().await;
}

#[tokio::test]
async fn a_bot_refuses_what_its_policy_says() {
    let world = World::new().await;
    let bot = world.sandbox.bot();
    let hook = async |subject: &str| {
        let body = payload(&["fine", subject]);
        let request = world.client.post(bot.hook_url()).bearer_auth(bot.token());
        let answer = request.json(&body).send().await.unwrap();
        answer.status().as_u16()
    };
    bot.set_policy(BotPolicy {
        max_bytes: Some(500),
        refuse_subject: Some("poison".to_owned()),
        refuse_status: Some(422),
    });
    assert_eq!(hook("a poison pill").await, 422);
    assert_eq!(hook(&"x".repeat(500)).await, 413);
    assert_eq!(hook("good").await, 200);
    assert_eq!((bot.hooks().len(), bot.refused()), (1, 2));
    world.sandbox.stop().await;
}
