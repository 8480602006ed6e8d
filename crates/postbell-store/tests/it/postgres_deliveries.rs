//! PostgreSQL against every promise of the delivery queue and log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postbell_core::{
    Accepted, Changes, HistoryId, Notification, RELAY_TIMEOUT, RelayId, StoreError, Timestamp,
    UnparseableMessage,
};
use postbell_store::{Store, StoreOptions};
use postbell_testkit::conformance::changes::deliveries_are_announced;
use postbell_testkit::{Deliveries, PostgresDatabase};

use crate::engines::deliveries;

/// A new store in a database that is dropped with the test.
fn temporary() -> (Deliveries, PostgresDatabase) {
    let database = PostgresDatabase::create();
    let store = Store::open(&database.url(), StoreOptions::service()).unwrap();
    (deliveries(&store), database)
}

postbell_testkit::deliveries_conformance!(temporary());

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn notification(user: &str, message: &str) -> Notification {
    Notification {
        trace: None,
        user: user.parse().unwrap(),
        address: None,
        message_id: message.parse().unwrap(),
        published_at: None,
        history_id: HistoryId::new(7),
        body: Bytes::from_static(b"{}"),
    }
}

#[tokio::test]
async fn a_damaged_row_of_one_mailbox_does_not_make_the_others_wait() {
    let (store, database) = temporary();
    let queue = store.queue;
    queue.accept(notification("ann", "m1"), T0).await.unwrap();
    database.execute("UPDATE pending SET history_id = 'damaged'");
    let refused = queue.accept(notification("ann", "m2"), T0).await;
    assert!(
        matches!(refused, Err(StoreError::Corrupt { .. })),
        "{refused:?}"
    );
    queue.check_ready(T0).await.unwrap();
    queue.accept(notification("bob", "m1"), T0).await.unwrap();
}

/// The warning stands for an answer that is lost.
#[tokio::test]
async fn a_claim_that_was_committed_without_an_answer_is_made_again_at_once() {
    let (store, database) = temporary();
    let queue = store.queue;
    let claim = async |user: &str| {
        let relay = RelayId::new(1);
        let lease = Duration::from_secs(60);
        let claimed = queue.claim(relay, T0, lease, 10).await?;
        let users = claimed
            .claims
            .iter()
            .map(|it| it.notification.user.as_str());
        assert_eq!(users.collect::<Vec<_>>(), [user]);
        Ok::<_, StoreError>(())
    };
    queue.accept(notification("ann", "m1"), T0).await.unwrap();
    claim("ann").await.unwrap();
    queue.accept(notification("bob", "m1"), T0).await.unwrap();
    database.execute(
        "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE WARNING ''not replicated''; RETURN NULL; END';
        CREATE TRIGGER warn AFTER UPDATE ON pending EXECUTE FUNCTION warn()",
    );
    claim("bob").await.unwrap_err();
    database.execute("DROP TRIGGER warn ON pending");
    claim("bob").await.unwrap();
}

/// A commit that wrote nothing would not wait for the standby, which may not have the first one.
#[tokio::test]
async fn the_repeat_of_an_unparseable_message_is_a_write() {
    let (store, database) = temporary();
    let message = UnparseableMessage {
        user: "ann".parse().unwrap(),
        message_id: "m1".parse().unwrap(),
        body: Bytes::from_static(b"?"),
        cause: "no JSON".to_owned(),
    };
    for expected in [Accepted::Queued, Accepted::Duplicate] {
        let kept = store.queue.dead_letter(message.clone(), T0).await;
        assert_eq!(kept.unwrap(), expected);
    }
    database.execute("SELECT 1 / count(*) FROM dead_letter WHERE xmax <> 0");
}

/// After an outage all of them look dead.
/// Each relay that has locked its row waits until both have. The lock with this number, which its session keeps, says so.
const BOTH_AT_ONCE: &str = "
    CREATE FUNCTION wait_for_both() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_advisory_lock_shared(4711);
        WHILE (SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
            WHERE datname = current_database() AND locktype = 'advisory' AND objid = 4711) < 2
        LOOP PERFORM pg_sleep(0.005); END LOOP;
        RETURN NEW; END $$;
    CREATE TRIGGER waits BEFORE UPDATE ON relay FOR EACH ROW EXECUTE FUNCTION wait_for_both()";

#[tokio::test]
async fn relays_that_beat_at_once_do_not_remove_each_other() {
    let (store, database) = temporary();
    let queue = store.queue;
    let relays = [1, 2].map(RelayId::new);
    for (relay, user) in relays.into_iter().zip(["ann", "bob"]) {
        queue.heartbeat(relay, T0).await.unwrap();
        queue.accept(notification(user, "m1"), T0).await.unwrap();
        let claimed = queue.claim(relay, T0, RELAY_TIMEOUT * 9, 1).await.unwrap();
        assert_eq!(claimed.claims.len(), 1);
    }
    database.execute(BOTH_AT_ONCE);
    let later = T0 + RELAY_TIMEOUT * 2;
    let both = tokio::join!(
        queue.heartbeat(relays[0], later),
        queue.heartbeat(relays[1], later)
    );
    assert_eq!((both.0.unwrap(), both.1.unwrap()), (0, 0));
}

#[tokio::test]
async fn every_change_is_announced_once_it_is_committed() {
    let database = PostgresDatabase::create();
    let changes = Changes::new();
    let options = StoreOptions::service().changes(changes.clone());
    let store = Store::open(&database.url(), options).unwrap();
    deliveries_are_announced(&deliveries(&store), &changes).await;
}

/// Another relay got the repeat, and delivered it, while this one had read that the mailbox is empty and stood still.
#[tokio::test]
async fn a_notification_that_was_delivered_since_its_mailbox_was_read_is_not_queued() {
    let (store, database) = temporary();
    let database = Arc::new(database);
    let queue = store.queue;
    queue.accept(notification("bob", "m1"), T0).await.unwrap();
    let other = Arc::clone(&database);
    let delivered = tokio::task::spawn_blocking(move || {
        other.execute(&format!(
            "BEGIN; LOCK TABLE pending IN SHARE MODE;
            DO $$ BEGIN WHILE NOT EXISTS (
                SELECT FROM pg_locks WHERE relation = 'pending'::regclass AND NOT granted
            ) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
            INSERT INTO cursor (user_id, address, history_id, message_ids, settled_at)
            VALUES ('ann', '', '{:020}', 'm1', {});
            COMMIT",
            7,
            T0.as_millis()
        ));
    });
    while !database.refuses("BEGIN; LOCK TABLE pending IN ROW EXCLUSIVE MODE NOWAIT; COMMIT") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let repeated = queue.accept(notification("ann", "m1"), T0).await;
    assert_eq!(repeated.unwrap(), Accepted::Duplicate);
    delivered.await.unwrap();
}

/// The push waits for the settlement, and must not take the mailbox for one without a delivery then.
#[tokio::test]
async fn a_repeat_that_meets_the_settlement_of_its_message_is_not_queued() {
    let (store, database) = temporary();
    let database = Arc::new(database);
    let queue = store.queue;
    let push = Notification {
        address: Some("ann@example.com".parse().unwrap()),
        published_at: Some(T0),
        ..notification("ann", "m1")
    };
    queue.accept(push.clone(), T0).await.unwrap();
    // The push would replace a row with a lower history id.
    database.execute(&format!("UPDATE pending SET history_id = '{:020}'", 6));
    let settles = format!(
        "BEGIN; DELETE FROM pending;
        INSERT INTO cursor (user_id, address, history_id, message_ids, settled_at)
        VALUES ('ann', 'ann@example.com', '{:020}', 'm1', {});
        DO $$ BEGIN WHILE NOT EXISTS (
            SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
            WHERE datname = current_database() AND NOT granted
        ) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
        COMMIT",
        7,
        T0.as_millis()
    );
    let other = Arc::clone(&database);
    let settled = tokio::task::spawn_blocking(move || other.execute(&settles));
    while !database.refuses("BEGIN; SELECT FROM pending FOR UPDATE NOWAIT; COMMIT") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let repeated = queue.accept(push, T0).await.unwrap();
    settled.await.unwrap();
    assert_eq!(repeated, Accepted::Duplicate);
}

/// The log may be on another disk, on which there is space, and some writes need none.
#[tokio::test]
async fn a_store_on_a_full_disk_is_not_ready_while_writes_fail() {
    let (store, database) = temporary();
    let queue = store.queue;
    queue.accept(notification("ann", "m1"), T0).await.unwrap();
    database.execute(
        "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = 'disk_full'; END $$;
        CREATE TRIGGER fill BEFORE INSERT ON pending EXECUTE FUNCTION fill();
        CREATE TRIGGER fill BEFORE INSERT ON relay EXECUTE FUNCTION fill()",
    );
    let refused = queue.accept(notification("bob", "m1"), T0).await;
    assert!(refused.is_err(), "{refused:?}");
    // It changes a row that is there.
    queue.accept(notification("ann", "m2"), T0).await.unwrap();
    queue.check_ready(T0).await.unwrap_err();

    let other = Store::open(&database.url(), StoreOptions::service()).unwrap();
    let other = other.queue();
    other.check_ready(T0).await.unwrap();
    other.heartbeat(RelayId::new(1), T0).await.unwrap_err();
    other.check_ready(T0).await.unwrap_err();
}
