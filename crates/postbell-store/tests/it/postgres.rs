//! What only a store on a PostgreSQL database can promise.

use std::net::TcpListener;

use postbell_core::{StoreError, Timestamp};
use postbell_store::{Migrated, OpenError, Store, StoreOptions};
use postbell_testkit::PostgresDatabase;

#[test]
fn an_empty_database_is_migrated_once() {
    let database = PostgresDatabase::create();
    let first = Store::migrate(&database.url()).unwrap();
    assert_eq!(first.from, 0);
    let again = Store::migrate(&database.url()).unwrap();
    let latest = first.to;
    let unchanged = Migrated {
        from: latest,
        to: latest,
    };
    assert_eq!(again, unchanged);
}

#[test]
fn two_processes_may_migrate_at_once() {
    let database = PostgresDatabase::create();
    let url = database.url();
    let migrated: Vec<_> = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| Store::migrate(&url).unwrap()));
        both.map(|one| one.join().unwrap()).into()
    });
    let mut from: Vec<_> = migrated.iter().map(|one| one.from).collect();
    from.sort_unstable();
    assert_eq!(from, [0, migrated[0].to]);
}

/// What comes after a migration waits behind it, so one that waited for the end of a backup would stop everything.
#[test]
fn a_migration_gives_way_to_a_session_that_keeps_a_table_locked() {
    let database = PostgresDatabase::create();
    std::thread::scope(|scope| {
        // The table that every migration changes.
        scope.spawn(|| {
            database.execute(
                "BEGIN; LOCK TABLE pg_class IN SHARE MODE;
                DO $$ DECLARE waits bool := false; BEGIN
                    FOR tenth IN 1..300 LOOP
                        PERFORM pg_sleep(0.1);
                        IF EXISTS (SELECT FROM pg_locks WHERE relation = 'pg_class'::regclass AND NOT granted) THEN
                            waits := true;
                        ELSIF waits THEN
                            RETURN;
                        END IF;
                    END LOOP;
                    RAISE EXCEPTION 'the migration does not give way';
                END $$; COMMIT",
            );
        });
        while !database.refuses("BEGIN; LOCK TABLE pg_class IN ROW EXCLUSIVE MODE NOWAIT; COMMIT") {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(Store::migrate(&database.url()).unwrap().from, 0);
    });
}

#[test]
fn a_database_of_an_incompatible_release_is_refused() {
    let database = PostgresDatabase::create();
    Store::migrate(&database.url()).unwrap();
    database.execute("UPDATE schema_version SET version = 1000, min_version = 999");
    let refused = Store::migrate(&database.url()).unwrap_err();
    let expected = matches!(
        refused,
        OpenError::TooNew {
            found: 1000,
            needs: 999,
            ..
        }
    );
    assert!(expected, "{refused:?}");
}

#[test]
fn a_server_that_would_lose_acknowledged_writes_is_refused() {
    let database = PostgresDatabase::create();
    for setting in ["synchronous_commit", "default_transaction_read_only"] {
        let value = if setting.starts_with("sync") {
            "local"
        } else {
            "on"
        };
        let url = format!("{}?options=-c{setting}%3D{value}", database.url());
        let refused = Store::migrate(&url).unwrap_err();
        assert!(matches!(refused, OpenError::Unreachable(_)), "{refused:?}");
    }
    Store::migrate(&database.url()).unwrap();
}

/// A function of the database stands for that of another server.
fn refused_with(function: &str) -> String {
    let database = PostgresDatabase::create();
    database.execute(&format!(
        "CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO PUBLIC;
        CREATE FUNCTION other.{function};
        DO $$ BEGIN
            EXECUTE format('ALTER DATABASE %I SET search_path = public, other, pg_catalog', current_database());
        END $$"
    ));
    match Store::migrate(&database.url()).unwrap_err() {
        OpenError::Unreachable(reason) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_does_not_flush_is_refused() {
    let reason = refused_with(
        "current_setting(name text) RETURNS text LANGUAGE sql AS
        'SELECT CASE name WHEN ''fsync'' THEN ''off'' ELSE pg_catalog.current_setting(name) END'",
    );
    assert!(reason.contains("fsync off"), "{reason}");
}

/// Leases are compared between machines.
#[test]
fn a_server_whose_clock_differs_is_refused() {
    for difference in ["+ interval $$3 s$$", "- interval $$3 s$$"] {
        let reason = refused_with(&format!(
            "clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
            'SELECT pg_catalog.clock_timestamp() {difference}'"
        ));
        assert!(reason.contains("clock of the server"), "{reason}");
    }
}

#[test]
fn a_database_that_is_not_in_utf8_is_refused() {
    let database = PostgresDatabase::create_in("LATIN1");
    let refused = Store::migrate(&database.url()).unwrap_err();
    let OpenError::Unreachable(reason) = &refused else {
        panic!("{refused:?}");
    };
    assert!(reason.to_string().contains("ENCODING 'UTF8'"), "{reason}");
}

/// Accepts connections and says nothing, as the server on a machine whose disk hangs.
fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn a_server_that_says_nothing_does_not_keep_the_next_from_being_tried() {
    let (_silent, port) = silent();
    let database = PostgresDatabase::create();
    let url = database.url().replace('@', &format!("@127.0.0.1:{port},"));
    let url = format!("{url}?connect_timeout=1");
    let store = Store::open(&url, StoreOptions::service()).unwrap();
    assert_eq!(store.users().count().await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_while_the_server_says_nothing() {
    let (_silent, port) = silent();
    let url = format!("postgres://u@127.0.0.1:{port}/db");
    let store = Store::open(&url, StoreOptions::service()).unwrap();
    let error = store.users().count().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let ready = store.queue().check_ready(Timestamp::from_millis(1)).await;
    assert!(ready.is_err());
}

#[test]
fn a_store_is_opened_while_its_database_is_away() {
    Store::open("postgres://u@127.0.0.1:1/none", StoreOptions::service()).unwrap();
}
