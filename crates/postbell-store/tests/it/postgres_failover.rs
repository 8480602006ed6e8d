//! What the queue promises while a PostgreSQL server fails.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use postbell_core::{
    DeliveryQueue, HistoryId, Notification, RelayId, StoreError, SynchronousStandby, Timestamp,
    UserId,
};
use postbell_store::{Store, StoreOptions};
use postbell_testkit::PostgresServer;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn notification(user: &str) -> Notification {
    Notification {
        trace: None,
        user: user.parse().unwrap(),
        address: None,
        message_id: "m1".parse().unwrap(),
        published_at: None,
        history_id: HistoryId::new(7),
        body: Bytes::from_static(b"{}"),
    }
}

fn open(url: &str) -> Store {
    Store::open(url, StoreOptions::service()).unwrap()
}

#[tokio::test]
async fn a_store_works_as_soon_as_its_database_is_there() {
    let mut server = PostgresServer::create(&[]);
    let queue = open(&server.url()).queue();
    let refused = queue.accept(notification("ann"), T0).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    assert!(queue.check_ready(T0).await.is_err());

    server.start();
    queue.accept(notification("ann"), T0).await.unwrap();
    queue.check_ready(T0).await.unwrap();
}

/// The server then says that the commit succeeded, with a warning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_wait_for_a_standby_is_cancelled_fails() {
    let mut server = PostgresServer::create(&[]);
    server.start();
    let queue = open(&server.url()).queue();
    queue.accept(notification("ann"), T0).await.unwrap();
    server.set_synchronous_standbys("missing");

    let mut waiting = JoinSet::new();
    let accepting = Arc::clone(&queue);
    waiting.spawn(async move { accepting.accept(notification("bob"), T0).await });
    tokio::task::block_in_place(|| {
        server.wait_for(
            "SELECT 1 / count(pg_cancel_backend(pid)) FROM pg_stat_activity
             WHERE wait_event = 'SyncRep'",
        );
    });
    let refused = waiting.join_next().await.unwrap().unwrap().unwrap_err();
    let StoreError::Unavailable(cause) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        cause.to_string().contains("warned about a write"),
        "{cause}"
    );

    // The repeat finds the row, which only this server has: it must not be acknowledged before a standby has it, too.
    waiting.spawn(async move { queue.accept(notification("bob"), T0).await });
    tokio::task::block_in_place(|| {
        server.wait_for("SELECT 1 / count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    });
    assert!(waiting.try_join_next().is_none());
}

/// Of the writes that a server without its standby lets wait, it keeps the sessions: those of all that can connect.
const WAITING: &str = "
    SELECT 1 / (count(*) BETWEEN 1 AND 6)::int FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_writes_wait_for_a_standby_is_not_ready_and_begins_no_more() {
    let mut server = PostgresServer::create(&[]);
    server.start();
    // A platform on which nothing happens, and the relay of another process.
    let (platform, relay) = (open(&server.url()), open(&server.url()));
    let (users, queue) = (platform.users(), relay.queue());
    queue.accept(notification("ann"), T0).await.unwrap();
    for store in [&platform, &relay] {
        store.users().check_ready(T0).await.unwrap();
    }
    server.set_synchronous_standbys("missing");
    let state = relay
        .inspect(Duration::from_secs(60))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(state.synchronous_standby, SynchronousStandby::Missing);

    // Neither is ready as soon as its first write, or that of its check, has waited for some seconds.
    let mut waiting = JoinSet::new();
    let accepting = Arc::clone(&queue);
    waiting.spawn(async move { accepting.accept(notification("bob"), T0).await });
    let mut seconds = (1..).map(|second| T0 + Duration::from_secs(second));
    while queue.check_ready(seconds.next().unwrap()).await.is_ok() {}
    while users.check_ready(seconds.next().unwrap()).await.is_ok() {}
    assert!(waiting.join_next().await.unwrap().unwrap().is_err());
    for second in seconds.take(40) {
        assert!(queue.check_ready(second).await.is_err());
        assert!(users.check_ready(second).await.is_err());
        let refused = queue.accept(notification("cid"), T0).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    server.execute(WAITING);

    server.set_synchronous_standbys("");
    let mut second = T0 + Duration::from_secs(100);
    for store in [&platform, &relay] {
        while store.users().check_ready(second).await.is_err() {
            second = second + Duration::from_secs(1);
        }
    }
    queue.accept(notification("cid"), T0).await.unwrap();
}

/// The server keeps the session of each, also after its connection is closed. The clock stands still while the server is
/// waited for, and then passes over the limits.
#[tokio::test(start_paused = true)]
async fn writes_that_wait_for_a_missing_standby_take_few_sessions() {
    let mut server = PostgresServer::create(&[]);
    server.start();
    let server = Arc::new(server);
    let queue = open(&server.url()).queue();
    let accept_all = async |message: &str| {
        let accepted = (0..16).map(async |number| {
            let mut notification = notification(&format!("{message}-{number}"));
            notification.message_id = message.parse().unwrap();
            queue.accept(notification, T0).await.is_ok()
        });
        let accepted = join_all(accepted).await;
        accepted.into_iter().filter(|accepted| *accepted).count()
    };
    let heartbeats = async |relays: std::ops::Range<i64>| {
        let recorded =
            relays.map(async |relay| queue.heartbeat(RelayId::new(relay), T0).await.is_ok());
        join_all(recorded).await.contains(&true)
    };
    let waiting = |comparison: &str| {
        format!(
            "SELECT 1 / (count(*) {comparison})::int FROM pg_stat_activity
             WHERE wait_event = 'SyncRep' AND backend_type = 'client backend'"
        )
    };
    // Connects all lanes.
    let (accepted, ()) = tokio::join!(
        accept_all("m1"),
        until(
            &server,
            "SELECT 1 / (count(*) = 16)::int FROM pending".to_owned()
        )
    );
    assert_eq!(accepted, 16);
    server.set_synchronous_standbys("missing");

    for sessions in [">= 2", ">= 4"] {
        let (accepted, ()) = tokio::join!(
            accept_all(sessions.trim_start_matches(">= ")),
            until(&server, waiting(sessions))
        );
        assert_eq!(accepted, 0);
    }
    assert_eq!(accept_all("m2").await, 0);
    let (recorded, ()) = tokio::join!(heartbeats(0..6), until(&server, waiting(">= 10")));
    assert!(!recorded);
    assert!(!heartbeats(6..12).await);
    server.wait_for(&waiting("= 10"));

    server.set_synchronous_standbys("");
    server.wait_for(&waiting("= 0"));
    // The connections are read.
    sleep(Duration::from_millis(1)).await;
    let (accepted, ()) = tokio::join!(
        accept_all("m3"),
        until(
            &server,
            "SELECT 1 / (count(*) = 16)::int FROM pending WHERE user_id LIKE 'm3%'".to_owned()
        )
    );
    assert_eq!(accepted, 16);
}

/// Waits until a query no longer fails. The paused clock stands still meanwhile.
async fn until(server: &Arc<PostgresServer>, query: String) {
    let server = Arc::clone(server);
    let waited = tokio::task::spawn_blocking(move || server.wait_for(&query));
    waited.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_with_a_synchronous_standby() {
    let (acknowledged, lost) = kill_primary("standby").await;
    assert!(acknowledged > 0);
    assert_eq!(lost, 0, "of {acknowledged}");
}

/// So the test above can fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_notifications_are_lost_with_an_asynchronous_standby() {
    let (acknowledged, lost) = kill_primary("").await;
    assert!(lost > 0, "of {acknowledged}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_sessions_of_the_server_are_killed() {
    let mut server = PostgresServer::create(&[]);
    server.start();
    let store = open(&server.url());
    let load = Load::start(&store.queue());
    for _ in 0..3 {
        load.wait_for(load.count() + 50).await;
        tokio::task::block_in_place(|| server.kill_session());
    }
    load.wait_for(load.count() + 50).await;
    let acknowledged = load.stop().await;
    let stored: Vec<UserId> = acknowledged.iter().cloned().collect();
    assert_eq!(
        store.log().marks(&stored).await.unwrap().len(),
        stored.len()
    );
}

/// Kills the primary under load, promotes its standby, and returns how many notifications were
/// acknowledged, and how many of these are not in the standby.
async fn kill_primary(synchronous_standby_names: &str) -> (usize, usize) {
    let mut primary = PostgresServer::create(&[]);
    primary.start();
    let standby = primary.standby("standby");
    primary.wait_for("SELECT 1 / count(*) FROM pg_stat_replication WHERE state = 'streaming'");
    primary.set_synchronous_standbys(synchronous_standby_names);
    let url = format!(
        "postgres://postgres@{},{}/postgres?connect_timeout=1",
        primary.address(),
        standby.address()
    );
    let store = open(&url);
    let load = Load::start(&store.queue());
    load.wait_for(100).await;
    primary.stop_sending();
    // Without a synchronous standby, the load goes on; with one, nothing more is acknowledged.
    let more = load.count() + 200;
    let _ = timeout(Duration::from_millis(700), load.wait_for(more)).await;
    primary.kill();
    standby.promote();
    // The store finds the new primary by itself.
    load.wait_for(load.count() + 50).await;
    let acknowledged = load.stop().await;
    let stored: Vec<UserId> = acknowledged.iter().cloned().collect();
    let kept = store.log().marks(&stored).await.unwrap().len();
    (acknowledged.len(), acknowledged.len() - kept)
}

/// Senders, each of which sends one notification after the other.
struct Load {
    senders: JoinSet<BTreeSet<UserId>>,
    count: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(queue: &Arc<dyn DeliveryQueue>) -> Self {
        let (count, stop) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let mut senders = JoinSet::new();
        for sender in 0..16 {
            let (queue, count, stop) = (Arc::clone(queue), Arc::clone(&count), Arc::clone(&stop));
            senders.spawn(async move {
                let mut acknowledged = BTreeSet::new();
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let sent = notification(&format!("user-{sender}-{number}"));
                    let user = sent.user.clone();
                    if queue.accept(sent, T0).await.is_ok() {
                        acknowledged.insert(user);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
                acknowledged
            });
        }
        Self {
            senders,
            count,
            stop,
        }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until so many are acknowledged.
    async fn wait_for(&self, count: usize) {
        while self.count() < count {
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn stop(self) -> BTreeSet<UserId> {
        self.stop.store(true, Ordering::Relaxed);
        self.senders
            .join_all()
            .await
            .into_iter()
            .flatten()
            .collect()
    }
}
