//! An upgrade while processes run, and the way back.

use std::time::Duration;

use postbell_core::{Claim, RelayId, Settlement, Timestamp};
use postbell_store::{Store, StoreOptions};
use rusqlite::Connection;

use crate::copy::{NOW, notification, user};
use crate::engines::{Engine, on_each_engine};

on_each_engine! {
    processes_of_two_releases_share_a_store_and_the_older_one_can_be_started_again
}

/// What the migration of a later release may do: add what this release does not need.
fn extend(engine: &Engine) {
    let additions = "
        ALTER TABLE pending ADD COLUMN later TEXT;
        ALTER TABLE delivery ADD COLUMN later TEXT;
        ALTER TABLE dead_letter ADD COLUMN later TEXT;
        CREATE INDEX later ON delivery (later);
        CREATE TABLE later_table (x TEXT);";
    match engine {
        Engine::Sqlite(folder) => {
            let db = Connection::open(folder.path().join("p.db")).unwrap();
            db.busy_timeout(Duration::from_secs(5)).unwrap();
            let version = "PRAGMA user_version = 99;";
            db.execute_batch(&format!("BEGIN; {additions} {version} COMMIT"))
                .unwrap();
        }
        Engine::Postgres(database) => {
            database.execute(&format!(
                "{additions} UPDATE schema_version SET version = 99"
            ));
        }
    }
}

/// Accepts a notification and delivers it.
async fn work(store: &Store, number: u64, now: Timestamp) -> Vec<Claim> {
    let queue = store.queue();
    queue.accept(notification(number, 7), now).await.unwrap();
    let minute = Duration::from_secs(60);
    let claimed = queue.claim(RelayId::new(1), now, minute, 9).await.unwrap();
    for claim in &claimed.claims {
        queue
            .settle(claim, Settlement::Delivered, now)
            .await
            .unwrap();
    }
    claimed.claims
}

async fn processes_of_two_releases_share_a_store_and_the_older_one_can_be_started_again(
    engine: &Engine,
) {
    let open = || Store::open(&engine.url(), StoreOptions::service()).unwrap();
    let running = open();
    assert_eq!(work(&running, 1, NOW).await.len(), 1);
    extend(engine);
    // The running process goes on with the statements that it has prepared, and the next one starts.
    assert_eq!(work(&running, 2, NOW).await.len(), 1);
    let started = open();
    assert_eq!(work(&started, 3, NOW).await.len(), 1);
    assert_eq!(work(&running, 4, NOW).await.len(), 1);
    drop(running);
    drop(started);
    let again = open();
    for number in 1..=4 {
        let deliveries = again.log().deliveries(&user(number)).await.unwrap();
        assert_eq!(deliveries.len(), 1, "{number}");
    }
}
