//! One database: a few connections that all ports of a store share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postbell_core::{Changes, StoreError, Timestamp};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connection::{self, Connection};
use super::failure::Failure;
use super::session::{Session, Transaction};
use super::url::Target;
use super::{reencryption, schema};
use crate::options::{Access, StoreOptions};
use crate::{KeyRing, Migrated, OpenError};

/// How many connections the ports share. The lanes of the queue have their own.
const CONNECTIONS: usize = 8;

/// How long a call waits for one of them.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);

/// How long a query may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a transaction may take, with the wait for a standby.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// One PostgreSQL database. Connects when it is first used, so that a process starts, and answers that
/// the store is unavailable, while the database is.
pub(crate) struct Database {
    target: Target,
    encryption: MakeRustlsConnect,
    access: Access,
    creates: bool,
    keys: Option<Arc<KeyRing>>,
    changes: Changes,
    /// Set once the schema is known to be this version's.
    is_prepared: OnceCell<()>,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

/// A connection that returns to the others if its statements came to an end.
struct Leased<'a> {
    connection: Connection,
    _permit: SemaphorePermit<'a>,
}

impl Database {
    /// Prepares the connections to a database. Reads files with certificates, but connects to nothing.
    pub(crate) fn open(target: Target, options: &StoreOptions) -> Result<Self, OpenError> {
        Ok(Self {
            encryption: target.encryption()?,
            target,
            access: options.access,
            creates: options.create,
            keys: options.keys.clone(),
            changes: options.changes.clone(),
            is_prepared: OnceCell::new(),
            idle: Mutex::default(),
            permits: Semaphore::new(CONNECTIONS),
        })
    }

    /// Runs a query on what is committed.
    ///
    /// The closure gets a session by value, so that its future borrows nothing from the caller's frame
    /// but what it names: `|db| async move { … }`.
    pub(super) async fn read<T, E, F>(&self, query: impl FnOnce(Arc<Session>) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, Failure>>,
        E: From<Failure>,
    {
        let answer = async {
            let mut leased = self.lease().await?;
            let query = query(leased.connection.session());
            let answer = leased.connection.run(query);
            let answer = timeout(READ_TIMEOUT, answer).await;
            let answer = answer.unwrap_or(Err(Failure::TimedOut("a query took too long")));
            self.give_back(leased, &answer);
            answer
        };
        answer.await.map_err(E::from)
    }

    /// Runs `statements` in a transaction and returns once it is durable and its changes are announced.
    ///
    /// The isolation is READ COMMITTED: what must not change between two statements has to be locked.
    /// The statements run again, once, if they met a deadlock or a conflict. An error of which it is
    /// unknown whether the commit took effect is one of availability: the caller's peer repeats.
    pub(super) async fn write<T, E, F>(&self, statements: impl Fn(Transaction) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, Failure>>,
        E: From<Failure>,
    {
        let outcome = match self.write_once(&statements).await {
            Err(failure) if failure.is_conflict() => self.write_once(&statements).await,
            outcome => outcome,
        };
        outcome.map_err(E::from)
    }

    async fn write_once<T, F>(&self, statements: &impl Fn(Transaction) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.must_write()?;
        let mut leased = self.lease().await?;
        let transaction = Transaction::new(leased.connection.session());
        let statements = statements(transaction.clone());
        let whole = async {
            transaction.batch("BEGIN").await?;
            let outcome = statements.await;
            let end = if outcome.is_ok() {
                "COMMIT"
            } else {
                "ROLLBACK"
            };
            transaction.batch(end).await?;
            outcome
        };
        let outcome = timeout(WRITE_TIMEOUT, leased.connection.run_write(whole)).await;
        let outcome = outcome.unwrap_or(Err(Failure::TimedOut("a write took too long")));
        self.give_back(leased, &outcome);
        if outcome.is_ok() {
            let changed = transaction.take_changed();
            changed.iter().for_each(|user| self.changes.announce(user));
        }
        outcome
    }

    /// Fails while the server cannot be used.
    pub(super) async fn check_ready(&self, _now: Timestamp) -> Result<(), StoreError> {
        self.must_write()?;
        self.read(|db| async move { connection::check_clock(&db).await })
            .await
    }

    /// Opens a connection of its own, for a lane.
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let prepared = self.is_prepared.get_or_try_init(|| self.prepare());
        prepared.await?;
        Connection::open(&self.target, &self.encryption, self.access).await
    }

    /// The announcements of this process.
    pub(super) const fn changes(&self) -> &Changes {
        &self.changes
    }

    pub(super) fn must_write(&self) -> Result<(), Failure> {
        match self.access {
            Access::ReadOnly => Err(Failure::ReadOnly),
            Access::ReadWrite | Access::Migrate => Ok(()),
        }
    }

    /// Creates or migrates the schema, as far as this process may.
    async fn prepare(&self) -> Result<(), Failure> {
        let mut connection =
            Connection::open_unchecked(&self.target, &self.encryption, self.access).await?;
        let session = connection.session();
        let version = connection.run(async { schema::version(&session).await });
        let is_new = version.await?.is_none();
        if self.access == Access::Migrate || (is_new && self.creates) {
            migrate_on(&mut connection).await?;
        }
        match &self.keys {
            Some(keys) if self.access == Access::Migrate => {
                reencryption::reencrypt(&mut connection, keys).await
            }
            _ => Ok(()),
        }
    }

    async fn lease(&self) -> Result<Leased<'_>, Failure> {
        let overloaded = || Failure::Overloaded("too many calls wait for a connection");
        let permit = timeout(CONNECTION_WAIT, self.permits.acquire()).await;
        let permit = permit.map_err(|_| overloaded())?;
        let permit = permit.map_err(|_| overloaded())?;
        let idle = std::iter::from_fn(|| self.idle().pop());
        let mut usable = idle.filter_map(|mut one| (!one.is_closed()).then_some(one));
        let idle = usable.next();
        Ok(Leased {
            connection: match idle {
                Some(connection) => connection,
                None => self.connect().await?,
            },
            _permit: permit,
        })
    }

    /// Keeps a connection for the next call, unless its state is unknown. A failed one closes the others
    /// as well: the server may have changed.
    fn give_back<T>(&self, leased: Leased<'_>, outcome: &Result<T, Failure>) {
        match outcome {
            Err(Failure::Connection(_) | Failure::TimedOut(_) | Failure::Warned(_)) => {
                self.idle().clear();
            }
            _ => self.idle().push(leased.connection),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings a database to the latest version.
///
/// Blocks: call it before serving, not while.
pub(crate) fn migrate(target: &Target) -> Result<Migrated, OpenError> {
    let encryption = target.encryption()?;
    let migrated = std::thread::scope(|scope| {
        let migrated = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.map_err(|error| Failure::Unusable(error.into()))?;
            runtime.block_on(async {
                let connection =
                    Connection::open_unchecked(target, &encryption, Access::Migrate).await;
                migrate_on(&mut connection?).await
            })
        });
        let panicked = || Failure::Unusable("the migration panicked".into());
        migrated.join().unwrap_or_else(|_| Err(panicked()))
    });
    Ok(migrated?)
}

async fn migrate_on(connection: &mut Connection) -> Result<Migrated, Failure> {
    let session = connection.session();
    connection
        .run_write(async { schema::migrate(&session).await })
        .await
}
