//! The port of a child, and whether it accepts connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use postbell_core::{Backoff, Clock};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::supervisor::{Child, ChildState, RunningProcess};

/// The waits between connection attempts.
const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// The time-out of one attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Readiness {
    /// The child does not run, and no start is in progress.
    Down,
    /// The child is being started, or runs and does not listen yet.
    Starting,
    /// The port accepts connections: of this process, or of one that is not supervised here.
    Ready(Option<RunningProcess>),
}

/// The port of a child, and whether it accepts connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Endpoint {
    port: u16,
    /// `None` if the server is not supervised here.
    child: Option<Child>,
    readiness: watch::Receiver<Readiness>,
}

/// Keeps an [`Endpoint`] up to date by connecting to the child's port.
pub(crate) struct ReadinessProbe {
    child: Child,
    port: u16,
    readiness: watch::Sender<Readiness>,
}

impl Endpoint {
    /// Returns the endpoint of a child that is about to be started.
    pub(crate) fn supervised(child: Child, port: u16) -> (Self, ReadinessProbe) {
        let (sender, readiness) = watch::channel(Readiness::Starting);
        let endpoint = Self {
            port,
            child: Some(child.clone()),
            readiness,
        };
        let probe = ReadinessProbe {
            child,
            port,
            readiness: sender,
        };
        (endpoint, probe)
    }

    /// Returns an endpoint that counts as ready as long as this process runs.
    #[must_use]
    pub fn always_ready(port: u16) -> Self {
        Self {
            port,
            child: None,
            readiness: watch::channel(Readiness::Ready(None)).1,
        }
    }

    /// Returns the port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns whether the process runs, even if it does not listen yet.
    pub(crate) fn is_running(&self) -> bool {
        match &self.child {
            Some(child) => child.status().state.running().is_some(),
            None => *self.readiness.borrow() != Readiness::Down,
        }
    }

    /// Returns whether the port accepts connections.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(*self.readiness.borrow(), Readiness::Ready(_))
    }

    /// Returns how long the process has run, or `None` if its port is not ready.
    pub(crate) fn uptime(&self, clock: &dyn Clock) -> Option<Duration> {
        match *self.readiness.borrow() {
            Readiness::Ready(Some(process)) => Some(clock.elapsed().saturating_sub(process.since)),
            // It has run since before this process.
            Readiness::Ready(None) => Some(Duration::MAX),
            Readiness::Down | Readiness::Starting => None,
        }
    }

    /// Returns an endpoint that is ready while the state that was set last is running.
    #[cfg(test)]
    pub(crate) fn for_test() -> (Self, impl Fn(ChildState)) {
        let (sender, readiness) = watch::channel(Readiness::Starting);
        let set = move |state: ChildState| {
            let process = state.running();
            let ready = process.map_or(Readiness::Down, |process| Readiness::Ready(Some(process)));
            sender.send_replace(ready);
        };
        let endpoint = Self {
            port: 9,
            child: None,
            readiness,
        };
        (endpoint, set)
    }

    /// Waits while the child is starting, for `limit` at most, and returns whether it is ready.
    pub(crate) async fn is_ready_within(&self, limit: Duration) -> bool {
        let mut readiness = self.readiness.clone();
        let settled = readiness.wait_for(|readiness| *readiness != Readiness::Starting);
        let settled = timeout(limit, settled).await;
        matches!(settled, Ok(Ok(readiness)) if matches!(*readiness, Readiness::Ready(_)))
    }

    /// Waits until a process other than `last` is ready, and returns it.
    pub(crate) async fn next_ready(&self, last: Option<RunningProcess>) -> Option<RunningProcess> {
        let mut readiness = self.readiness.clone();
        let is_new = |readiness: &Readiness| match readiness {
            Readiness::Ready(process) => process.is_none() || *process != last,
            Readiness::Down | Readiness::Starting => false,
        };
        match readiness.wait_for(is_new).await.map(|ready| *ready) {
            Ok(Readiness::Ready(process)) => process,
            // The probe has ended, so the controller is shutting down.
            _ => std::future::pending().await,
        }
    }
}

impl ReadinessProbe {
    /// Probes until `stop` is cancelled. The child must have been started before.
    pub(crate) async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.probe()).await;
        self.set(Readiness::Down);
    }

    async fn probe(&self) {
        loop {
            let state = self.child.status().state;
            let changed = self.child.wait_for(|status| status.state != state);
            tokio::pin!(changed);
            match state {
                ChildState::Running(process) => {
                    self.set(Readiness::Starting);
                    tokio::select! {
                        status = &mut changed => {
                            if status.is_none() {
                                return;
                            }
                            continue;
                        }
                        () = accepts_connections(self.port) => {}
                    }
                    self.set(Readiness::Ready(Some(process)));
                }
                ChildState::Starting => self.set(Readiness::Starting),
                _ => self.set(Readiness::Down),
            }
            if changed.await.is_none() {
                return;
            }
        }
    }

    fn set(&self, readiness: Readiness) {
        self.readiness.send_replace(readiness);
    }
}

/// Waits until the port accepts a connection.
async fn accepts_connections(port: u16) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    while !matches!(
        timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await,
        Ok(Ok(_))
    ) {
        sleep(backoff.next_wait()).await;
    }
}
