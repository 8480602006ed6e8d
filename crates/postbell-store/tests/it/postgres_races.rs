//! What any number of relays on one PostgreSQL database may rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use postbell_core::{
    DeliveryQueue, HistoryId, Notification, RelayId, Settlement, Timestamp, UserId,
};
use postbell_store::{Store, StoreOptions};
use postbell_testkit::{Deliveries, MemoryDeliveries, PostgresDatabase, RELAY};
use tokio::task::JoinSet;

use crate::engines::deliveries;

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LEASE: Duration = Duration::from_secs(600);
const MAILBOXES: u64 = 8;
const RELAYS: i64 = 3;

/// From now on, transactions that wait for each other in a circle do so for longer than a write may take, which fails.
const KEEP_DEADLOCKS: &str = "
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''1min''', current_database());
    END $$";

/// Messages that each relay accepts for each mailbox.
const MESSAGES: u64 = 25;

/// Every third is of an unknown address and needs a decision; the others may be accepted by one statement.
fn notification(mailbox: u64, message: &str, history_id: u64) -> Notification {
    let is_known = !history_id.is_multiple_of(3);
    Notification {
        trace: None,
        user: format!("user-{mailbox}").parse().unwrap(),
        address: is_known.then(|| format!("{mailbox}@example.com").parse().unwrap()),
        message_id: message.parse().unwrap(),
        published_at: is_known.then_some(T0),
        history_id: HistoryId::new(history_id),
        body: Bytes::from(format!("body of {message}")),
    }
}

fn open(database: &PostgresDatabase) -> Store {
    Store::open(&database.url(), StoreOptions::service()).unwrap()
}

/// Repeats of a message and several messages of a mailbox come in the same batch.
#[tokio::test]
async fn notifications_in_a_batch_have_the_same_effect_as_one_by_one() {
    let database = PostgresDatabase::create();
    let batched = deliveries(&open(&database));
    let model = Deliveries::new(Arc::new(MemoryDeliveries::default()));
    let arrivals: Vec<_> = (0..600_u64)
        .map(|number| {
            let scattered = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
            let message = format!("m{}", scattered % 40);
            notification(scattered % 5, &message, 1 + scattered % 40)
        })
        .collect();

    for round in arrivals.chunks(200) {
        let mut one_by_one = Vec::new();
        for arrival in round {
            one_by_one.push(model.queue.accept(arrival.clone(), T0).await.unwrap());
        }
        let together = round
            .iter()
            .map(|one| batched.queue.accept(one.clone(), T0));
        let together = futures_util::future::join_all(together).await;
        let together: Vec<_> = together.into_iter().map(Result::unwrap).collect();
        assert_eq!(together, one_by_one);

        let claims = |store: Deliveries| async move {
            let claimed = store.queue.claim(RELAY, T0, LEASE, 2).await.unwrap();
            for claim in &claimed.claims {
                let settled = store.queue.settle(claim, Settlement::Delivered, T0);
                settled.await.unwrap();
            }
            let claims = claimed.claims.into_iter();
            let users: BTreeSet<UserId> = claims.map(|claim| claim.notification.user).collect();
            users
        };
        assert_eq!(claims(batched.clone()).await, claims(model.clone()).await);
    }
    assert_eq!(
        batched.log.depth().await.unwrap(),
        model.log.depth().await.unwrap()
    );
}

/// Another relay has added rows, and then changes others of the same group.
#[tokio::test]
async fn groups_of_several_relays_do_not_wait_for_each_other_in_a_circle() {
    let database = Arc::new(PostgresDatabase::create());
    database.execute(KEEP_DEADLOCKS);
    let queue = open(&database).queue();
    let accept_all = async |users: std::ops::Range<u64>, history_id| {
        let pushes = users.map(|user| queue.accept(notification(user, "m", history_id), T0));
        for accepted in futures_util::future::join_all(pushes).await {
            accepted.unwrap();
        }
    };
    // Those that are changed come first in the order of users, and last.
    accept_all(0..4, 1).await;
    accept_all(8..10, 1).await;
    let other = Arc::clone(&database);
    let changed = tokio::task::spawn_blocking(move || {
        other.execute(&format!(
            "BEGIN; INSERT INTO pending (user_id) SELECT 'user-' || n FROM generate_series(4, 7) n;
            {};
            UPDATE pending SET waiting_since = 1 WHERE message_id IS NOT NULL;
            COMMIT",
            waits_for(1)
        ));
    });
    let waits = "BEGIN; SET LOCAL lock_timeout = 1; INSERT INTO pending (user_id) VALUES ('user-4'); ROLLBACK";
    while !database.refuses(waits) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    accept_all(0..10, 2).await;
    changed.await.unwrap();
}

/// What one relay decides changes mailboxes and adds others, as does what another relay accepts at the same time.
#[tokio::test]
async fn decisions_do_not_wait_for_pushes_of_another_relay_in_a_circle() {
    for prepare in ["on", "off"] {
        let database = Arc::new(PostgresDatabase::create());
        database.execute(KEEP_DEADLOCKS);
        let url = database.url();
        let mark = if url.contains('?') { '&' } else { '?' };
        let relays = [0, 1].map(|_| {
            let url = format!("{url}{mark}prepare={prepare}");
            Store::open(&url, StoreOptions::service()).unwrap().queue()
        });
        let accept_all = |relay: usize, mailboxes: &[Range<u64>], history_id| {
            let mailboxes = mailboxes.iter().cloned().flatten();
            let pushes: Vec<_> = mailboxes
                .map(|mailbox| {
                    (
                        notification(mailbox, "m", history_id),
                        Arc::clone(&relays[relay]),
                    )
                })
                .collect();
            async move {
                let pushes = pushes.into_iter();
                let pushes =
                    pushes.map(|(push, queue)| async move { queue.accept(push, T0).await });
                for accepted in futures_util::future::join_all(pushes).await {
                    accepted.unwrap();
                }
            }
        };
        // Enough for both lanes. The rows of the last ones come first in the table.
        let (first, locked, added, last) = (100..108, 110..118, 120..128, 130..138);
        accept_all(0, std::slice::from_ref(&last), 1).await;
        accept_all(0, &[first.clone(), locked.clone()], 1).await;
        let other = Arc::clone(&database);
        let lock = "SELECT FROM pending WHERE user_id BETWEEN 'user-110' AND 'user-117' FOR UPDATE";
        let unlocked = tokio::task::spawn_blocking(move || {
            other.execute(&format!("BEGIN; {lock}; {}; COMMIT", waits_for(4)));
        });
        let is_locked = format!("BEGIN; SET LOCAL lock_timeout = 1; {lock}; ROLLBACK");
        while !database.refuses(&is_locked) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let all = [first.clone(), locked, added.clone(), last.clone()];
        let mut decided = JoinSet::new();
        decided.spawn(accept_all(0, &all, 3));
        let other = Arc::clone(&database);
        let waiting = tokio::task::spawn_blocking(move || other.execute(&waits_for(2)));
        waiting.await.unwrap();
        accept_all(1, &[first, added, last], 4).await;
        decided.join_all().await;
        unlocked.await.unwrap();
    }
}

/// A statement that ends once this number of sessions wait for a lock.
fn waits_for(sessions: u32) -> String {
    format!(
        "DO $$ BEGIN WHILE (
            SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
            WHERE datname = current_database() AND NOT granted
        ) < {sessions} LOOP PERFORM pg_sleep(0.005); PERFORM pg_stat_clear_snapshot(); END LOOP; END $$"
    )
}

/// What the relays deliver, and what they have delivered.
#[derive(Default)]
struct Machines {
    in_progress: BTreeSet<UserId>,
    greatest: BTreeMap<UserId, HistoryId>,
}

/// Several relays accept for the same mailboxes, in different orders, while several deliver.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_mailbox_is_delivered_twice_at_once_by_several_relays() {
    let database = PostgresDatabase::create();
    let machines = Arc::new(Mutex::new(Machines::default()));
    let stores: Vec<_> = (0..RELAYS).map(|_| open(&database)).collect();
    stores[0]
        .queue()
        .heartbeat(RelayId::new(0), T0)
        .await
        .unwrap();
    let mut relays = JoinSet::new();
    for (number, store) in (0..).zip(&stores) {
        let queue = store.queue();
        relays.spawn(accept(number, Arc::clone(&queue)));
        relays.spawn(deliver(RelayId::new(number), queue, Arc::clone(&machines)));
    }
    relays.join_all().await;

    // What was accepted after the last relay had nothing to do.
    deliver(
        RelayId::new(RELAYS),
        stores[0].queue(),
        Arc::clone(&machines),
    )
    .await;
    assert_eq!(stores[0].log().depth().await.unwrap().pending, 0);
    let machines = machines.lock().unwrap();
    assert_eq!(machines.greatest.len() as u64, MAILBOXES);
    let last = HistoryId::new(MESSAGES * RELAYS.unsigned_abs());
    assert!(
        machines.greatest.values().all(|id| *id == last),
        "{:?}",
        machines.greatest
    );
}

async fn accept(relay: i64, queue: Arc<dyn DeliveryQueue>) {
    for message in 0..MESSAGES {
        let history_id = message * RELAYS.unsigned_abs() + relay.unsigned_abs() + 1;
        let arrivals = (0..MAILBOXES).map(|number| {
            let mailbox = if relay % 2 == 0 {
                number
            } else {
                MAILBOXES - 1 - number
            };
            queue.accept(
                notification(mailbox, &format!("m{history_id}"), history_id),
                T0,
            )
        });
        for accepted in futures_util::future::join_all(arrivals).await {
            accepted.unwrap();
        }
    }
}

async fn deliver(relay: RelayId, queue: Arc<dyn DeliveryQueue>, machines: Arc<Mutex<Machines>>) {
    let mut idle = 0;
    while idle < 20 {
        let claims = queue.claim(relay, T0, LEASE, 3).await.unwrap().claims;
        idle = if claims.is_empty() { idle + 1 } else { 0 };
        for claim in &claims {
            let is_first = {
                let mut machines = machines.lock().unwrap();
                let user = claim.notification.user.clone();
                let greatest = machines.greatest.entry(user.clone()).or_default();
                *greatest = claim.notification.history_id.max(*greatest);
                machines.in_progress.insert(user)
            };
            assert!(is_first, "a mailbox is delivered twice at once");
        }
        tokio::task::yield_now().await;
        for claim in &claims {
            machines
                .lock()
                .unwrap()
                .in_progress
                .remove(&claim.notification.user);
            let settled = queue.settle(claim, Settlement::Delivered, T0);
            settled.await.unwrap();
        }
    }
}
