//! Whether a child can be reached: its process runs, and its port answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::supervisor::{Child, ChildState};

/// Between the first two tries to reach a port; doubled for each one after.
const FIRST_WAIT: Duration = Duration::from_millis(5);

/// Between two tries, at most.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// How long one try may take: the port is of this machine.
const ONE_TRY: Duration = Duration::from_secs(1);

/// Whether a child can be reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presence {
    /// No process of it runs.
    Away,
    /// It is on its way: about to be started, or started and not listening yet.
    Coming,
    /// It listens.
    There,
}

/// Where a child listens, and whether it does. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    port: u16,
    presence: watch::Receiver<Presence>,
}

impl Door {
    /// The door of a child that is about to be started.
    #[must_use]
    pub fn new(port: u16) -> (Self, watch::Sender<Presence>) {
        let (tell, presence) = watch::channel(Presence::Coming);
        (Self { port, presence }, tell)
    }

    /// The door of what is there as long as this process is.
    #[must_use]
    pub fn always_open(port: u16) -> Self {
        let (_, presence) = watch::channel(Presence::There);
        Self { port, presence }
    }

    /// The door of what is missing as long as this process is there.
    pub(crate) fn closed(port: u16) -> Self {
        let (_, presence) = watch::channel(Presence::Away);
        Self { port, presence }
    }

    /// The port of 127.0.0.1 where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it can be reached now.
    #[must_use]
    pub fn presence(&self) -> Presence {
        *self.presence.borrow()
    }

    /// Waits as long as it is on its way, but no longer than `patience`; says whether it is there.
    pub(crate) async fn open(&self, patience: Duration) -> bool {
        let mut presence = self.presence.clone();
        let decided = presence.wait_for(|presence| *presence != Presence::Coming);
        match timeout(patience, decided).await {
            Ok(Ok(presence)) => *presence == Presence::There,
            Ok(Err(_)) => self.presence() == Presence::There,
            Err(_) => false,
        }
    }

    /// Waits until it is there; never completes where it never will be.
    pub(crate) async fn opened(&self) {
        self.until(|presence| presence == Presence::There).await;
    }

    /// Waits until it is not there.
    pub(crate) async fn left(&self) {
        self.until(|presence| presence != Presence::There).await;
    }

    async fn until(&self, wanted: impl Fn(Presence) -> bool) {
        let mut presence = self.presence.clone();
        if presence.wait_for(|now| wanted(*now)).await.is_err() && !wanted(self.presence()) {
            std::future::pending::<()>().await;
        }
    }
}

/// Keeps `tell` true of a child that listens on `port` of 127.0.0.1, until `stop` is cancelled. The
/// child has been started before.
pub(crate) async fn keep_watch(
    child: Child,
    port: u16,
    tell: watch::Sender<Presence>,
    stop: CancellationToken,
) {
    let watching = async {
        loop {
            let state = child.status().state;
            let changed = child.wait_for(|status| status.state != state);
            tokio::pin!(changed);
            match state {
                ChildState::Starting => {
                    tell.send_replace(Presence::Coming);
                }
                ChildState::Running(_) => {
                    tell.send_replace(Presence::Coming);
                    tokio::select! {
                        _ = &mut changed => continue,
                        () = listens(port) => tell.send_replace(Presence::There),
                    };
                }
                _ => {
                    tell.send_replace(Presence::Away);
                }
            }
            changed.await;
        }
    };
    stop.run_until_cancelled(watching).await;
    tell.send_replace(Presence::Away);
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
