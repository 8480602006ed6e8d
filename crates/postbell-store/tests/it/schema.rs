//! Files of another schema version: what is refused, and what is left as it is.

use std::fs;
use std::path::PathBuf;

use postbell_store::{OpenError, Store, StoreOptions};
use rusqlite::Connection;
use tempfile::TempDir;

struct File {
    folder: TempDir,
}

impl File {
    /// A file of the version of this code.
    fn new() -> Self {
        let file = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        drop(Store::open(&file.url(), StoreOptions::service()).unwrap());
        file
    }

    /// A file as version 7 has created it.
    fn of_version_7() -> Self {
        let file = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for migration in [
            include_str!("../../src/sqlite/migrations/0001_queue.sql"),
            include_str!("../../src/sqlite/migrations/0002_seen_by_message.sql"),
            include_str!("../../src/sqlite/migrations/0003_users.sql"),
            include_str!("../../src/sqlite/migrations/0004_hours_and_sign_ins.sql"),
            include_str!("../../src/sqlite/migrations/0005_watch_expiry.sql"),
            include_str!("../../src/sqlite/migrations/0006_pending_sync.sql"),
            include_str!("../../src/sqlite/migrations/0007_failing_since.sql"),
        ] {
            file.change(migration);
        }
        file.change("PRAGMA journal_mode = WAL; PRAGMA user_version = 7");
        file
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("postbell.db")
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    fn change(&self, statements: &str) {
        let db = Connection::open(self.path()).unwrap();
        db.execute_batch(statements).unwrap();
    }

    fn version(&self) -> u32 {
        let db = Connection::open(self.path()).unwrap();
        db.query_row("PRAGMA user_version", [], |row| row.get(0))
            .unwrap()
    }
}

fn every_access() -> [StoreOptions; 4] {
    [
        StoreOptions::read_only(),
        StoreOptions::read_write(),
        StoreOptions::service(),
        StoreOptions::service(),
    ]
}

#[test]
fn a_newer_version_that_this_code_can_work_with_is_accepted_and_kept() {
    let file = File::new();
    file.change("ALTER TABLE pending ADD COLUMN later TEXT; PRAGMA user_version = 99");
    for options in every_access() {
        Store::open(&file.url(), options).unwrap();
    }
    let migrated = Store::migrate(&file.url()).unwrap();
    assert_eq!((migrated.from, migrated.to), (99, 99));
    assert_eq!(file.version(), 99);
}

#[test]
fn a_newer_version_that_this_code_cannot_work_with_is_refused_and_left_as_it_is() {
    let file = File::new();
    file.change("UPDATE compatibility SET min_version = 98; PRAGMA user_version = 99");
    let before = fs::read(file.path()).unwrap();
    for options in every_access() {
        let Err(error) = Store::open(&file.url(), options) else {
            panic!("expected a refusal");
        };
        assert!(
            matches!(
                error,
                OpenError::TooNew {
                    found: 99,
                    needs: 98,
                    ..
                }
            ),
            "{error:?}"
        );
    }
    let migrated = Store::migrate(&file.url());
    assert!(matches!(migrated, Err(OpenError::TooNew { .. })));
    assert_eq!(fs::read(file.path()).unwrap(), before);
}

#[test]
fn an_older_version_is_migrated_by_services_and_on_request_alone() {
    let latest = File::new().version();
    let file = File::of_version_7();
    for options in [StoreOptions::read_only(), StoreOptions::read_write()] {
        let before = fs::read(file.path()).unwrap();
        let Err(error) = Store::open(&file.url(), options) else {
            panic!("expected a refusal");
        };
        assert!(
            matches!(error, OpenError::TooOld { found: 7, .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("postbell migrate"), "{error}");
        assert_eq!(fs::read(file.path()).unwrap(), before);
    }
    let migrated = Store::migrate(&file.url()).unwrap();
    assert_eq!((migrated.from, migrated.to), (7, latest));
    let migrated = Store::migrate(&file.url()).unwrap();
    assert_eq!((migrated.from, migrated.to), (latest, latest));
}
