//! Both engines, for tests of what each of them promises.

use postbell_store::{KeyRing, Store, StoreOptions};
use postbell_testkit::{Alerts, Deliveries, PostgresDatabase, UserStore};
use secrecy::SecretString;
use tempfile::TempDir;

/// An empty store of one engine, which is deleted with this value. Several processes may open it.
#[derive(Debug)]
pub(crate) enum Engine {
    Sqlite(TempDir),
    Postgres(PostgresDatabase),
}

impl Engine {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) fn postgres() -> Self {
        Self::Postgres(PostgresDatabase::create())
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite:{}", folder.path().join("p.db").display()),
            Self::Postgres(database) => database.url(),
        }
    }

    /// Makes a race likely: from now on, a row that is written to the table waits between the decision
    /// about it and the write. SQLite writes one transaction after the other.
    pub(crate) fn slow_down(&self, table: &str, seconds: f64) {
        if let Self::Postgres(database) = self {
            database.execute(&format!(
                "CREATE FUNCTION wait_for_{table}() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$"
            ));
            database.execute(&format!(
                "CREATE TRIGGER waits BEFORE INSERT OR UPDATE ON {table}
                 FOR EACH ROW EXECUTE FUNCTION wait_for_{table}()"
            ));
        }
    }

    /// Whether the database refuses a statement, whoever runs it.
    pub(crate) fn refuses(&self, statement: &str) -> bool {
        match self {
            Self::Sqlite(folder) => {
                let db = rusqlite::Connection::open(folder.path().join("p.db")).unwrap();
                db.execute_batch(statement).is_err()
            }
            Self::Postgres(database) => database.refuses(statement),
        }
    }

    /// Opens the store as a platform does.
    pub(crate) fn open(&self, keys: KeyRing) -> Store {
        Store::open(&self.url(), StoreOptions::service().keys(keys)).unwrap()
    }
}

/// Keys of the tests; the first one encrypts.
pub(crate) fn keys(current: &str, older: &[&str]) -> KeyRing {
    let older: Vec<_> = older.iter().map(|key| SecretString::from(*key)).collect();
    KeyRing::new(&current.into(), &older)
}

pub(crate) fn user_store(store: &Store) -> UserStore {
    UserStore {
        users: store.users(),
        credentials: store.credentials(),
        orphaned_machines: store.orphaned_machines(),
    }
}

pub(crate) fn deliveries(store: &Store) -> Deliveries {
    Deliveries {
        queue: store.queue(),
        log: store.log(),
    }
}

pub(crate) fn alerts(store: &Store) -> Alerts {
    Alerts {
        outbox: store.alert_outbox(),
        targets: store.alert_targets(),
    }
}

/// Runs each of the tests below on SQLite and on PostgreSQL.
macro_rules! on_each_engine {
    ($($test:ident)+) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(&crate::engines::Engine::sqlite()).await;
                }
            )+
        }

        mod postgres {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(&crate::engines::Engine::postgres()).await;
                }
            )+
        }
    };
}
pub(crate) use on_each_engine;
