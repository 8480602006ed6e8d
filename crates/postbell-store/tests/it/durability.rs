//! What only a store on disk can promise, and what it does with a file that is not as it should be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postbell_core::{
    Accepted, DeliveryQueue, HistoryId, Notification, RELAY_TIMEOUT, RelayId, SettleError,
    Settlement, StoreError, Timestamp,
};
use postbell_store::{OpenError, Store, StoreOptions};
use postbell_testkit::RELAY;
use tempfile::{TempDir, tempdir};

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LEASE: Duration = Duration::from_secs(45);

fn open(url: &str) -> Result<Arc<dyn DeliveryQueue>, OpenError> {
    Ok(Store::open(url, StoreOptions::service())?.queue())
}

struct File {
    path: PathBuf,
    _folder: TempDir,
}

impl File {
    fn new() -> Self {
        let folder = tempdir().unwrap();
        Self {
            path: folder.path().join("inbox.db"),
            _folder: folder,
        }
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    fn open(&self) -> Arc<dyn DeliveryQueue> {
        open(&self.url()).unwrap()
    }

    fn refusal(&self) -> OpenError {
        open(&self.url())
            .err()
            .expect("expected the file to be refused")
    }
}

fn notification(user: usize, message: usize) -> Notification {
    Notification {
        trace: None,
        user: format!("user-{user}").parse().unwrap(),
        address: None,
        message_id: format!("message-{message}").parse().unwrap(),
        published_at: None,
        history_id: HistoryId::new(message as u64),
        body: Bytes::from_static(b"{}"),
    }
}

#[tokio::test]
async fn what_was_accepted_is_there_after_the_file_is_opened_again() {
    let file = File::new();
    let queue = file.open();
    queue.accept(notification(1, 1), T0).await.unwrap();
    drop(queue);

    let queue = file.open();
    assert_eq!(
        queue.accept(notification(1, 1), T0).await.unwrap(),
        Accepted::Duplicate
    );
    let claims = queue.claim(RELAY, T0, LEASE, 10).await.unwrap().claims;
    assert_eq!(claims[0].notification, notification(1, 1));
}

/// In place of the file lock of earlier versions: a process that starts releases only what expired ones have
/// claimed, and only once they are surely dead.
#[tokio::test]
async fn what_a_dead_process_had_claimed_is_due_soon() {
    let file = File::new();
    let queue = file.open();
    queue.heartbeat(RELAY, T0).await.unwrap();
    queue.accept(notification(1, 1), T0).await.unwrap();
    let claims = queue.claim(RELAY, T0, LEASE, 10).await.unwrap().claims;
    drop(queue);

    let queue = file.open();
    let next = RelayId::new(7);
    assert_eq!(queue.heartbeat(next, T0).await.unwrap(), 0);
    let late = T0 + RELAY_TIMEOUT;
    assert_eq!(queue.heartbeat(next, late).await.unwrap(), 1);
    let again = queue.claim(next, late, LEASE, 10).await.unwrap().claims;
    assert_eq!(again[0].notification, claims[0].notification);
    let stale = queue.settle(&claims[0], Settlement::Delivered, late).await;
    assert!(
        matches!(stale, Err(SettleError::LeaseLost { .. })),
        "{stale:?}"
    );
}

#[tokio::test]
async fn what_a_living_process_has_claimed_stays_claimed() {
    let file = File::new();
    let relay = file.open();
    relay.heartbeat(RELAY, T0).await.unwrap();
    relay.accept(notification(1, 1), T0).await.unwrap();
    let claims = relay.claim(RELAY, T0, LEASE, 10).await.unwrap().claims;

    for number in [2, 3] {
        let (other, queue) = (RelayId::new(number), file.open());
        assert_eq!(queue.heartbeat(other, T0).await.unwrap(), 0);
        let claimed = queue.claim(other, T0, LEASE, 10).await.unwrap();
        assert_eq!(claimed.claims, []);
    }
    relay
        .settle(&claims[0], Settlement::Delivered, T0)
        .await
        .unwrap();
}

#[tokio::test]
async fn two_processes_on_one_file_never_claim_the_same_mailbox() {
    let file = File::new();
    let (one, other) = (file.open(), file.open());
    for user in 0..20 {
        one.accept(notification(user, 1), T0).await.unwrap();
    }

    let (some, rest) = tokio::join!(
        one.claim(RELAY, T0, LEASE, 15),
        other.claim(RELAY, T0, LEASE, 15)
    );
    let mut users: Vec<_> = some
        .unwrap()
        .claims
        .into_iter()
        .chain(rest.unwrap().claims)
        .map(|c| c.notification.user)
        .collect();
    users.sort();
    users.dedup();
    assert_eq!(users.len(), 20);
}

#[tokio::test]
async fn many_calls_at_once_are_all_answered() {
    let file = File::new();
    let queue = file.open();
    let accepted = (0..1000).map(|n| {
        let queue = Arc::clone(&queue);
        async move { queue.accept(notification(n % 50, n), T0).await.unwrap() }
    });
    let mut set = tokio::task::JoinSet::new();
    accepted.for_each(|call| {
        set.spawn(call);
    });
    let answers = set.join_all().await;

    let waiting = answers
        .iter()
        .filter(|answer| **answer == Accepted::Queued)
        .count();
    let merged = answers
        .iter()
        .filter(|answer| **answer == Accepted::Merged)
        .count();
    assert_eq!((waiting, merged), (50, 950));
    let claims = queue.claim(RELAY, T0, LEASE, 100).await.unwrap().claims;
    assert!(
        claims
            .iter()
            .all(|claim| claim.notification.history_id.get() >= 950),
        "{claims:?}"
    );
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let file = File::new();
    let text = "this is somebody's diary, and not a database at all\n".repeat(200);
    fs::write(&file.path, &text).unwrap();

    assert!(matches!(file.refusal(), OpenError::Damaged(_)));
    assert_eq!(fs::read_to_string(&file.path).unwrap(), text);
}

/// A file whose format may be read but not written, as SQLite marks it at byte 18 of the header:
/// permissions would not stop a test that runs as root.
#[test]
fn a_file_that_can_only_be_read_is_refused_and_left_as_it_is() {
    let file = File::new();
    drop(file.open());
    let mut bytes = fs::read(&file.path).unwrap();
    bytes[18] = 3;
    fs::write(&file.path, &bytes).unwrap();

    assert!(matches!(file.refusal(), OpenError::Unavailable(_)));
    assert_eq!(fs::read(&file.path).unwrap(), bytes);
}

#[tokio::test]
async fn damage_in_the_middle_is_reported_and_not_written_over() {
    const PAGE: usize = 4096;
    let file = File::new();
    let queue = file.open();
    for user in 0..400 {
        queue.accept(notification(user, user), T0).await.unwrap();
    }
    drop(queue);
    let mut bytes = fs::read(&file.path).unwrap();
    // Everything but the header and the schema.
    let first = 4 * PAGE;
    assert!(bytes.len() > first + 4 * PAGE);
    bytes[first..].fill(0xa5);
    fs::write(&file.path, &bytes).unwrap();

    let outcome = match open(&file.url()) {
        Ok(queue) => queue.accept(notification(7, 1000), T0).await.map(drop),
        Err(OpenError::Damaged(source)) => Err(StoreError::Corrupt {
            what: "database",
            source,
        }),
        Err(other) => panic!("expected damage, got {other}"),
    };
    assert!(
        matches!(outcome, Err(StoreError::Corrupt { .. })),
        "{outcome:?}"
    );
    assert_eq!(fs::read(&file.path).unwrap()[first..], bytes[first..]);
}

#[test]
fn a_folder_that_is_missing_is_told_apart_from_damage() {
    let file = File::new();
    let url = format!("sqlite:{}", file.path.join("missing/inbox.db").display());
    assert!(matches!(open(&url), Err(OpenError::Unavailable(_))));
}

#[test]
fn only_sqlite_urls_are_taken() {
    for url in ["", "sqlite:", "redis://localhost", "inbox.db"] {
        assert!(
            matches!(open(url), Err(OpenError::UnknownScheme)),
            "{url:?}"
        );
    }
}

#[test]
fn the_file_is_readable_by_its_owner_alone() {
    let file = File::new();
    let _queue = file.open();
    for suffix in ["", "-wal", "-shm"] {
        let path = format!("{}{suffix}", file.path.display());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{path}");
    }
}
