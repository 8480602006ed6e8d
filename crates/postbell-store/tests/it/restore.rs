//! What a restore says of access that was ended, and which links it follows.

use std::fs;
use std::os::unix::fs::{lchown, symlink};
use std::time::Duration;

use postbell_core::{AUDIT_KEPT, Actor, AuditedPorts, Timestamp};
use postbell_store::{BackupError, Store, restore};
use rusqlite::Connection;

use crate::backup::{Files, keys};
use crate::copy::{MINUTE, NOW};

async fn revoke_a_key(store: &Store) {
    let actor = Actor {
        name: "olga".to_owned(),
        origin: "here".to_owned(),
        at: NOW + MINUTE,
    };
    let key = "0123456789abcdef".parse().unwrap();
    let tokens = AuditedPorts::tokens(store, &actor);
    assert!(tokens.revoke(&key).await.unwrap());
}

/// The number of changes that a restore over the store names.
fn named(files: &Files, now: Timestamp) -> Option<usize> {
    let (url, file) = (files.url("postbell.db"), files.path("backup"));
    let restored = restore(&file, &url, Some(&keys()), true, now).unwrap();
    restored.ended.map(|entries| entries.len())
}

#[tokio::test]
async fn what_was_ended_is_known_by_a_log_that_continues_that_of_the_backup() {
    for revokes in [false, true] {
        let files = Files::new();
        let store = files.filled().await;
        if revokes {
            revoke_a_key(&store).await;
        }
        drop(store);
        assert_eq!(named(&files, NOW), Some(usize::from(revokes)));
    }
}

/// A service creates an empty file after the loss of the disk.
#[tokio::test]
async fn what_was_ended_is_not_known_by_the_log_of_another_store() {
    let files = Files::new();
    drop(files.filled().await);
    for change in [
        "DELETE FROM audit",
        "UPDATE audit SET at = at + 1",
        "UPDATE audit SET number = number + 1000",
        "DROP TABLE audit",
    ] {
        let db = Connection::open(files.path("postbell.db")).unwrap();
        db.execute_batch("DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_kept")
            .unwrap();
        db.execute_batch(change).unwrap();
        drop(db);
        assert_eq!(named(&files, NOW), None, "{change}");
        fs::remove_file(files.path("postbell.db.before-restore")).unwrap();
    }
    fs::remove_file(files.path("postbell.db")).unwrap();
    drop(files.store());
    assert_eq!(named(&files, NOW), None);
}

#[tokio::test]
async fn what_was_ended_since_an_old_backup_is_not_known() {
    let just_before = AUDIT_KEPT.saturating_sub(Duration::from_secs(1));
    for (age, is_known) in [(just_before, true), (AUDIT_KEPT, false)] {
        let files = Files::new();
        drop(files.filled().await);
        assert_eq!(named(&files, NOW + age).is_some(), is_known, "{age:?}");
    }
}

/// Its owner could have root replace any file.
#[tokio::test]
async fn a_restore_follows_no_link_of_another_user() {
    const OTHER: Option<u32> = Some(1);
    let files = Files::new();
    drop(files.filled().await);
    let victim = files.path("victim");
    fs::write(&victim, "of root").unwrap();
    for name in ["link.db", "link-to-link.db"] {
        let link = files.path(name);
        let target = ["victim", "link.db"][usize::from(name != "link.db")];
        symlink(target, &link).unwrap();
    }
    // Only root can give a file away.
    if lchown(files.path("link.db"), OTHER, OTHER).is_err() {
        return;
    }
    for name in ["link.db", "link-to-link.db"] {
        let (url, file) = (files.url(name), files.path("backup"));
        let error = restore(&file, &url, Some(&keys()), true, NOW).unwrap_err();
        let link = files.path("link.db");
        assert!(matches!(error, BackupError::LinkOfOther(path) if path == link));
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "of root");
}
