//! Commands that only show something change no byte of the database, and only `migrate` and the services
//! change its schema.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use postbell_core::{HistoryId, Notification, RelayId, Timestamp};
use postbell_store::{Store, StoreOptions};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::run;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LEASE: Duration = Duration::from_secs(45);

/// The folder of a service, and the program in it.
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
        self.folder.path().join("postbell.db")
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    /// A relay with a user, and a claim on what waits for them.
    async fn relay(&self) -> Store {
        let (code, _, stderr) = self.run(&["users", "add", "ann"]).await;
        assert_eq!(code, Some(0), "{stderr}");
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
        store.queue().accept(notification, NOW).await.unwrap();
        let claims = store
            .queue()
            .claim(RelayId::new(1), NOW, LEASE, 1)
            .await
            .unwrap()
            .claims;
        assert_eq!(claims.len(), 1);
        store
    }

    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.folder.path())
            .env("POSTBELL_RELAY__INBOX", self.url())
            .env("POSTBELL_PLATFORM__STORE", self.url())
            .env("POSTBELL_PLATFORM__API_KEY", "a key of the tests")
            .env("POSTBELL_PLATFORM__GATEWAY_SECRET", "a secret of the tests")
            .current_dir(self.folder.path());
        run(&mut command).await
    }

    /// Every file and its bytes, but for SQLite's index of the log, which holds the locks of readers.
    fn bytes(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let files = files.filter(|path| path.is_file());
        let bytes = |path: PathBuf| {
            let is_index = path.to_str().unwrap().ends_with("-shm");
            let bytes = if is_index {
                Vec::new()
            } else {
                std::fs::read(&path).unwrap()
            };
            (path, bytes)
        };
        files.map(bytes).collect()
    }

    async fn run_commands_that_only_show(&self) {
        let before = self.bytes();
        for arguments in [
            &["deliveries", "ann"][..],
            &["dead-letters", "list"],
            &["users", "list"],
            &["users", "show", "ann"],
            &["config", "check"],
            &["doctor", "ann", "--wait", "1ms"],
        ] {
            let (code, stdout, stderr) = self.run(arguments).await;
            assert!(
                code == Some(0) || arguments[0] == "doctor",
                "{arguments:?}: {stderr}"
            );
            assert!(!stdout.contains("schema version"), "{stdout}");
            assert_eq!(self.bytes(), before, "{arguments:?}");
        }
    }
}

#[tokio::test]
async fn commands_that_only_show_change_nothing_beside_a_relay_and_alone() {
    let folder = Folder::new();
    let relay = folder.relay().await;
    folder.run_commands_that_only_show().await;
    drop(relay);
    folder.run_commands_that_only_show().await;
}

#[tokio::test]
async fn commands_that_change_a_row_release_no_claim() {
    let folder = Folder::new();
    drop(folder.relay().await);
    for arguments in [
        &["users", "add", "bob"][..],
        &["dead-letters", "drop", "--all"],
    ] {
        let (code, _, stderr) = folder.run(arguments).await;
        assert_eq!(code, Some(0), "{stderr}");
    }
    let store = Store::open(&folder.url(), StoreOptions::read_only()).unwrap();
    let waiting = store.log().pending(&"ann".parse().unwrap()).await.unwrap();
    assert_eq!(waiting.unwrap().due_at, NOW + LEASE);
}

#[tokio::test]
async fn the_schema_is_migrated_on_request() {
    let folder = Folder::new();
    let (code, _, stderr) = folder.run(&["migrate"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("the file does not exist"), "{stderr}");
    drop(folder.relay().await);

    let (code, stdout, stderr) = folder.run(&["migrate", "--json"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    let migrated: Value = serde_json::from_str(&stdout).unwrap();
    let latest = migrated[0]["to"].clone();
    assert_eq!(
        migrated,
        json!([{ "store": folder.url(), "from": latest, "to": latest }])
    );
    let (_, stdout, _) = folder.run(&["migrate"]).await;
    assert!(stdout.contains("already has schema version"), "{stdout}");
}
