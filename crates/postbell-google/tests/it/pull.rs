//! Pulling from a Pub/Sub that refuses.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postbell_google::{Delivery, PubSubAdmin, PullError, PullSubscription};
use postbell_sandbox::{FaultPoint, Frequency, Kind, PROJECT};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::world::{EMAIL, World, base, client};

const LIMIT: Duration = Duration::from_secs(20);

/// Creates a topic that Gmail publishes to, with a pull subscription, and starts the watch.
async fn watched(world: &World) -> String {
    let topic = format!("projects/{PROJECT}/topics/gmail");
    let url = base(&world.sandbox);
    let admin = PubSubAdmin::new(client(), url, Arc::clone(&world.tokens));
    admin.create_topic(&topic).await.unwrap();
    admin.allow_gmail(&topic).await.unwrap();
    let subscription = format!("projects/{PROJECT}/subscriptions/gmail-pull");
    let pull = Delivery::Pull {
        topic: topic.clone(),
    };
    let created = admin.create_subscription(&subscription, &pull);
    created.await.unwrap();
    world.gmail.watch(&topic, &[]).await.unwrap();
    subscription
}

async fn open(world: &World, name: &str) -> PullSubscription {
    let (url, tokens) = (base(&world.sandbox), Arc::clone(&world.tokens));
    let opened = PullSubscription::open(&url, tokens, name);
    opened.await.unwrap()
}

#[tokio::test]
async fn a_pull_that_is_refused_at_the_level_of_http_fails_after_a_few_calls() {
    let world = World::new().await;
    let name = watched(&world).await;
    let faults = world.sandbox.faults();
    for status in [401, 403, 404, 429, 500, 503] {
        let before = faults.occurred(FaultPoint::Pull);
        faults.add(FaultPoint::Pull, Kind::refuse(status), Frequency::Always);
        let mut subscription = open(&world, &name).await;
        let failed = timeout(LIMIT, subscription.next()).await.unwrap();
        let error = failed.unwrap_err();
        let calls = faults.occurred(FaultPoint::Pull) - before;
        assert!(calls <= 8, "{status}: {calls} calls, {error:?}");
        faults.clear();
    }
    let mut subscription = open(&world, &name).await;
    let pulled = timeout(LIMIT, subscription.next()).await.unwrap();
    pulled.unwrap().done();
    world.sandbox.stop().await;
}

#[tokio::test]
async fn a_missing_subscription_and_a_revoked_grant_are_told_apart_from_an_outage() {
    let world = World::new().await;
    let name = watched(&world).await;
    let mut missing = open(&world, &format!("{name}-none")).await;
    let error = timeout(LIMIT, missing.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, PullError::Missing(_)), "{error:?}");
    world.sandbox.oauth().revoke(EMAIL);
    world.clock.advance(Duration::from_secs(3600));
    let mut denied = open(&world, &name).await;
    let error = timeout(LIMIT, denied.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, PullError::Denied(_)), "{error:?}");
    world.sandbox.stop().await;
}

/// As after a night of a laptop, behind a router or a load balancer that forgets connections: Pub/Sub has ended the stream,
/// which takes a minute, and its client has not heard of it.
#[tokio::test]
async fn a_stream_whose_connection_has_died_without_a_word_is_opened_anew() {
    let world = World::new().await;
    let name = watched(&world).await;
    let mut url = base(&world.sandbox);
    let target = url.socket_addrs(|| None).unwrap().remove(0);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    url.set_port(Some(listener.local_addr().unwrap().port()))
        .unwrap();
    let dying = Arc::new(Notify::new());
    let mut proxy = JoinSet::new();
    proxy.spawn(forward(listener, target, Arc::clone(&dying)));
    let opened = PullSubscription::open(&url, Arc::clone(&world.tokens), &name);
    let mut subscription = opened.await.unwrap();
    // Gmail publishes once when the watch starts.
    let first = timeout(LIMIT, subscription.next()).await.unwrap();
    first.unwrap().done();
    // Long enough for a new stream on a busy machine.
    let mut subscription = subscription.with_longest_silence(Duration::from_secs(5));
    dying.notify_waiters();
    let ended = async {
        while world.sandbox.pubsub().streams(&name) > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, ended).await.unwrap();
    world.sandbox.gmail().deliver(EMAIL, b"Subject: x").unwrap();
    let next = timeout(LIMIT, subscription.next()).await.unwrap();
    next.unwrap().done();
    world.sandbox.stop().await;
}

/// Forwards connections. Those that are open when it is notified end at the far side, and stay open at the near one.
async fn forward(listener: TcpListener, target: SocketAddr, dying: Arc<Notify>) {
    let mut connections = JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        let dying = Arc::clone(&dying);
        connections.spawn(async move {
            let mut far = TcpStream::connect(target).await.unwrap();
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => return,
                () = dying.notified() => drop(far),
            }
            pending::<()>().await;
        });
    }
}

#[tokio::test]
async fn acknowledgements_are_not_taken_for_failed_streams() {
    const MAILS: usize = 7;
    let world = World::new().await;
    let name = watched(&world).await;
    let mut subscription = open(&world, &name).await;
    // Gmail publishes once when the watch starts.
    let first = timeout(LIMIT, subscription.next()).await.unwrap();
    first.unwrap().done();
    let mut waiting = Vec::new();
    while waiting.len() < MAILS {
        let gmail = world.sandbox.gmail();
        gmail.deliver(EMAIL, b"Subject: x\n\n.").unwrap();
        let pulled = timeout(LIMIT, subscription.next()).await.unwrap();
        waiting.push(pulled.unwrap());
    }
    // Each in a call of its own, while the next notification is awaited.
    let pubsub = world.sandbox.pubsub();
    let acknowledge = async {
        for pulled in waiting {
            let before = pubsub.unacknowledged(&name);
            pulled.done();
            while pubsub.unacknowledged(&name) == before {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::select! {
        biased;
        next = subscription.next() => panic!("{next:?}"),
        () = acknowledge => (),
    }
    world.sandbox.stop().await;
}

#[tokio::test]
async fn many_notifications_are_not_taken_for_failed_calls() {
    let world = World::new().await;
    let name = watched(&world).await;
    let mut subscription = open(&world, &name).await;
    for number in 0..30 {
        let mail = format!("Subject: {number}\n\n.");
        let gmail = world.sandbox.gmail();
        gmail.deliver(EMAIL, mail.as_bytes()).unwrap();
        let pulled = timeout(LIMIT, subscription.next()).await.unwrap();
        pulled.unwrap().done();
    }
    world.sandbox.stop().await;
}
