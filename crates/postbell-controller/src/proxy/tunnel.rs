//! Open WebSockets: pairs of streams that are connected until one of them ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::settings::TunnelLimits;

const BUFFER_SIZE: usize = 8 * 1024;

/// All open WebSockets. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Tunnels {
    limits: TunnelLimits,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Tunnels {
    pub(crate) fn new(limits: TunnelLimits) -> Self {
        Self {
            limits,
            permits: Arc::new(Semaphore::new(limits.max_open)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    pub(super) fn limits(&self) -> TunnelLimits {
        self.limits
    }

    /// Returns the permit for one more WebSocket, or `None` if the limit is reached.
    pub(super) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// Connects two streams until one of them ends, both are silent for too long, or the controller
    /// shuts down.
    pub(super) fn connect<S>(
        &self,
        permit: OwnedSemaphorePermit,
        streams: impl Future<Output = Option<(S, S)>> + Send + 'static,
    ) where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let Self { limits, stop, .. } = self.clone();
        self.tasks.spawn(async move {
            let _permit = permit;
            let connected = async {
                // The caller may never read the handshake response.
                if let Ok(Some((one, other))) = timeout(limits.handshake, streams).await {
                    copy_both(one, other, limits.idle).await;
                }
            };
            stop.run_until_cancelled(connected).await;
        });
    }

    /// Waits until `stop` is cancelled, then closes all WebSockets.
    pub(crate) async fn close_on(self, stop: CancellationToken) {
        stop.cancelled().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Copies in both directions until one stream ends or both are silent for `idle`.
async fn copy_both<S: AsyncRead + AsyncWrite>(one: S, other: S, idle: Duration) {
    let (mut from_one, mut to_one) = split(one);
    let (mut from_other, mut to_other) = split(other);
    let activity = Notify::new();
    let ended = tokio::select! {
        ended = copy(&mut from_one, &mut to_other, &activity) => ended,
        ended = copy(&mut from_other, &mut to_one, &activity) => ended,
        () = idle_timeout(&activity, idle) => {
            debug!("Closed an idle WebSocket");
            Ok(())
        }
    };
    if let Err(error) = ended {
        debug!(%error, "A WebSocket failed");
    }
    // The other side is closed, too. Everything that was read has been written.
    let _ = tokio::join!(to_one.shutdown(), to_other.shutdown());
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    activity: &Notify,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_SIZE];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        activity.notify_one();
        to.write_all(&buffer[..length]).await?;
        activity.notify_one();
    }
}

/// Completes after `idle` without activity.
async fn idle_timeout(activity: &Notify, idle: Duration) {
    while timeout(idle, activity.notified()).await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};
    use tokio::time::sleep;

    use super::*;

    const IDLE: Duration = Duration::from_secs(600);

    /// Opens a tunnel and returns the far ends of its streams.
    fn tunnel(tunnels: &Tunnels) -> Option<(DuplexStream, DuplexStream)> {
        let permit = tunnels.permit()?;
        let (caller, caller_stream) = duplex(64);
        let (gateway, gateway_stream) = duplex(64);
        tunnels.connect(permit, async { Some((caller_stream, gateway_stream)) });
        Some((caller, gateway))
    }

    fn tunnels(max_open: usize) -> Tunnels {
        Tunnels::new(TunnelLimits {
            idle: IDLE,
            max_open,
            ..TunnelLimits::default()
        })
    }

    async fn assert_connected(from: &mut DuplexStream, to: &mut DuplexStream) {
        from.write_all(b"ping").await.unwrap();
        let mut read = [0; 4];
        to.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"ping");
    }

    async fn assert_closed(end: &mut DuplexStream) {
        assert_eq!(end.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_is_a_hundred_long_lived_tunnels() {
        let tunnels = tunnels(100);
        let mut open: Vec<_> = (0..100).map(|_| tunnel(&tunnels).unwrap()).collect();
        assert!(tunnel(&tunnels).is_none());
        for _ in 0..10 {
            sleep(Duration::from_secs(61)).await;
            for (caller, gateway) in &mut open {
                assert_connected(caller, gateway).await;
                assert_connected(gateway, caller).await;
            }
            assert_eq!(tunnels.tasks.len(), 100);
        }
        drop(open);
        tunnels.tasks.close();
        tunnels.tasks.wait().await;
        assert_eq!(tunnels.permits.available_permits(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_that_is_silent_in_both_directions_is_closed() {
        let tunnels = tunnels(1);
        let (mut caller, mut gateway) = tunnel(&tunnels).unwrap();
        for _ in 0..3 {
            sleep(IDLE - Duration::from_secs(1)).await;
            assert_connected(&mut gateway, &mut caller).await;
        }
        sleep(IDLE + Duration::from_secs(1)).await;
        assert_closed(&mut caller).await;
        assert_closed(&mut gateway).await;
        assert!(tunnel(&tunnels).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn data_before_the_close_arrives() {
        let tunnels = tunnels(1);
        let (mut caller, mut gateway) = tunnel(&tunnels).unwrap();
        let data = vec![7; 100_000];
        let writing = async {
            gateway.write_all(&data).await.unwrap();
            drop(gateway);
        };
        let mut received = Vec::new();
        let (_, read) = tokio::join!(writing, caller.read_to_end(&mut received));
        read.unwrap();
        assert_eq!(received, data);
    }

    #[tokio::test(start_paused = true)]
    async fn all_tunnels_are_closed_at_shutdown() {
        let tunnels = tunnels(2);
        let (mut caller, mut gateway) = tunnel(&tunnels).unwrap();
        let permit = tunnels.permit().unwrap();
        tunnels.connect(
            permit,
            std::future::pending::<Option<(DuplexStream, DuplexStream)>>(),
        );
        let stop = CancellationToken::new();
        stop.cancel();
        tunnels.clone().close_on(stop).await;
        assert_closed(&mut caller).await;
        assert_closed(&mut gateway).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_handshake_frees_its_permit() {
        let tunnels = tunnels(1);
        let permit = tunnels.permit().unwrap();
        tunnels.connect(
            permit,
            std::future::pending::<Option<(DuplexStream, DuplexStream)>>(),
        );
        sleep(Duration::from_secs(6)).await;
        assert!(tunnels.permit().is_some());
    }
}
