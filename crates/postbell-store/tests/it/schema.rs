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
        drop(Store::open(&file.url(), StoreOptions::platform()).unwrap());
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
        StoreOptions::platform(),
        StoreOptions::relay(),
    ]
}

#[test]
fn a_newer_version_that_this_code_can_work_with_is_accepted_and_kept() {
    let file = File::new();
    file.change("ALTER TABLE mailbox ADD COLUMN later TEXT; PRAGMA user_version = 99");
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
    let file = File::new();
    let latest = file.version();
    file.change(
        "ALTER TABLE mailbox RENAME COLUMN cooldown_until TO rests_until;
         ALTER TABLE mailbox RENAME COLUMN attempt TO failures;
         ALTER TABLE mailbox RENAME COLUMN consecutive_failures TO failed;
         ALTER TABLE delivery RENAME COLUMN attempt TO failures;
         ALTER TABLE dead_letter RENAME COLUMN dead_lettered_at TO buried_at;
         ALTER TABLE user_record DROP COLUMN mail_dead_letters;
         DROP TABLE alert;
         DROP TABLE alert_mark;
         DROP TABLE alert_target;
         DROP INDEX mailbox_parked;
         ALTER TABLE mailbox DROP COLUMN parked_for;
         ALTER TABLE mailbox DROP COLUMN checked_in_at;
         DROP TABLE queue_clock;
         DROP TABLE write_probe;
         DROP TABLE dead_letter_dropped;
         DROP INDEX user_record_by_problem;
         ALTER TABLE user_record DROP COLUMN problem_code;
         ALTER TABLE user_record DROP COLUMN problem_since;
         DROP INDEX user_record_by_sandbox;
         DROP INDEX user_record_by_email;
         DROP INDEX user_record_by_mailbox;
         DROP INDEX user_record_by_machine;
         DROP INDEX user_record_pending_sync;
         DROP INDEX seen_message_by_time;
         DROP TRIGGER user_added;
         DROP TRIGGER user_removed;
         ALTER TABLE seen_message RENAME TO seen;
         ALTER TABLE user_count RENAME TO instance_count;
         ALTER TABLE user_record RENAME TO instance;
         ALTER TABLE instance RENAME COLUMN pending_sync TO untold;
         ALTER TABLE orphaned_machine RENAME TO left_machine;
         ALTER TABLE credential RENAME COLUMN key_id TO sealed_with;
         ALTER TABLE credential RENAME COLUMN ciphertext TO sealed;
         DROP TABLE compatibility;
         ALTER TABLE delivery DROP COLUMN failure_kind;
         ALTER TABLE dead_letter DROP COLUMN failure_kind;
         PRAGMA user_version = 7",
    );
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
