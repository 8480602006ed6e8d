use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postbell::config::RetryConfig;
use postbell::demo::World;
use postbell_core::SystemClock;
use postbell_google::Patience;
use postbell_sandbox::Hook;
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

/// How long a hook may take to come before the test fails. Nothing is measured by it.
const DEADLOCK: Duration = Duration::from_secs(60);

const HURRY: Duration = Duration::from_millis(20);

/// A world without a relay, whose parts try again at once instead of after a minute. The watcher
/// does not look unasked: what a relay lost would stay lost.
pub(crate) async fn hurried_world(relay: SocketAddr) -> World {
    let patience = Patience {
        tries: 4,
        first_wait: HURRY,
        longest_wait: HURRY,
    };
    let clock = Arc::new(SystemClock::new());
    let mut world = World::without_relay(clock, relay, patience).await.unwrap();
    world.config.relay.retry = RetryConfig {
        attempts: 100_000,
        first: HURRY,
        factor: 1.0,
    };
    world.sandbox.pubsub().repeat_within(HURRY);
    world
}

pub(crate) async fn free_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Puts a mail into the mailbox, and returns its id.
pub(crate) fn send(world: &World, number: usize) -> String {
    let mail = format!("From: a@example.org\nSubject: mail {number}\n\nNumber {number}.\n");
    world
        .sandbox
        .gmail()
        .deliver(world.email(), mail.as_bytes())
        .unwrap()
        .message_id
}

/// What the bot has got: each message's id, in order, and under which key it came.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) ids: Vec<String>,
    keys: HashMap<String, String>,
}

impl Received {
    /// Takes hooks until all of `ids` have come. A message that comes twice must come under the
    /// same idempotency key, so that the bot can tell.
    pub(crate) async fn wait_for(&mut self, ids: &[String], hooks: &mut UnboundedReceiver<Hook>) {
        while !ids.iter().all(|id| self.keys.contains_key(id)) {
            let hook = timeout(DEADLOCK, hooks.recv()).await;
            self.take(&hook.expect("a mail is missing").unwrap());
        }
    }

    fn take(&mut self, hook: &Hook) {
        let key = hook.idempotency_key.clone().unwrap();
        for message in hook.body["messages"].as_array().unwrap() {
            let id = message["id"].as_str().unwrap().to_owned();
            match self.keys.insert(id.clone(), key.clone()) {
                None => self.ids.push(id),
                Some(before) => assert_eq!(before, key, "{id} came twice, under two keys"),
            }
        }
    }
}
