//! A file is backed up while it is used, and put back.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postbell_core::{PendingRevocation, RevocationId};
use postbell_store::{
    BackupError, KeyRing, NamedKey, Store, StoreOptions, backup, copy, fingerprint, restore,
};
use postbell_testkit::PostgresDatabase;
use rusqlite::Connection;

use crate::copy::{NOW, deliver, fill, notification, user};
use crate::engines;

const USERS: u64 = 5;

pub(crate) fn keys() -> KeyRing {
    engines::keys("the key of the store, of the operator", &[])
}

pub(crate) struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("sqlite:{}", self.path(name).display())
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(
            &self.url("postbell.db"),
            StoreOptions::service().keys(keys()),
        )
        .unwrap()
    }

    /// A store with something in every table, and a backup of it.
    pub(crate) async fn filled(&self) -> Store {
        let store = self.store();
        fill(&store, USERS).await;
        deliver(&store).await;
        let (url, file) = (self.url("postbell.db"), self.path("backup"));
        backup(&url, &file, &[], NOW).unwrap();
        store
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn restore_to(&self, name: &str, from: &Path) -> Result<(), BackupError> {
        restore(from, &self.url(name), Some(&keys()), false, NOW).map(|_| ())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_beside_a_service_that_writes_has_what_was_acknowledged_before() {
    let files = Files::new();
    let store = files.store();
    let queue = store.queue();
    for number in 0..100 {
        queue.accept(notification(number, 7), NOW).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writing = {
        let stop = Arc::clone(&stop);
        async move {
            for number in 100.. {
                queue.accept(notification(number, 7), NOW).await.unwrap();
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
    };
    let (url, file) = (files.url("postbell.db"), files.path("backup"));
    let backing_up = async {
        let made = tokio::task::spawn_blocking(move || backup(&url, &file, &[], NOW)).await;
        stop.store(true, Ordering::Relaxed);
        made.unwrap().unwrap()
    };
    let ((), made) = tokio::join!(writing, backing_up);
    assert!(made.bytes > 0);
    drop(store);

    files
        .restore_to("restored.db", &files.path("backup"))
        .unwrap();
    let restored = Store::open(&files.url("restored.db"), StoreOptions::read_only()).unwrap();
    for number in 0..100 {
        let pending = restored.log().pending(&user(number)).await.unwrap();
        assert!(pending.is_some(), "{number}");
    }
}

#[tokio::test]
async fn a_restored_store_has_the_same_rows_and_its_secrets_can_be_read() {
    let files = Files::new();
    drop(files.filled().await);
    files
        .restore_to("restored.db", &files.path("backup"))
        .unwrap();
    let mut rows = Vec::new();
    for name in ["postbell.db", "restored.db"] {
        let to = files.url(&format!("copy-of-{name}"));
        rows.push(copy(&files.url(name), &to, &mut |_| ()).await.unwrap());
    }
    // A restore ends sessions and links.
    for copied in &mut rows {
        let is_of_access = |name: &str| ["session_epoch", "sign_in_link"].contains(&name);
        copied.tables.retain(|table| !is_of_access(table.table));
    }
    assert_eq!(rows[0], rows[1]);
    let options = StoreOptions::service().keys(keys());
    let restored = Store::open(&files.url("restored.db"), options).unwrap();
    let secret = restored.credentials().credentials(&user(1)).await.unwrap();
    assert!(secret.is_some());
    let db = Connection::open(files.path("restored.db")).unwrap();
    let has_table = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'backup')";
    assert!(
        !db.query_row(has_table, [], |row| row.get::<_, bool>(0))
            .unwrap()
    );
}

#[tokio::test]
async fn a_backup_names_its_keys_and_is_refused_without_them() {
    let files = Files::new();
    let store = files.filled().await;
    let secret = "s".repeat(32).into();
    let named = NamedKey {
        name: "platform.gateway_secret".to_owned(),
        fingerprint: fingerprint(&secret),
    };
    let (url, file) = (files.url("postbell.db"), files.path("second"));
    let made = backup(&url, &file, std::slice::from_ref(&named), NOW).unwrap();
    assert_eq!(made.storage_keys.len(), 1);
    assert_eq!(made.others, std::slice::from_ref(&named));
    assert_eq!(made.users, USERS - 1);
    drop(store);

    let other = KeyRing::new(&secret, &[]);
    let to = files.url("restored.db");
    for keys in [None, Some(&other)] {
        let error = restore(&file, &to, keys, false, NOW).unwrap_err();
        assert!(matches!(error, BackupError::MissingKey(key) if key == made.storage_keys[0]));
        assert!(!files.path("restored.db").exists());
    }
    let read = restore(&file, &to, Some(&keys()), false, NOW)
        .unwrap()
        .backup;
    assert_eq!(read, made);
}

/// A permission whose key is lost stays in the store for a while.
#[tokio::test]
async fn a_backup_needs_no_key_of_a_permission_that_is_to_be_revoked() {
    let files = Files::new();
    let permission = PendingRevocation {
        id: RevocationId([9; 32]),
        secret: "a permission".into(),
        added_at: NOW,
    };
    let revocations = files.store().revocations();
    revocations.add_revocation(&permission, NOW).await.unwrap();
    drop(revocations);
    let file = files.path("backup");
    let made = backup(&files.url("postbell.db"), &file, &[], NOW).unwrap();
    assert_eq!(made.storage_keys, Vec::<String>::new());
    let other = engines::keys("another key of the store, of the operator", &[]);
    let restored = restore(&file, &files.url("restored.db"), Some(&other), false, NOW);
    assert_eq!(restored.unwrap().backup, made);
}

#[tokio::test]
async fn a_damaged_or_foreign_file_is_refused_and_nothing_is_changed() {
    let files = Files::new();
    drop(files.filled().await);
    let whole = fs::read(files.path("backup")).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 4096].fill(0xff);
    let foreign = Connection::open(files.path("foreign.db")).unwrap();
    foreign.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(foreign);
    let foreign = fs::read(files.path("foreign.db")).unwrap();
    // A file that somebody has copied while it was used, without its log.
    let copied = fs::read(files.path("postbell.db")).unwrap();
    let before = files.names();
    for (what, bytes) in [
        ("cut", &whole[..whole.len() - 4096]),
        ("damaged", &damaged),
        ("foreign", &foreign),
        ("a copy", &copied),
        ("a text", b"-- pg_dump"),
        ("empty", b""),
    ] {
        let file = files.path("given");
        fs::write(&file, bytes).unwrap();
        let error = files.restore_to("restored.db", &file).unwrap_err();
        let is_refused = matches!(error, BackupError::NotABackup(_));
        assert!(is_refused, "{what}: {error}");
        fs::remove_file(file).unwrap();
    }
    assert_eq!(files.names(), before);
}

/// They would run in the service, or hide what was changed.
#[tokio::test]
async fn a_backup_with_other_triggers_or_views_is_refused() {
    let files = Files::new();
    drop(files.filled().await);
    for change in [
        "CREATE TRIGGER evil AFTER INSERT ON user_record BEGIN DELETE FROM audit; END",
        "DROP TRIGGER audit_is_kept",
        "DROP TRIGGER audit_is_kept;
         CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit BEGIN SELECT 1; END",
        "ALTER TABLE audit RENAME TO other; CREATE VIEW audit AS SELECT * FROM other",
    ] {
        let file = files.path("changed");
        fs::copy(files.path("backup"), &file).unwrap();
        Connection::open(&file)
            .unwrap()
            .execute_batch(change)
            .unwrap();
        let error = files.restore_to("restored.db", &file).unwrap_err();
        let is_refused = matches!(error, BackupError::NotABackup(_));
        assert!(is_refused, "{change}: {error}");
    }
}

#[tokio::test]
async fn views_and_triggers_of_the_operator_are_named_and_not_in_the_backup() {
    let files = Files::new();
    drop(files.filled().await);
    let db = Connection::open(files.path("postbell.db")).unwrap();
    let added = "CREATE VIEW \"a \"\"report\" AS SELECT user FROM user_record;
        CREATE VIEW backup AS SELECT 1;
        CREATE TRIGGER note INSTEAD OF INSERT ON backup BEGIN SELECT 1; END";
    db.execute_batch(added).unwrap();
    let (url, file) = (files.url("postbell.db"), files.path("second"));
    let made = backup(&url, &file, &[], NOW).unwrap();
    assert_eq!(made.left_out, ["note", "a \"report", "backup"]);
    files.restore_to("restored.db", &file).unwrap();

    db.execute_batch("DROP TRIGGER audit_is_kept").unwrap();
    let error = backup(&url, &files.path("third"), &[], NOW).unwrap_err();
    let expected = "the store cannot be backed up: its audit_is_kept is not that of schema version";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert!(!files.path("third").exists());
}

#[tokio::test]
async fn a_symbolic_link_in_place_of_the_unfinished_file_is_not_followed() {
    let files = Files::new();
    let _store = files.filled().await;
    let other = files.path("other");
    fs::write(&other, "of the service").unwrap();
    std::os::unix::fs::symlink(&other, files.path("second.part")).unwrap();
    let (url, file) = (files.url("postbell.db"), files.path("second"));
    let error = backup(&url, &file, &[], NOW).unwrap_err();
    assert!(matches!(error, BackupError::File(..)), "{error}");
    assert_eq!(fs::read_to_string(&other).unwrap(), "of the service");
}

#[tokio::test]
async fn a_backup_may_have_tables_of_other_programs() {
    let files = Files::new();
    drop(files.filled().await);
    let file = files.path("backup");
    Connection::open(&file)
        .unwrap()
        .execute_batch("CREATE TABLE _litestream_lock (id INTEGER)")
        .unwrap();
    files.restore_to("restored.db", &file).unwrap();
}

#[tokio::test]
async fn what_is_no_file_is_no_backup() {
    let files = Files::new();
    let refused = files.restore_to("restored.db", Path::new("/dev/zero"));
    assert!(matches!(refused, Err(BackupError::NotABackup(_))));
    assert!(files.names().is_empty());
}

/// SQLite has the log beside the file, and the volume of a container has both.
#[tokio::test]
async fn a_store_behind_symbolic_links_is_read_backed_up_and_restored_with_its_log() {
    let files = Files::new();
    fs::create_dir(files.path("volume")).unwrap();
    symlink("link.db", files.path("postbell.db")).unwrap();
    symlink("volume/postbell.db", files.path("link.db")).unwrap();
    // Also through links that lead to no file yet.
    let store = files.store();
    assert!(files.path("volume/postbell.db").exists());
    for number in 0..3 {
        let accepted = store.queue().accept(notification(number, 7), NOW).await;
        accepted.unwrap();
        let reader = Store::open(&files.url("postbell.db"), StoreOptions::read_only()).unwrap();
        let pending = reader.log().pending(&user(number)).await.unwrap();
        assert!(pending.is_some(), "{number}");
    }
    let (url, file) = (files.url("postbell.db"), files.path("backup"));
    backup(&url, &file, &[], NOW).unwrap();
    let late = store.queue().accept(notification(9, 7), NOW).await;
    late.unwrap();
    drop(store);

    let restored = restore(&file, &url, Some(&keys()), true, NOW).unwrap();
    let kept = files.path("volume/postbell.db.before-restore");
    assert_eq!(restored.replaced.unwrap(), kept);
    assert!(files.path("postbell.db").is_symlink() && !kept.is_symlink());
    let store = Store::open(&url, StoreOptions::read_only()).unwrap();
    for (number, is_there) in [(0, true), (2, true), (9, false)] {
        let pending = store.log().pending(&user(number)).await.unwrap();
        assert_eq!(pending.is_some(), is_there, "{number}");
    }
}

#[tokio::test]
async fn a_backup_may_have_any_name() {
    use std::os::unix::ffi::OsStrExt;
    let files = Files::new();
    drop(files.filled().await);
    let url = files.url("postbell.db");
    let before = files.names().len();
    for name in [&b"file:x?mode=memory"[..], b":memory:", b"b\xff"] {
        let file = files.folder.path().join(std::ffi::OsStr::from_bytes(name));
        let made = backup(&url, &file, &[], NOW).unwrap();
        assert!(made.bytes > 0);
        let to = files.url("to");
        restore(&file, &to, Some(&keys()), false, NOW).unwrap();
        fs::remove_file(files.path("to")).unwrap();
        fs::remove_file(file).unwrap();
    }
    assert_eq!(files.names().len(), before);
}

#[tokio::test]
async fn of_several_backups_to_one_file_one_writes_it() {
    let files = Files::new();
    let _store = files.filled().await;
    for round in 0..5 {
        let (url, file) = (files.url("postbell.db"), files.path(&format!("new{round}")));
        let writers: Vec<_> = (0..3)
            .map(|_| {
                let (url, file) = (url.clone(), file.clone());
                std::thread::spawn(move || backup(&url, &file, &[], NOW))
            })
            .collect();
        let results: Vec<_> = writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect();
        let written = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(written, 1, "{results:?}");
        for result in results {
            assert!(
                matches!(
                    result,
                    Ok(_) | Err(BackupError::Exists(_) | BackupError::BeingWritten(_))
                ),
                "{result:?}"
            );
        }
        files
            .restore_to(&format!("restored{round}"), &file)
            .unwrap();
    }
    let parts = files
        .names()
        .into_iter()
        .filter(|name| name.contains(".part"));
    assert_eq!(parts.count(), 0);
}

#[tokio::test]
async fn an_existing_file_is_not_overwritten_by_a_backup() {
    let files = Files::new();
    let _store = files.filled().await;
    let before = fs::read(files.path("backup")).unwrap();
    let (url, file) = (files.url("postbell.db"), files.path("backup"));
    let again = backup(&url, &file, &[], NOW);
    assert!(matches!(again, Err(BackupError::Exists(_))));
    assert_eq!(fs::read(&file).unwrap(), before);
    let postgres = backup("postgres://h/db", &files.path("new"), &[], NOW);
    assert!(matches!(postgres, Err(BackupError::Postgres)));
}

/// A program of PostgreSQL, of the newest version that is installed.
fn program(name: &str) -> Command {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let paths = versions.filter_map(|version| Some(version.ok()?.path().join("bin").join(name)));
    let newest = paths.filter(|path| path.exists()).max();
    Command::new(newest.unwrap_or_else(|| name.into()))
}

#[tokio::test]
async fn a_postgresql_store_in_use_is_dumped_and_restored_by_its_own_programs() {
    let [from, to] = [(); 2].map(|()| PostgresDatabase::create());
    let files = Files::new();
    let file = files.path("postbell.dump");
    let options = StoreOptions::service().keys(keys());
    let store = Store::open(&from.url(), options).unwrap();
    fill(&store, USERS).await;
    deliver(&store).await;
    let mut dump = program("pg_dump");
    dump.args(["--format=custom", "--file"])
        .arg(&file)
        .arg(from.url());
    let mut put_back = program("pg_restore");
    let url = to.url();
    put_back
        .args(["--no-owner", "--exit-on-error", "--dbname", &url])
        .arg(&file);
    for mut command in [dump, put_back] {
        let status = command
            .status()
            .expect("the programs of PostgreSQL are installed");
        assert!(status.success(), "{command:?}");
    }
    drop(store);
    let mut rows = Vec::new();
    for (name, url) in [("from.db", from.url()), ("to.db", to.url())] {
        rows.push(copy(&url, &files.url(name), &mut |_| ()).await.unwrap());
    }
    assert_eq!(rows[0], rows[1]);
    let restored = Store::open(&to.url(), StoreOptions::service().keys(keys())).unwrap();
    let secret = restored.credentials().credentials(&user(1)).await.unwrap();
    assert!(secret.is_some());
}
