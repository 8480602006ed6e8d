//! A backup takes the place of a store: what is kept, which access ends, and which links are followed.

use std::fs;
use std::os::unix::fs::{lchown, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postbell_core::{AUDIT_KEPT, Actor, AuditedPorts, Principal, Timestamp};
use postbell_store::{BackupError, Store, StoreOptions, restore};
use rusqlite::Connection;

use crate::backup::{Files, keys};
use crate::copy::{MINUTE, NOW, notification, user};

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

#[tokio::test]
async fn a_store_in_use_is_not_replaced_and_a_replaced_one_is_kept() {
    let files = Files::new();
    let store = files.filled().await;
    let (url, file) = (files.url("postbell.db"), files.path("backup"));
    let put_back = |replaces| restore(&file, &url, Some(&keys()), replaces, NOW);
    assert!(matches!(put_back(false), Err(BackupError::Exists(_))));
    assert!(matches!(put_back(true), Err(BackupError::InUse)));
    let late = store.queue().accept(notification(50, 7), NOW).await;
    late.unwrap();
    drop(store);

    let kept = put_back(true).unwrap().replaced;
    let kept = format!("sqlite:{}", kept.unwrap().display());
    for (url, has_late) in [(&url, false), (&kept, true)] {
        let store = Store::open(url, StoreOptions::read_only()).unwrap();
        let pending = store.log().pending(&user(50)).await.unwrap();
        assert_eq!(pending.is_some(), has_late, "{url}");
    }
    // The one that is kept is not overwritten by the next.
    assert!(matches!(put_back(true), Err(BackupError::Exists(_))));
}

#[tokio::test]
async fn a_restore_ends_sessions_and_links_and_names_what_else_was_ended_after_the_backup() {
    let files = Files::new();
    let store = files.filled().await;
    let actor = Actor {
        name: "olga".to_owned(),
        origin: "here".to_owned(),
        at: NOW + MINUTE,
    };
    let signed_in = ["user-1", "user-2", Principal::ALL_OPERATORS];
    let sessions = AuditedPorts::sessions(&store, &actor);
    let mut valid_after_the_backup = Vec::new();
    for subject in signed_in {
        for _ in 0..3 {
            valid_after_the_backup.push((subject, sessions.epoch(subject).await.unwrap()));
            sessions.end_sessions(subject).await.unwrap();
        }
    }
    let tokens = AuditedPorts::tokens(&store, &actor);
    let key = "0123456789abcdef".parse().unwrap();
    assert!(tokens.revoke(&key).await.unwrap());
    drop((sessions, tokens, store));

    let (url, file) = (files.url("postbell.db"), files.path("backup"));
    let restored = restore(&file, &url, Some(&keys()), true, NOW).unwrap();
    assert_eq!(restored.tokens[0].id, key);
    let ended: Vec<_> = restored.ended.unwrap();
    let ended: Vec<_> = ended.iter().map(|entry| &*entry.action).collect();
    assert_eq!(ended, ["token.revoke"]);
    let store = files.store();
    for (subject, epoch) in valid_after_the_backup {
        let now = store.sessions().epoch(subject).await.unwrap();
        assert!(now > epoch + 1_000, "{subject}: {epoch}, {now}");
    }
    let links = store.sessions().links(None, 9, NOW).await.unwrap();
    assert!(links.is_empty());
}

/// Without the store that was there, nothing says what was ended.
#[tokio::test]
async fn a_restore_to_a_new_file_does_not_know_what_was_ended() {
    let files = Files::new();
    drop(files.filled().await);
    let (url, file) = (files.url("restored.db"), files.path("backup"));
    let restored = restore(&file, &url, Some(&keys()), false, NOW).unwrap();
    assert!(restored.ended.is_none());
}

#[tokio::test]
async fn a_store_has_its_name_at_each_moment_while_it_is_replaced() {
    let files = Files::new();
    drop(files.filled().await);
    let (url, path, file) = (
        files.url("postbell.db"),
        files.path("postbell.db"),
        files.path("backup"),
    );
    let is_over = Arc::new(AtomicBool::new(false));
    let watcher = std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let mut missing = 0;
            while !is_over.load(Ordering::Relaxed) {
                missing += usize::from(!path.exists());
            }
            missing
        }
    });
    for _ in 0..10 {
        let restored = restore(&file, &url, Some(&keys()), true, NOW).unwrap();
        fs::remove_file(restored.replaced.unwrap()).unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    assert_eq!(watcher.join().unwrap(), 0);
}

#[tokio::test]
async fn a_restore_that_was_interrupted_before_the_end_is_repeated() {
    let files = Files::new();
    let store = files.filled().await;
    let late = store.queue().accept(notification(50, 7), NOW).await;
    late.unwrap();
    drop(store);
    let (path, kept) = (
        files.path("postbell.db"),
        files.path("postbell.db.before-restore"),
    );
    fs::hard_link(&path, &kept).unwrap();
    fs::write(files.path("postbell.db.part"), "half").unwrap();

    let (url, file) = (files.url("postbell.db"), files.path("backup"));
    restore(&file, &url, Some(&keys()), true, NOW).unwrap();
    let kept = files.url("postbell.db.before-restore");
    for (url, has_late) in [(&url, false), (&kept, true)] {
        let store = Store::open(url, StoreOptions::read_only()).unwrap();
        let pending = store.log().pending(&user(50)).await.unwrap();
        assert_eq!(pending.is_some(), has_late, "{url}");
    }
}
