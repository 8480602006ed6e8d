//! Gmail's watch: when it is renewed, and what is said if nothing renews it.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::Tasks;
use serde_json::json;

use crate::world::TestWatcher;

#[tokio::test]
async fn a_renewal_that_was_asked_for_happens_once() {
    let world = TestWatcher::new().await;
    let mut state = world.state();
    state["renewAfterMs"] = json!(5);
    world.write_state(&state);
    let world = world.restart().await;
    world.watcher.renewal.renew().await.unwrap();
    assert_eq!(world.state()["renewAfterMs"], 0);
}

#[tokio::test]
async fn a_state_without_a_topic_is_a_problem_of_the_watch() {
    let world = TestWatcher::new().await;
    let mut state = world.state();
    state["topic"] = json!("");
    world.write_state(&state);
    let world = world.restart().await;
    let tasks = Tasks::new();
    let renewal = Arc::clone(&world.watcher.renewal);
    let mut changes = world.watcher.sync.changes();
    tasks.start("renewal", |stop| renewal.run(stop, || 0.5));
    changes.changed().await.unwrap();
    assert_eq!(world.state()["problemCode"], "watch_missing");
    tasks.stop(Duration::from_secs(5)).await.unwrap();
}

/// That of a further webhook, which has got the watch of its mailbox.
#[tokio::test]
async fn a_missing_watch_is_no_problem_any_more_once_there_is_one() {
    let world = TestWatcher::new().await;
    let mut state = world.state();
    state["problem"] = json!("nothing renews Gmail's watch");
    state["problemCode"] = json!("watch_missing");
    let world = world.restart_after(|world| world.write_state(&state)).await;
    let tasks = Tasks::new();
    let renewal = Arc::clone(&world.watcher.renewal);
    tasks.start("renewal", |stop| renewal.run(stop, || 0.5));
    world.until(|_, state| state["problemCode"].is_null()).await;
    tasks.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_new_start_corrects_a_cursor_that_is_ahead_of_the_mailbox() {
    let world = TestWatcher::new().await;
    let mut state = world.state();
    state["historyId"] = json!(u64::MAX.to_string());
    let topic = state["topic"].as_str().unwrap().to_owned();
    world.write_state(&state);
    let world = world.restart().await;
    world.watcher.renewal.start(&topic, &[]).await.unwrap();
    assert_eq!(world.state()["historyId"], world.present().to_string());
}
