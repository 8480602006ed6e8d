//! SQLite against every promise of alerts.

use postbell_core::{
    InstanceStatus, MachineLocation, NewUser, SandboxId, StoredTarget, Timestamp, UserId,
};
use postbell_store::{KeyRing, Store, StoreOptions};
use postbell_testkit::Alerts;
use secrecy::ExposeSecret;
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn open(folder: &TempDir, current: &str, older: &[&str]) -> Store {
    let url = format!("sqlite:{}", folder.path().join("users.db").display());
    let older: Vec<_> = older.iter().map(|key| (*key).into()).collect();
    let keys = KeyRing::new(&current.into(), &older);
    Store::open(&url, StoreOptions::service().keys(keys)).unwrap()
}

fn temporary() -> (Alerts, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, "a key", &[]);
    let alerts = Alerts {
        outbox: store.alert_outbox(),
        targets: store.alert_targets(),
    };
    (alerts, folder)
}

postbell_testkit::alerts_conformance!(temporary());

fn ann() -> UserId {
    "ann".parse().unwrap()
}

fn target() -> StoredTarget {
    StoredTarget {
        id: "tgt_0123456789abcdef".parse().unwrap(),
        text: "https://example.com/hunter2".into(),
        added_at: NOW,
    }
}

#[tokio::test]
async fn a_target_is_encrypted_and_survives_a_change_of_keys() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, "old", &[]);
    let targets = store.alert_targets();
    assert!(targets.add_target(&ann(), &target(), 5).await.unwrap());
    drop((targets, store));
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let content = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!content.windows(7).any(|part| part == b"hunter2"));
    }
    drop(open(&folder, "new", &["old"]));
    let store = open(&folder, "new", &[]);
    let found = store.alert_targets().targets(&ann()).await.unwrap();
    let text = found[0].text.expose_secret();
    assert_eq!(text, "https://example.com/hunter2");
}

#[tokio::test]
async fn a_removed_user_leaves_no_target() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, "key", &[]);
    let new = NewUser {
        user: ann(),
        sandbox_id: SandboxId::from(&ann()),
        status: InstanceStatus::Running,
        location: MachineLocation::Unknown,
        wake_on_mail: false,
    };
    let added = store.users().add(new, NOW).await.unwrap();
    let targets = store.alert_targets();
    assert!(targets.add_target(&ann(), &target(), 5).await.unwrap());
    assert!(store.users().remove(&added).await.unwrap());
    assert!(targets.targets(&ann()).await.unwrap().is_empty());
}
