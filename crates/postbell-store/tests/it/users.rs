//! SQLite against every promise of the users' records, and what only a file can promise.

use std::sync::Arc;

use postbell_core::{
    GoogleConnection, InstanceStatus, MachineLocation, NewUser, SandboxId, StoreError,
    StoredCredentials, Timestamp, UserId, Users, UsersError,
};
use postbell_store::{KeyRing, OpenError, Store, StoreOptions};
use postbell_testkit::UserStore;
use secrecy::SecretString;
use tempfile::TempDir;

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SECRET: &str = "the refresh token of ann";

fn keys(current: &str, older: &[&str]) -> KeyRing {
    let older: Vec<_> = older.iter().map(|key| SecretString::from(*key)).collect();
    KeyRing::new(&current.into(), &older)
}

/// A file in a folder of its own, which goes when the test does.
struct File {
    folder: TempDir,
}

impl File {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.folder.path().join("users.db").display())
    }

    fn open(&self, keys: KeyRing) -> UserStore {
        let options = StoreOptions::service().keys(keys);
        let store = Store::open(&self.url(), options).unwrap();
        UserStore {
            users: store.users(),
            credentials: store.credentials(),
            orphaned_machines: store.orphaned_machines(),
        }
    }

    /// Whether a text is anywhere in the files of the database.
    fn holds(&self, text: &str) -> bool {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        let mut files = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        files.any(|bytes| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        })
    }
}

fn temporary() -> (UserStore, TempDir) {
    let file = File::new();
    (file.open(keys("a key of the tests", &[])), file.folder)
}

postbell_testkit::users_conformance!(temporary());

fn ann() -> UserId {
    "ann".parse().unwrap()
}

/// Adds a user with an account that is connected.
async fn connect(users: &dyn Users, user: &str, secret: &str) {
    let user: UserId = user.parse().unwrap();
    let new = NewUser {
        sandbox_id: SandboxId::from(&user),
        user,
        status: InstanceStatus::Running,
        location: MachineLocation::Unknown,
        wake_on_mail: false,
    };
    let mut record = users.add(new, T0).await.unwrap();
    record.connect(GoogleConnection {
        email: Some(format!("{}@example.com", record.user).parse().unwrap()),
        push_account: None,
        connected_at: T0,
    });
    let credentials = StoredCredentials::from(secret.to_owned());
    let written = users.replace(&record, Some(&credentials), T0);
    written.await.unwrap();
}

async fn credentials(store: &UserStore, user: &str) -> Result<String, StoreError> {
    let user = user.parse().unwrap();
    let credentials = store.credentials.credentials(&user).await?;
    Ok(credentials.unwrap().expose().to_owned())
}

#[tokio::test]
async fn what_was_written_is_there_after_the_file_is_opened_again() {
    let file = File::new();
    let store = file.open(keys("k", &[]));
    connect(&*store.users, "ann", SECRET).await;
    let before = store.users.get(&ann()).await.unwrap();
    drop(store);

    let again = file.open(keys("k", &[]));
    assert_eq!(again.users.get(&ann()).await.unwrap(), before);
    assert_eq!(credentials(&again, "ann").await.unwrap(), SECRET);
}

#[tokio::test]
async fn credentials_are_nowhere_in_the_file() {
    let file = File::new();
    let store = file.open(keys("k", &[]));
    connect(&*store.users, "ann", SECRET).await;
    assert!(file.holds("ann@example.com"), "the test sees what is there");
    assert!(!file.holds(SECRET));
}

#[tokio::test]
async fn a_new_key_takes_the_old_ones_place_when_the_file_is_opened() {
    let file = File::new();
    let store = file.open(keys("old", &[]));
    // More than one batch.
    for number in 0..250 {
        connect(&*store.users, &format!("user-{number}"), SECRET).await;
    }
    drop(store);

    drop(file.open(keys("new", &["old"])));
    let without_the_old = file.open(keys("new", &[]));
    for number in 0..250 {
        let user = format!("user-{number}");
        let opened = credentials(&without_the_old, &user).await.unwrap();
        assert_eq!(opened, SECRET);
    }
}

#[tokio::test]
async fn a_key_that_is_gone_costs_the_credentials_and_nothing_else() {
    let file = File::new();
    let store = file.open(keys("old", &[]));
    connect(&*store.users, "ann", SECRET).await;
    drop(store);

    let store = file.open(keys("new", &[]));
    let error = credentials(&store, "ann").await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    let record = store.users.get(&ann()).await.unwrap().unwrap();
    assert!(record.as_instance().wants_notifications());
    drop(store);
    // Nothing was lost by the attempt.
    let again = file.open(keys("new", &["old"]));
    assert_eq!(credentials(&again, "ann").await.unwrap(), SECRET);
}

#[tokio::test]
async fn two_processes_lose_none_of_each_others_changes() {
    let file = File::new();
    let one = file.open(keys("k", &[]));
    connect(&*one.users, "ann", SECRET).await;
    let other = file.open(keys("k", &[]));
    let clock = postbell_testkit::PausedClock::starting_at(T0);
    let ann = ann();
    let toggle = |users: Arc<dyn Users>| {
        let (ann, clock) = (&ann, &clock);
        async move {
            for _ in 0..20 {
                let toggled = postbell_core::update_user(&*users, ann, None, clock, |record| {
                    record.notifications_enabled = !record.notifications_enabled;
                    Ok::<_, UsersError>(())
                });
                toggled.await.unwrap();
            }
        }
    };
    tokio::join!(toggle(Arc::clone(&one.users)), toggle(other.users));
    let record = one.users.get(&ann).await.unwrap().unwrap();
    assert_eq!((record.version, record.notifications_enabled), (42, true));
}

#[tokio::test]
async fn the_inbox_and_the_records_share_a_file() {
    let file = File::new();
    let options = StoreOptions::service().keys(keys("k", &[]));
    let store = Store::open(&file.url(), options).unwrap();
    connect(&*store.users(), "ann", SECRET).await;
    assert!(!store.queue().make_due(&ann(), None, T0).await.unwrap());
    // And a command beside them finds both.
    let beside = Store::open(&file.url(), StoreOptions::read_only()).unwrap();
    assert_eq!(beside.users().count().await.unwrap(), 1);
    assert_eq!(beside.log().depth().await.unwrap().pending, 0);
}

#[test]
fn a_missing_file_is_created_only_on_request() {
    let file = File::new();
    for options in [StoreOptions::read_only(), StoreOptions::read_write()] {
        let refused = Store::open(&file.url(), options);
        assert!(matches!(refused, Err(OpenError::Missing)));
    }
    assert!(matches!(
        Store::migrate(&file.url()),
        Err(OpenError::Missing)
    ));
    assert_eq!(std::fs::read_dir(file.folder.path()).unwrap().count(), 0);
}
