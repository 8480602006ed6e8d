//! One database: a few connections that all ports of a store share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postbell_core::{Changes, StoreError, Timestamp, UserId};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::connection::{self, Connection};
use super::connector::Connector;
use super::failure::Failure;
use super::lanes::Lanes;
use super::session::{Session, Transaction};
use super::unanswered::Unanswered;
use super::url::Target;
use crate::OpenError;
use crate::options::StoreOptions;

/// How many connections the ports share. The lanes of the queue have their own.
const CONNECTIONS: usize = 8;

/// How long a call waits for one of them.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);

/// How long a query may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a transaction may take, with the wait for a standby.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a readiness check takes at most. `postbell healthcheck` waits five seconds.
const CHECK_TIMEOUT: Duration = Duration::from_secs(4);

/// How many connections may wait for the answer to a write that took too long, before further writes fail at once.
const UNANSWERED: usize = 4;

/// One PostgreSQL database. Connects when it is first used, so that a process starts, and answers that
/// the store is unavailable, while the database is.
pub(crate) struct Database {
    pub(super) connector: Arc<Connector>,
    lanes: Lanes,
    changes: Changes,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
    unanswered: Mutex<Unanswered>,
}

/// A connection that returns to the others if its statements came to an end.
struct Leased<'a> {
    connection: Connection,
    _permit: SemaphorePermit<'a>,
}

impl Database {
    /// Prepares the connections to a database. Reads files with certificates, but connects to nothing.
    pub(crate) fn open(target: Target, options: &StoreOptions) -> Result<Self, OpenError> {
        let connector = Arc::new(Connector::new(target, options)?);
        Ok(Self {
            lanes: Lanes::new(Arc::clone(&connector), options.changes.clone()),
            connector,
            changes: options.changes.clone(),
            idle: Mutex::default(),
            permits: Semaphore::new(CONNECTIONS),
            unanswered: Mutex::new(Unanswered::at_most(UNANSWERED)),
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

    /// Runs statements that write and commit by themselves.
    pub(super) async fn run_write<T, F>(
        &self,
        statements: impl FnOnce(Arc<Session>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let leased = self.lease_to_write().await?;
        let statements = statements(leased.connection.session());
        self.written(leased, statements).await
    }

    async fn write_once<T, F>(&self, statements: &impl Fn(Transaction) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let leased = self.lease_to_write().await?;
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
        let outcome = self.written(leased, whole).await;
        if outcome.is_ok() {
            let changed = transaction.take_changed();
            changed.iter().for_each(|user| self.changes.announce(user));
        }
        outcome
    }

    /// Runs statements that write, within their time limit, and gives the connection back, or keeps it beside the others
    /// until the server answers.
    async fn written<T>(
        &self,
        mut leased: Leased<'_>,
        statements: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        const TOO_LONG: Failure = Failure::TimedOut("a write took too long");
        let readiness = self.lanes.readiness();
        let write = readiness.begin();
        let outcome = timeout(WRITE_TIMEOUT, leased.connection.run_write(statements)).await;
        drop(write);
        let Ok(outcome) = outcome else {
            readiness.failed(&Arc::new(TOO_LONG));
            self.idle().clear();
            self.unanswered().keep(leased.connection);
            return Err(TOO_LONG);
        };
        let outcome = outcome.map_err(|failure| {
            if !failure.is_disk_full() {
                return failure;
            }
            let failure = Arc::new(failure);
            readiness.failed(&failure);
            Failure::Group(failure)
        });
        self.give_back(leased, &outcome);
        outcome
    }

    /// Fails while the server cannot be used, or writes to it fail or do not come back.
    pub(super) async fn check_ready(&self, now: Timestamp) -> Result<(), StoreError> {
        self.connector.must_write()?;
        let check = async {
            self.lanes.readiness().check(&self.connector, now).await?;
            self.read::<_, Failure, _>(|db| async move { connection::check_clock(&db).await })
                .await
        };
        let checked = timeout(CHECK_TIMEOUT, check).await;
        let timed_out = Failure::TimedOut("the database does not answer in time");
        Ok(checked.unwrap_or(Err(timed_out))?)
    }

    /// The writes of the queue, which share commits.
    pub(super) const fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Announces that something of `user` has changed, which is committed.
    pub(super) fn announce(&self, user: &UserId) {
        self.changes.announce(user);
    }

    async fn lease_to_write(&self) -> Result<Leased<'_>, Failure> {
        self.connector.must_write()?;
        self.lanes.readiness().admit()?;
        self.unanswered().check()?;
        self.lease().await
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
                None => self.connector.connect().await?,
            },
            _permit: permit,
        })
    }

    /// Keeps a connection for the next call, unless its state is unknown. A failed one closes the others
    /// as well: the server may have changed.
    fn give_back<T>(&self, leased: Leased<'_>, outcome: &Result<T, Failure>) {
        match outcome {
            Err(failure) if !failure.keeps_connection() => self.idle().clear(),
            _ => self.idle().push(leased.connection),
        }
    }

    fn unanswered(&self) -> MutexGuard<'_, Unanswered> {
        let unanswered = self.unanswered.lock();
        unanswered.unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
