use std::time::Duration;

use postbell_sandbox::{FaultPoint, Frequency, Kind};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::yield_now;

use crate::world::World;

/// Calls Fly about machine `m` of app `bot`, and returns status and body.
async fn call(world: &World, method: Method, rest: &str, body: Value) -> (u16, Value) {
    let url = format!("{}/v1/apps/bot/machines/m{rest}", world.sandbox.url());
    let request = world.client.request(method, url).json(&body);
    let answer = request.bearer_auth(world.sandbox.fly().token()).send();
    let answer = answer.await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_machine_goes_through_the_states_that_fly_documents() {
    let world = World::new().await;
    let fly = world.sandbox.fly();
    fly.put("bot", "m", "stopped", &[("A", "1")]);
    fly.boot_takes(Duration::from_millis(50));
    let (status, shown) = call(&world, Method::GET, "", Value::Null).await;
    assert_eq!((status, &shown["state"]), (200, &json!("stopped")));

    let (_, started) = call(&world, Method::POST, "/start", Value::Null).await;
    assert_eq!(started["previous_state"], "stopped");
    let (_, shown) = call(&world, Method::GET, "", Value::Null).await;
    assert_eq!(shown["state"], "starting");
    while fly.state("bot", "m").as_deref() != Some("started") {
        yield_now().await;
    }
    let (again, _) = call(&world, Method::POST, "/start", Value::Null).await;
    assert_eq!(again, 412, "it runs");
    let actions: Vec<_> = fly.calls().into_iter().map(|call| call.action).collect();
    assert_eq!(actions, ["get", "start", "get"]);
    world.sandbox.stop().await;
}

#[tokio::test]
async fn an_update_replaces_the_whole_configuration_of_the_version_that_it_names() {
    let world = World::new().await;
    let fly = world.sandbox.fly();
    fly.put("bot", "m", "stopped", &[("A", "1")]);
    let (_, shown) = call(&world, Method::GET, "", Value::Null).await;
    let update = json!({
        "config": { "image": "i", "env": { "B": "2" } },
        "current_version": shown["instance_id"],
        "skip_launch": true,
    });
    assert_eq!(call(&world, Method::POST, "", update.clone()).await.0, 200);
    assert_eq!(
        fly.env("bot", "m"),
        [("B".to_owned(), "2".to_owned())].into()
    );
    assert_eq!(fly.state("bot", "m").as_deref(), Some("stopped"));

    let (stale, _) = call(&world, Method::POST, "", update).await;
    assert_eq!(stale, 409);
    let (status, _) = call(&world, Method::POST, "", json!({ "config": {} })).await;
    assert_eq!(status, 422);
    let launch = json!({ "config": { "image": "i" } });
    assert_eq!(call(&world, Method::POST, "", launch).await.0, 200);
    assert_eq!(fly.state("bot", "m").as_deref(), Some("started"));
    world.sandbox.stop().await;
}

#[tokio::test]
async fn fly_refuses_strangers_unknown_machines_and_what_it_is_told_to() {
    let world = World::new().await;
    let (status, body) = call(&world, Method::GET, "", Value::Null).await;
    assert_eq!(
        (status, body),
        (404, json!({ "error": "machine not found" }))
    );
    let url = format!("{}/v1/apps/bot/machines/m", world.sandbox.url());
    let stranger = world.client.get(url).bearer_auth("wrong").send().await;
    assert_eq!(stranger.unwrap().status(), 401);

    world.sandbox.fly().put("bot", "m", "stopped", &[]);
    let faults = world.sandbox.faults();
    faults.add(FaultPoint::FlyStart, Kind::refuse(503), Frequency::Times(1));
    let (status, body) = call(&world, Method::POST, "/start", Value::Null).await;
    assert!(
        status == 503 && body["error"].is_string(),
        "{status} {body}"
    );
    assert_eq!(
        call(&world, Method::POST, "/start", Value::Null).await.0,
        200
    );
    world.sandbox.stop().await;
}
