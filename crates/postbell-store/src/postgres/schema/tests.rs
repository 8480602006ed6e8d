use std::time::Duration;

use postbell_core::{Accepted, HistoryId, Notification, Timestamp, UserId};
use postbell_testkit::{PostgresDatabase, RELAY};

use super::*;
use crate::{Store, StoreOptions};

/// What the first version stores: every later one has these columns.
const ROWS: &str = "
    INSERT INTO pending (user_id, message_id, history_id, address, published_at, accepted_at, waiting_since,
        due_at, consecutive_failures, failing_since, body)
    VALUES ('ann', 'm1', lpad('7', 20, '0'), 'ann@example.com', 1, 1000, 1000, 9000, 2, 1000, '{}');
    INSERT INTO cursor VALUES ('bob', 'bob@example.com', lpad('9', 20, '0'), 'm5 m6', 1000, 1000);
    INSERT INTO tally VALUES ('ann', 3, '[1:1]={0}', '[1:1]={2}', '[1:1]={1}');
    INSERT INTO delivery (user_id, slot, lease, message_id, history_id, outcome, cause, attempt, accepted_at,
        claimed_at, settled_at)
    VALUES ('ann', 3, 8, 'm0', lpad('6', 20, '0'), 'failed', 'no answer', 0, 1, 2, 2000);
    INSERT INTO dead_letter (user_id, message_id, body, reason, cause, dead_lettered_at)
    VALUES ('ann', 'm2', '?', 'malformed', 'expected JSON', 1000);
    SELECT setval('lease', 8);
    INSERT INTO user_record (user_id, sandbox_id, status, connected_at, email, mailbox_key, notifications,
        wake_on_mail, created_at, updated_at, version)
    VALUES ('ann', 'sandbox-ann', 'running', 5, 'ann@example.com', 'ann@example.com', true, true, 1, 2, 3);
    INSERT INTO progress VALUES ('ann', lpad('6', 20, '0'));
    INSERT INTO session_epoch VALUES ('ann', 3)";

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

async fn check(store: &Store) {
    let ann: UserId = "ann".parse().unwrap();
    let (queue, log) = (store.queue(), store.log());
    let pending = log.pending(&ann).await.unwrap().unwrap();
    assert_eq!(pending.history_id, HistoryId::new(7));
    assert_eq!((pending.accepted_at, pending.due_at), (at(1000), at(9000)));
    assert_eq!(pending.consecutive_failures, 2);
    let depth = log.depth().await.unwrap();
    assert_eq!((depth.pending, depth.dead_letters), (1, 1));
    assert_eq!(depth.oldest_accepted_at, Some(at(1000)));
    let deliveries = log.deliveries(&ann).await.unwrap();
    assert_eq!(deliveries[0].cause.as_deref(), Some("no answer"));
    let hours = log.hourly_counts(&ann, at(0)).await.unwrap();
    assert_eq!((hours[0].delivered, hours[0].failed), (2, 1));
    let repeat = Notification {
        user: "bob".parse().unwrap(),
        address: Some("bob@example.com".parse().unwrap()),
        message_id: "m6".parse().unwrap(),
        published_at: Some(at(1000)),
        history_id: HistoryId::new(9),
        trace: None,
        body: bytes::Bytes::new(),
    };
    let accepted = queue.accept(repeat, at(2000)).await.unwrap();
    assert_eq!(accepted, Accepted::Duplicate);
    let lease = Duration::from_secs(9);
    let claimed = queue.claim(RELAY, at(9000), lease, 9).await.unwrap();
    assert_eq!(claimed.claims[0].lease, 9);

    let user = store.users().get(&ann).await.unwrap().unwrap();
    assert_eq!((user.sandbox_id.as_str(), user.version), ("sandbox-ann", 3));
    assert_eq!(user.last_history_id, Some(HistoryId::new(6)));
    assert_eq!(store.sessions().epoch("ann").await.unwrap(), 3);
}

#[tokio::test]
async fn a_database_of_each_earlier_version_keeps_its_content() {
    let database = PostgresDatabase::create();
    let url = database.url();
    let owner = url.split(['/', '@']).nth(2).unwrap();
    for version in 1..=LATEST {
        let migrations = MIGRATIONS[..version as usize].join(";");
        database.execute(&format!(
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION {owner};
            SET ROLE {owner}; {migrations};
            UPDATE schema_version SET version = {version}, min_version = 1; {ROWS}"
        ));
        let url = url.clone();
        let migrated = tokio::task::spawn_blocking(move || Store::migrate(&url));
        let migrated = migrated.await.unwrap().unwrap();
        assert_eq!((migrated.from, migrated.to), (version, LATEST));
        check(&Store::open(&database.url(), StoreOptions::service()).unwrap()).await;
    }
}
