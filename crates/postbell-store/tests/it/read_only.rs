//! A store that is open for reading only changes no byte and creates no file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use postbell_core::{HistoryId, Notification, Timestamp};
use postbell_store::{Store, StoreOptions};
use postbell_testkit::RELAY;
use tempfile::TempDir;

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LEASE: Duration = Duration::from_secs(45);

struct Folder {
    folder: TempDir,
}

impl Folder {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a ?#%20 b.db")
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    /// A relay that holds a claim.
    async fn relay(&self) -> Store {
        let store = Store::open(&self.url(), StoreOptions::service()).unwrap();
        let notification = Notification {
            trace: None,
            user: "ann".parse().unwrap(),
            address: None,
            message_id: "m1".parse().unwrap(),
            published_at: None,
            history_id: HistoryId::new(7),
            body: Bytes::from_static(b"{}"),
        };
        store.queue().accept(notification, T0).await.unwrap();
        let claims = store
            .queue()
            .claim(RELAY, T0, LEASE, 1)
            .await
            .unwrap()
            .claims;
        assert_eq!(claims.len(), 1);
        store
    }

    /// Every file and its bytes, but for SQLite's index of the log, which holds the locks of readers.
    fn bytes(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = fs::read_dir(self.folder.path()).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        let bytes = |path: PathBuf| {
            let is_index = path.to_str().unwrap().ends_with("-shm");
            let bytes = if is_index {
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            (path, bytes)
        };
        paths.map(bytes).collect()
    }

    /// Reads the claim of [`relay`](Self::relay), and checks that nothing has changed.
    async fn read(&self) {
        let before = self.bytes();
        let store = Store::open(&self.url(), StoreOptions::read_only()).unwrap();
        let waiting = store.log().pending(&"ann".parse().unwrap()).await.unwrap();
        let waiting = waiting.unwrap();
        assert_eq!(waiting.due_at, T0 + LEASE, "the claim is held");
        assert_eq!(store.users().count().await.unwrap(), 0);
        assert!(store.log().drop_dead_letter(1).await.is_err());
        drop(store);
        assert_eq!(self.bytes(), before);
    }
}

/// The files as they are when a relay was killed: copied while it runs.
fn copy(from: &Folder, names: &[&str]) -> Folder {
    let copy = Folder::new();
    for suffix in names {
        let name = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        fs::copy(name(&from.path()), name(&copy.path())).unwrap();
    }
    copy
}

#[tokio::test]
async fn beside_a_relay() {
    let folder = Folder::new();
    let relay = folder.relay().await;
    folder.read().await;
    drop(relay);
}

#[tokio::test]
async fn after_a_relay_has_stopped() {
    let folder = Folder::new();
    drop(folder.relay().await);
    assert_eq!(folder.bytes().len(), 1, "no log is left");
    folder.read().await;
}

#[tokio::test]
async fn after_a_relay_was_killed_and_from_a_copy_without_the_index_of_the_log() {
    let folder = Folder::new();
    let relay = folder.relay().await;
    copy(&folder, &["", "-wal", "-shm"]).read().await;
    copy(&folder, &["", "-wal"]).read().await;
    drop(relay);
}

#[tokio::test]
async fn in_a_folder_that_is_read_only() {
    let folder = Folder::new();
    let relay = folder.relay().await;
    let killed = [
        copy(&folder, &["", "-wal", "-shm"]),
        copy(&folder, &["", "-wal"]),
    ];
    drop(relay);
    for folder in killed.iter().chain([&folder]) {
        let set_mode = |mode| {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(folder.folder.path(), permissions).unwrap();
        };
        for file in fs::read_dir(folder.folder.path()).unwrap() {
            let permissions = fs::Permissions::from_mode(0o400);
            fs::set_permissions(file.unwrap().path(), permissions).unwrap();
        }
        set_mode(0o500);
        folder.read().await;
        set_mode(0o700);
    }
}

#[tokio::test]
async fn a_reader_beside_a_relay_sees_what_it_commits_later() {
    let folder = Folder::new();
    let relay = folder.relay().await;
    let reader = Store::open(&folder.url(), StoreOptions::read_only()).unwrap();
    assert_eq!(reader.log().depth().await.unwrap().pending, 1);
    let user = "ann".parse().unwrap();
    relay.log().remove_user(&user).await.unwrap();
    assert_eq!(reader.log().depth().await.unwrap().pending, 0);
}
