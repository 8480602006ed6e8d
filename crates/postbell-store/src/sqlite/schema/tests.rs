//! A file of each earlier version, with rows as that version wrote them, keeps its content when it is
//! migrated.

use postbell_core::{
    Accepted, DeliveryQueue, FailureKind, HistoryId, InstanceStatus, LinkDigest, MachineLocation,
    MailProblem, ManagedMachine, Notification, ProblemCode, StoredCredentials, Timestamp, UserId,
};
use postbell_testkit::RELAY;
use rusqlite::params;

use super::*;
use crate::sqlite::connection;
use crate::{KeyRing, Store, StoreOptions};

/// Rows that a version could write, and the versions of which that is true.
struct Rows {
    versions: std::ops::RangeInclusive<u32>,
    sql: &'static str,
}

/// A mailbox that waits after two failures, one whose notifications were delivered, a message that was
/// seen, dead letters, deliveries.
const QUEUE: &str = "
    INSERT INTO mailbox (user, message_id, history_id, body, accepted_at, due_at, rests_until,
        leased_until, lease, failures)
    VALUES ('ann', 'm1', '00000000000000000007', x'7b7d', 1000, 9000, 3000, 0, 5, 2),
           ('bob', NULL, NULL, NULL, NULL, NULL, 0, 0, 8, 0);
    INSERT INTO seen (user, message_id, seen_at) VALUES ('ann', 'm1', 1000);
    INSERT INTO dead_letter (user, message_id, history_id, body, reason, cause, buried_at)
    VALUES ('ann', 'm0', '00000000000000000003', x'7b7d', 'exhausted', 'no answer', 500),
           ('ann', 'm9', NULL, x'3f', 'malformed', 'expected JSON', 600);
    INSERT INTO delivery (user, slot, lease, message_id, history_id, outcome, cause, failures,
        accepted_at, claimed_at, settled_at)
    VALUES ('ann', 5, 5, 'm1', '00000000000000000007', 'failed',
        'the controller answered 503', 1, 1000, 1500, 2000),
        ('bob', 6, 6, 'm4', '00000000000000000008', 'delivered', NULL, 0, 900, 900, 1100),
        ('bob', 7, 7, 'm5', '00000000000000000009', 'delivered', NULL, 0, 1000, 1500, 2000),
        ('bob', 8, 8, 'm6', '00000000000000000009', 'dropped', NULL, 0, 1600, 1600, 2000);";

/// The same as of version 15.
const CURSORS: &str = "
    INSERT INTO pending (user, message_id, history_id, body, accepted_at, waiting_since, due_at,
        cooldown_until, leased_until, lease, attempt, consecutive_failures, failing_since)
    VALUES ('ann', 'm1', '00000000000000000007', x'7b7d', 1000, 1000, 9000, 3000, 0, 5, 2, 2, 1000);
    UPDATE last_lease SET number = 8;
    INSERT INTO cursor (user, address, history_id, message_ids, settled_at)
    VALUES ('bob', 'bob@example.com', '00000000000000000009', 'm5 m6', 2000);
    INSERT INTO dead_letter (user, message_id, history_id, body, reason, cause, dead_lettered_at)
    VALUES ('ann', 'm0', '00000000000000000003', x'7b7d', 'exhausted', 'no answer', 500),
           ('ann', 'm9', NULL, x'3f', 'malformed', 'expected JSON', 600);
    INSERT INTO delivery (user, slot, lease, message_id, history_id, outcome, cause, attempt,
        accepted_at, claimed_at, settled_at)
    VALUES ('ann', 5, 5, 'm1', '00000000000000000007', 'failed',
        'the controller answered 503', 1, 1000, 1500, 2000);";

/// The last version with a row for each message that was seen.
const LAST_WITH_MESSAGES: u32 = 14;

const USERS: &str = "
    INSERT INTO instance (user, sandbox_id, status, app, machine, url, connected_at, email,
        push_account, notifications, history_id, wake_on_mail, created_at, updated_at, version)
    VALUES ('ann', 'sandbox', 'running', 'bot', 'd8910', NULL, 100, 'ann@example.com',
        'push@example.iam.gserviceaccount.com', 1, '00000000000000000006', 1, 50, 60, 4);";

const ROWS: &[Rows] = &[
    Rows { versions: 1..=LAST_WITH_MESSAGES, sql: QUEUE },
    Rows { versions: 15..=LATEST, sql: CURSORS },
    Rows { versions: 3..=LATEST, sql: USERS },
    Rows {
        versions: 4..=LATEST,
        sql: "
            INSERT INTO delivery_hour (user, slot, hour, delivered, failed) VALUES ('ann', 0, 0, 2, 1);
            INSERT INTO sign_in_link (digest, user, operator, expires_at)
            VALUES (zeroblob(32), 'ann', 'olga', 9000);
            INSERT INTO session_epoch (subject, epoch) VALUES ('ann', 3);",
    },
    Rows {
        versions: 5..=LATEST,
        sql: "UPDATE instance SET watch_expires_at = 7000;",
    },
    Rows {
        versions: 6..=LATEST,
        sql: "
            UPDATE instance SET untold = 4;
            INSERT INTO left_machine (app, machine) VALUES ('bot', 'old');",
    },
    Rows {
        versions: 7..=LAST_WITH_MESSAGES,
        sql: "UPDATE mailbox SET failed = 2, failing_since = 1000 WHERE user = 'ann';",
    },
    Rows {
        versions: 16..=LATEST,
        sql: "INSERT INTO progress (user, history_id) VALUES ('ann', '00000000000000000006');",
    },
    Rows {
        versions: 17..=LATEST,
        sql: "UPDATE cursor SET published_at = 1000;",
    },
    Rows {
        versions: 11..=LATEST,
        sql: "UPDATE user_record SET problem_code = 'webhook_gone', problem_since = 8000;",
    },
];

fn ann() -> UserId {
    "ann".parse().unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn keys() -> KeyRing {
    KeyRing::new(&"a key of the tests".into(), &[])
}

/// Replaces the names that versions 10 and 11 have changed.
fn in_terms_of(version: u32, sql: &str) -> String {
    if version < 10 {
        return sql.to_owned();
    }
    let sql = match version {
        10 => sql.to_owned(),
        _ => sql
            .replace("INTO instance", "INTO user_record")
            .replace("UPDATE instance", "UPDATE user_record")
            .replace("INTO seen", "INTO seen_message"),
    };
    let sql = sql
        .replace("rests_until", "cooldown_until")
        .replace("SET failed =", "SET consecutive_failures =")
        .replace(" failures)", " attempt)")
        .replace(" failures,", " attempt,")
        .replace("buried_at", "dead_lettered_at")
        .replace("untold", "pending_sync")
        .replace("left_machine", "orphaned_machine")
        .replace("sealed_with, sealed", "key_id, ciphertext");
    if version < 16 {
        return sql;
    }
    sql.replace(
        "notifications, history_id, wake_on_mail",
        "notifications, wake_on_mail",
    )
    .replace("1, '00000000000000000006', 1, 50, 60, 4", "1, 1, 50, 60, 4")
}

/// Writes a file as code of that version left it.
fn write(path: &std::path::Path, version: u32) {
    connection::create(path).unwrap();
    let mut db = connection::open_for_writing(path).unwrap();
    let migrated = migrate_to(&mut db, version).unwrap();
    assert_eq!((migrated.from, migrated.to), (0, version));
    write_rows(&db, version);
}

/// Writes as code of that version does.
fn write_rows(db: &Connection, version: u32) {
    for rows in ROWS.iter().filter(|rows| rows.versions.contains(&version)) {
        db.execute_batch(&in_terms_of(version, rows.sql)).unwrap();
    }
    if version >= 3 {
        let sealed = keys().encrypt(&ann(), "hunter2").unwrap();
        db.execute(
            &in_terms_of(
                version,
                "INSERT INTO credential (user, sealed_with, sealed) VALUES ('ann', ?1, ?2)",
            ),
            params![sealed.with, sealed.bytes],
        )
        .unwrap();
    }
}

async fn check_queue(store: &Store, version: u32) {
    let (queue, log) = (store.queue(), store.log());
    let pending = log.pending(&ann()).await.unwrap().unwrap();
    assert_eq!(pending.history_id, HistoryId::new(7));
    assert_eq!((pending.accepted_at, pending.due_at), (at(1000), at(9000)));
    assert_eq!(
        (pending.consecutive_failures, pending.failing_since),
        (2, Some(at(1000)))
    );
    assert_eq!(log.pending(&"bob".parse().unwrap()).await.unwrap(), None);

    let deliveries = log.deliveries(&ann()).await.unwrap();
    assert_eq!(deliveries.len(), 1);
    assert_eq!(
        deliveries[0].cause.as_deref(),
        Some("the controller answered 503")
    );
    // Version 9 derives the kind from the sentence; its own rows would have been written with one.
    let kind = (version < 9).then_some(FailureKind::Status(503));
    assert_eq!(deliveries[0].failure_kind, kind);
    assert_eq!(deliveries[0].settled_at, at(2000));
    let hours = log.hourly_counts(&ann(), at(0)).await.unwrap();
    let counts: Vec<_> = hours
        .iter()
        .map(|hour| (hour.delivered, hour.failed))
        .collect();
    assert_eq!(counts, if version >= 4 { vec![(2, 1)] } else { vec![] });

    let dead_letters = log.dead_letters(Some(&ann()), None, 9).await.unwrap();
    let causes: Vec<_> = dead_letters
        .iter()
        .map(|dead_letter| dead_letter.cause.as_str())
        .collect();
    assert_eq!(causes, ["expected JSON", "no answer"]);
    assert_eq!(dead_letters[1].history_id, Some(HistoryId::new(3)));

    check_repeats(&*queue).await;
}

/// A delivered notification is not delivered again, and the number of a lease does not return.
async fn check_repeats(queue: &dyn DeliveryQueue) {
    let notification = |name: &str, message: &str, history_id| Notification {
        trace: None,
        user: name.parse().unwrap(),
        address: Some(format!("{name}@example.com").parse().unwrap()),
        message_id: message.parse().unwrap(),
        published_at: Some(at(-200_000)),
        history_id: HistoryId::new(history_id),
        body: bytes::Bytes::from_static(b"{}"),
    };
    for (name, message, history_id, expected) in [
        ("ann", "m1", 7, Accepted::Duplicate),
        ("bob", "m6", 9, Accepted::Duplicate),
        ("bob", "m5", 9, Accepted::Duplicate),
        ("bob", "m4", 8, Accepted::Covered),
    ] {
        let accepted = queue.accept(notification(name, message, history_id), at(3000));
        assert_eq!(accepted.await.unwrap(), expected, "{message}");
    }
    let lease = std::time::Duration::from_secs(9);
    let claims = queue.claim(RELAY, at(9000), lease, 9).await.unwrap().claims;
    assert_eq!((claims.len(), claims[0].lease), (1, 9));
    let claimed = Notification {
        address: None,
        published_at: None,
        ..notification("ann", "m1", 7)
    };
    assert_eq!(claims[0].notification, claimed);
}

async fn check_users(store: &Store, version: u32) {
    let users = store.users();
    assert_eq!(users.count().await.unwrap(), 1);
    let record = users.get(&ann()).await.unwrap().unwrap();
    let machine = |name: &str| ManagedMachine {
        app: "bot".to_owned(),
        machine: name.to_owned(),
    };
    assert_eq!(record.sandbox_id.as_str(), "sandbox");
    assert_eq!(record.status, InstanceStatus::Running);
    assert_eq!(record.location, MachineLocation::Managed(machine("d8910")));
    assert!(record.notifications_enabled && record.wake_on_mail);
    assert_eq!(record.last_history_id, Some(HistoryId::new(6)));
    assert_eq!(
        (record.created_at, record.updated_at, record.version),
        (at(50), at(60), 4)
    );
    assert_eq!(record.watch_expires_at, (version >= 5).then(|| at(7000)));
    let problem = MailProblem {
        code: ProblemCode::WebhookGone,
        since: at(8000),
    };
    assert_eq!(record.problem, (version >= 11).then_some(problem));
    assert_eq!(record.pending_sync, (version >= 6).then_some(4));
    let google = record.google.unwrap();
    assert_eq!(google.connected_at, at(100));
    assert_eq!(
        google.email.as_ref().map(|it| it.as_str()),
        Some("ann@example.com")
    );
    assert!(google.push_account.is_some());
    let owners = users.users_by_email(&google.email.unwrap()).await.unwrap();
    assert_eq!(owners, [ann()]);
    let credentials = store.credentials().credentials(&ann()).await.unwrap();
    let credentials = credentials.as_ref().map(StoredCredentials::expose);
    assert_eq!(credentials, Some("hunter2"));

    let orphaned = store
        .orphaned_machines()
        .orphaned_machines(None, 9)
        .await
        .unwrap();
    assert_eq!(
        orphaned,
        if version >= 6 {
            vec![machine("old")]
        } else {
            vec![]
        }
    );
    let sessions = store.sessions();
    assert_eq!(
        sessions.epoch("ann").await.unwrap(),
        if version >= 4 { 3 } else { 0 }
    );
    let link = sessions
        .redeem_link(LinkDigest([0; 32]), at(2000))
        .await
        .unwrap();
    assert_eq!(link.and_then(|link| link.user), (version >= 4).then(ann));
}

#[tokio::test]
async fn a_file_of_each_earlier_version_keeps_its_content() {
    for version in 1..=LATEST {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("postbell.db");
        write(&path, version);
        let url = format!("sqlite:{}", path.display());
        let migrated = Store::migrate(&url).unwrap();
        assert_eq!((migrated.from, migrated.to), (version, LATEST));

        let store = Store::open(&url, StoreOptions::service().keys(keys())).unwrap();
        if version >= 3 {
            check_users(&store, version).await;
        }
        check_queue(&store, version).await;
    }
}

/// A rolling upgrade, and the way back: a process of an earlier release goes on beside this one, or is started again.
#[tokio::test]
async fn code_of_each_version_that_the_minimum_allows_writes_to_a_migrated_file() {
    // What a cursor of version 16 says covers nothing: a message that a later one replaced is delivered.
    for version in minimum_after(LATEST).max(17)..LATEST {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("postbell.db");
        connection::create(&path).unwrap();
        let mut older = connection::open_for_writing(&path).unwrap();
        migrate_to(&mut older, version).unwrap();
        let url = format!("sqlite:{}", path.display());
        let store = Store::open(&url, StoreOptions::service().keys(keys())).unwrap();
        write_rows(&older, version);
        check_users(&store, version).await;
        check_queue(&store, version).await;
    }
}

#[test]
fn two_processes_can_migrate_a_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("postbell.db");
    write(&path, 3);
    let url = format!("sqlite:{}", path.display());
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| Store::migrate(&url).unwrap());
        }
    });
}

#[test]
fn the_oldest_version_that_can_work_with_a_file_is_stored_in_it() {
    let db = in_memory();
    let stored: u32 = db
        .query_row("SELECT min_version FROM compatibility", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(stored, minimum_after(LATEST));
    assert!(stored <= LATEST);
}

/// Returns the statements that make an empty file equal to this one.
fn dump(db: &Connection) -> String {
    let texts = |sql: &str| -> Vec<String> {
        let mut statement = db.prepare(sql).unwrap();
        let texts = statement.query_map([], |row| row.get(0)).unwrap();
        texts.collect::<Result<_, _>>().unwrap()
    };
    let own = "FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite!_%' ESCAPE '!'";
    let mut dump = String::new();
    for sql in texts(&format!("SELECT sql {own} ORDER BY rowid")) {
        dump += &format!("{sql};\n");
    }
    for table in texts(&format!(
        "SELECT name {own} AND type = 'table' ORDER BY rowid"
    )) {
        let columns = format!("SELECT 'quote(' || name || ')' FROM pragma_table_info('{table}')");
        let values = texts(&columns).join(" || ', ' || ");
        for row in texts(&format!("SELECT {values} FROM {table}")) {
            dump += &format!("INSERT INTO {table} VALUES ({row});\n");
        }
    }
    dump
}

#[test]
fn a_new_file_is_what_all_migrations_make_of_an_empty_one() {
    let mut migrated = Connection::open_in_memory().unwrap();
    for version in 1..=LATEST {
        migrate_to(&mut migrated, version).unwrap();
    }
    let (new, expected) = (in_memory(), dump(&migrated));
    let (_comment, statements) = NEWEST.split_once('\n').unwrap();
    assert!(
        statements == expected && dump(&new) == expected,
        "newest.sql should be:\n{expected}"
    );
    assert_eq!(version(&new).unwrap(), version(&migrated).unwrap());
}
