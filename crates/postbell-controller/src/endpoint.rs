//! Where a child listens, and whether it does.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::supervisor::{Alive, Child, ChildState};

/// Between the first two tries to reach a port; doubled for each one after.
const FIRST_WAIT: Duration = Duration::from_millis(5);

/// Between two tries, at most.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// How long one try may take: the port is of this machine.
const ONE_TRY: Duration = Duration::from_secs(1);

/// Whether a child can be reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reachability {
    /// It does not run, and will not at once.
    Down,
    /// It is about to be started, or was and does not listen yet.
    Starting,
    /// It listens: this process of it, or one that nobody here supervises.
    Listening(Option<Alive>),
}

/// Where a child listens, and whether it does. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Endpoint {
    port: u16,
    /// Where there is none, whoever listens there is as old as this process.
    child: Option<Child>,
    reachability: watch::Receiver<Reachability>,
}

/// Keeps an [`Endpoint`] true.
pub(crate) struct Lookout {
    child: Child,
    port: u16,
    tell: watch::Sender<Reachability>,
}

impl Endpoint {
    /// Where a child will listen that is about to be started.
    pub(crate) fn of(child: Child, port: u16) -> (Self, Lookout) {
        let (tell, reachability) = watch::channel(Reachability::Starting);
        let endpoint = Self {
            port,
            child: Some(child.clone()),
            reachability,
        };
        (endpoint, Lookout { child, port, tell })
    }

    /// Where somebody listens as long as this process runs.
    #[must_use]
    pub fn always_there(port: u16) -> Self {
        let (_, reachability) = watch::channel(Reachability::Listening(None));
        Self {
            port,
            child: None,
            reachability,
        }
    }

    /// Where nobody listens as long as this process runs.
    pub(crate) fn never_there(port: u16) -> Self {
        let (_, reachability) = watch::channel(Reachability::Down);
        Self {
            port,
            child: None,
            reachability,
        }
    }

    /// The port of 127.0.0.1 where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether its process runs, whether it listens or not.
    pub(crate) fn runs(&self) -> bool {
        match &self.child {
            Some(child) => child.status().state.running().is_some(),
            None => *self.reachability.borrow() != Reachability::Down,
        }
    }

    /// Waits while it is starting, but no longer than `patience`; says whether it listens.
    pub(crate) async fn listens_within(&self, patience: Duration) -> bool {
        let mut reachability = self.reachability.clone();
        let decided = reachability.wait_for(|now| *now != Reachability::Starting);
        let decided = timeout(patience, decided).await;
        matches!(decided, Ok(Ok(now)) if matches!(*now, Reachability::Listening(_)))
    }

    /// Waits until a process listens other than `last`, and says which.
    pub(crate) async fn listens_anew(&self, last: Option<Alive>) -> Option<Alive> {
        let mut reachability = self.reachability.clone();
        let is_new = |now: &Reachability| match now {
            Reachability::Listening(alive) => alive.is_none() || *alive != last,
            Reachability::Down | Reachability::Starting => false,
        };
        match reachability.wait_for(is_new).await.map(|now| *now) {
            Ok(Reachability::Listening(alive)) => alive,
            // Nobody looks any more: the controller ends.
            _ => std::future::pending().await,
        }
    }
}

impl Lookout {
    /// Looks until `stop` is cancelled. The child has been started before.
    pub(crate) async fn keep(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.look()).await;
        self.tell.send_replace(Reachability::Down);
    }

    /// Says that the child is not going to be started.
    pub(crate) fn give_up(self) {
        self.tell.send_replace(Reachability::Down);
    }

    async fn look(&self) {
        loop {
            let state = self.child.status().state;
            let changed = self.child.wait_for(|status| status.state != state);
            tokio::pin!(changed);
            match state {
                ChildState::Running(alive) => {
                    self.tell.send_replace(Reachability::Starting);
                    tokio::select! {
                        status = &mut changed => {
                            if status.is_none() {
                                return;
                            }
                            continue;
                        }
                        () = listens(self.port) => {}
                    }
                    self.tell.send_replace(Reachability::Listening(Some(alive)));
                }
                ChildState::Starting => {
                    self.tell.send_replace(Reachability::Starting);
                }
                _ => {
                    self.tell.send_replace(Reachability::Down);
                }
            }
            if changed.await.is_none() {
                return;
            }
        }
    }
}

/// Completes once something listens on the port.
async fn listens(port: u16) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut wait = FIRST_WAIT;
    while !matches!(
        timeout(ONE_TRY, TcpStream::connect(address)).await,
        Ok(Ok(_))
    ) {
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
