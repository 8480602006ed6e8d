//! One connection: which servers are refused, and which warnings are failures.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use postbell_core::{Clock, SystemClock};
use tokio::time::timeout;
use tokio_postgres::error::Severity;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::{debug, warn};

use super::failure::Failure;
use super::schema;
use super::session::Session;
use super::url::Target;
use crate::columns::{text, time};
use crate::options::Access;

/// How far the clock of the server may differ from that of this machine. Leases, waits and heartbeats of several
/// machines are compared with each other: two relays may differ by twice as much, which with the interval
/// of heartbeats must stay well below [`RELAY_TIMEOUT`](postbell_core::RELAY_TIMEOUT).
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(2);

/// A prepared statement keeps its plan while a table grows, until the statistics of it are renewed: one that was planned
/// for an almost empty table would read the whole of a large one. Compiling statements, which the costs of a sequential
/// scan that remains would then cause, takes longer than any of them.
const USE_INDEXES: &str = "SET enable_seqscan = off; SET jit = off";

type Driver =
    tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// A connection to a server that keeps what it acknowledges.
///
/// Its protocol advances only while [`run`](Self::run) is polled: there is no task that would outlive
/// it. Dropping it closes it; a request to cancel is never sent, because a server that is asked to
/// cancel the wait for a standby reports success.
pub(super) struct Connection {
    session: Arc<Session>,
    driver: Driver,
}

impl Connection {
    /// Connects, and refuses a server that would lose data or has another schema.
    pub(super) async fn open(
        target: &Target,
        encryption: &MakeRustlsConnect,
        access: Access,
    ) -> Result<Self, Failure> {
        let mut connection = Self::open_unchecked(target, encryption, access).await?;
        let session = connection.session();
        let schema = connection.run(async { schema::check(&session).await });
        in_time(target, schema).await?;
        Ok(connection)
    }

    /// Connects to a server whose schema may be of any version. Each address has a limit of its own: one that
    /// accepts connections and then says nothing does not keep the next from being tried.
    pub(super) async fn open_unchecked(
        target: &Target,
        encryption: &MakeRustlsConnect,
        access: Access,
    ) -> Result<Self, Failure> {
        let mut failed = Failure::Unusable("the URL names no server".into());
        for server in target.servers() {
            let addresses = match in_time(target, target.addresses(&server)).await {
                Ok(addresses) => addresses,
                Err(failure) => {
                    failed = failure;
                    continue;
                }
            };
            for address in addresses {
                let connecting = async { Ok(address.connect(encryption.clone()).await?) };
                match in_time(target, connecting).await {
                    Ok(connected) => return Self::configured(target, connected, access).await,
                    Err(failure) => failed = failure,
                }
            }
        }
        Err(failed)
    }

    /// Sets the session up, and refuses a server that would lose data.
    async fn configured(
        target: &Target,
        (client, driver): (Client, Driver),
        access: Access,
    ) -> Result<Self, Failure> {
        let session = Arc::new(Session::new(client, target.prepares));
        let mut connection = Self {
            session: Arc::clone(&session),
            driver,
        };
        let settings = async {
            if target.prepares && access == Access::ReadOnly {
                session
                    .batch("SET default_transaction_read_only = on")
                    .await?;
            }
            if target.prepares {
                session.batch(USE_INDEXES).await?;
            }
            if access != Access::ReadOnly {
                check_settings(&session).await?;
            }
            check_clock(&session).await
        };
        in_time(target, connection.run(settings)).await?;
        Ok(connection)
    }

    pub(super) fn session(&self) -> Arc<Session> {
        Arc::clone(&self.session)
    }

    /// Runs statements on this connection, whatever the server warns about.
    pub(super) async fn run<T>(
        &mut self,
        statements: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let (outcome, warning) = self.drive(statements).await;
        if let Some(warning) = warning {
            debug!(warning, "PostgreSQL warned");
        }
        outcome
    }

    /// Runs statements that write. A warning is a failure: a commit that was not replicated as it must
    /// be is reported as a success with a warning.
    pub(super) async fn run_write<T>(
        &mut self,
        statements: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        match self.drive(statements).await {
            (Ok(_), Some(warning)) => {
                warn!(
                    warning,
                    "PostgreSQL warned about a write, which counts as failed"
                );
                Err(Failure::Warned(warning))
            }
            (outcome, _) => outcome,
        }
    }

    /// Rolls back what is not committed, once the server has answered what was sent before, and closes the connection.
    pub(super) async fn roll_back(mut self) {
        let session = self.session();
        // It fails if the connection was lost, and the transaction with it.
        let _ = self.run(async { session.batch("ROLLBACK").await }).await;
    }

    /// Returns whether the server has closed it, as far as is known without waiting.
    pub(super) fn is_closed(&mut self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        loop {
            match self.driver.poll_message(&mut context) {
                Poll::Pending => return false,
                Poll::Ready(Some(Ok(_))) => (),
                Poll::Ready(None | Some(Err(_))) => return true,
            }
        }
    }

    /// Polls the protocol and the statements, and returns the last warning. The server sends a warning
    /// before the result of its statement, and all that has arrived is read first.
    async fn drive<T>(
        &mut self,
        statements: impl Future<Output = Result<T, Failure>>,
    ) -> (Result<T, Failure>, Option<String>) {
        let mut statements = pin!(statements);
        let mut warning = None;
        let outcome = poll_fn(|context| {
            loop {
                match self.driver.poll_message(context) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(AsyncMessage::Notice(notice)))) => {
                        if notice.parsed_severity() == Some(Severity::Warning) {
                            warning = Some(notice.message().to_owned());
                        }
                    }
                    Poll::Ready(Some(Ok(_))) => (),
                    Poll::Ready(None) => {
                        let closed = "the server has closed the connection";
                        return Poll::Ready(Err(Failure::Connection(closed.into())));
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.into())),
                }
            }
            statements.as_mut().poll(context)
        });
        let outcome = outcome.await;
        (outcome, warning)
    }
}

/// Runs one step of connecting, which has the limit of the URL.
pub(super) async fn in_time<T>(
    target: &Target,
    step: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let outcome = timeout(target.limit(), step).await;
    outcome.unwrap_or(Err(Failure::TimedOut("connecting took too long")))
}

const SETTINGS: &str = "
    SELECT current_setting('transaction_read_only') AS read_only, current_setting('fsync') AS fsync,
        current_setting('synchronous_commit') AS synchronous_commit,
        current_setting('server_encoding') AS encoding";

const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8 AS now";

/// Fails if the server would not keep what it acknowledges, or not as it is.
async fn check_settings(session: &Session) -> Result<(), Failure> {
    let row = session.query_one(SETTINGS, &[]).await?;
    if text(&row, "read_only")? == "on" {
        return unusable(
            "the server accepts no writes: it is a standby, or default_transaction_read_only is on",
        );
    }
    if text(&row, "fsync")? != "on" {
        return unusable("the server has fsync off, which loses data when it stops unexpectedly");
    }
    if text(&row, "encoding")? != "UTF8" {
        return unusable(
            "the database's encoding is not UTF8: create it with ENCODING 'UTF8' TEMPLATE template0",
        );
    }
    if !matches!(&*text(&row, "synchronous_commit")?, "on" | "remote_apply") {
        return unusable(
            "the server has synchronous_commit below on, which loses acknowledged writes",
        );
    }
    Ok(())
}

/// Fails if the clock of the server and that of this machine differ too much.
pub(super) async fn check_clock(session: &Session) -> Result<(), Failure> {
    let clock = SystemClock::new();
    let before = clock.now();
    let row = session.query_one(NOW, &[]).await?;
    let server = time(&row, "now")?;
    let is_early = server + CLOCK_DIFFERENCE < before;
    let is_late = server > clock.now() + CLOCK_DIFFERENCE;
    if is_early || is_late {
        let difference = if is_early {
            before - server
        } else {
            server - before
        };
        let seconds = difference.as_secs();
        return unusable(&format!(
            "the clock of the server and that of this machine differ by {seconds} seconds: set both with NTP"
        ));
    }
    Ok(())
}

fn unusable<T>(why: &str) -> Result<T, Failure> {
    Err(Failure::Unusable(why.into()))
}
