//! Two streams that are joined until one of them ends.

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

/// How much is read from one end before it is written to the other.
const PIECE: usize = 8 * 1024;

/// All WebSockets that are open. A clone is a handle to the same.
#[derive(Clone, Debug)]
pub(crate) struct Tunnels {
    limits: TunnelLimits,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Tunnels {
    pub(crate) fn new(limits: TunnelLimits) -> Self {
        Self {
            limits,
            room: Arc::new(Semaphore::new(limits.max_open)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    pub(super) fn limits(&self) -> TunnelLimits {
        self.limits
    }

    /// Room for one more, which is taken as long as the value lives; `None` where there is none.
    pub(super) fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_owned().ok()
    }

    /// Joins two streams, once they are there, until one of them ends, nothing comes for too long,
    /// or the controller ends.
    pub(super) fn join<S>(
        &self,
        room: OwnedSemaphorePermit,
        ends: impl Future<Output = Option<(S, S)>> + Send + 'static,
    ) where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let Self { limits, stop, .. } = self.clone();
        self.tasks.spawn(async move {
            let _room = room;
            let joined = async {
                // The caller may never take the answer.
                if let Ok(Some((one, other))) = timeout(limits.handshake, ends).await {
                    run(one, other, limits.idle).await;
                }
            };
            stop.run_until_cancelled(joined).await;
        });
    }

    /// Waits until `stop` is cancelled, then ends all WebSockets.
    pub(crate) async fn end_with(self, stop: CancellationToken) {
        stop.cancelled().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Passes on what comes from either end, until one of them ends, or nothing comes for `idle`.
async fn run<S: AsyncRead + AsyncWrite>(one: S, other: S, idle: Duration) {
    let (mut from_one, mut to_one) = split(one);
    let (mut from_other, mut to_other) = split(other);
    let alive = Notify::new();
    let ended = tokio::select! {
        ended = pump(&mut from_one, &mut to_other, &alive) => ended,
        ended = pump(&mut from_other, &mut to_one, &alive) => ended,
        () = silence(&alive, idle) => {
            debug!("A WebSocket was silent for too long");
            Ok(())
        }
    };
    if let Err(error) = ended {
        debug!(%error, "A WebSocket broke");
    }
    // Whoever is still there learns that it has ended. What the one that ended has said has been
    // written by now.
    let _ = tokio::join!(to_one.shutdown(), to_other.shutdown());
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    alive: &Notify,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return Ok(());
        }
        alive.notify_one();
        to.write_all(&piece[..length]).await?;
        alive.notify_one();
    }
}

/// Completes once nothing has come for so long.
async fn silence(alive: &Notify, idle: Duration) {
    while timeout(idle, alive.notified()).await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};
    use tokio::time::sleep;

    use super::*;

    const IDLE: Duration = Duration::from_secs(600);

    /// A tunnel, and the two ends that people hold.
    fn tunnel(tunnels: &Tunnels) -> Option<(DuplexStream, DuplexStream)> {
        let room = tunnels.room()?;
        let (caller, callers) = duplex(64);
        let (gateway, gateways) = duplex(64);
        tunnels.join(room, async { Some((callers, gateways)) });
        Some((caller, gateway))
    }

    fn tunnels(max_open: usize) -> Tunnels {
        Tunnels::new(TunnelLimits {
            idle: IDLE,
            max_open,
            ..TunnelLimits::default()
        })
    }

    async fn is_joined(from: &mut DuplexStream, to: &mut DuplexStream) {
        from.write_all(b"ping").await.unwrap();
        let mut heard = [0; 4];
        to.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"ping");
    }

    async fn has_ended(end: &mut DuplexStream) {
        assert_eq!(end.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_are_held_for_ten_minutes_and_one_more_is_not() {
        let tunnels = tunnels(100);
        let mut held: Vec<_> = (0..100).map(|_| tunnel(&tunnels).unwrap()).collect();
        assert!(tunnel(&tunnels).is_none());
        for _ in 0..10 {
            sleep(Duration::from_secs(61)).await;
            for (caller, gateway) in &mut held {
                is_joined(caller, gateway).await;
                is_joined(gateway, caller).await;
            }
            assert_eq!(tunnels.tasks.len(), 100);
        }
        drop(held);
        tunnels.tasks.close();
        tunnels.tasks.wait().await;
        assert_eq!(tunnels.room.available_permits(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_silent_from_both_sides_is_ended() {
        let tunnels = tunnels(1);
        let (mut caller, mut gateway) = tunnel(&tunnels).unwrap();
        for _ in 0..3 {
            sleep(IDLE - Duration::from_secs(1)).await;
            is_joined(&mut gateway, &mut caller).await;
        }
        sleep(IDLE + Duration::from_secs(1)).await;
        has_ended(&mut caller).await;
        has_ended(&mut gateway).await;
        assert!(tunnel(&tunnels).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_said_last_arrives_before_the_end() {
        let tunnels = tunnels(1);
        let (mut caller, mut gateway) = tunnel(&tunnels).unwrap();
        let last_words = vec![7; 100_000];
        let said = async {
            gateway.write_all(&last_words).await.unwrap();
            drop(gateway);
        };
        let mut heard = Vec::new();
        let (_, read) = tokio::join!(said, caller.read_to_end(&mut heard));
        read.unwrap();
        assert_eq!(heard, last_words);
    }

    #[tokio::test(start_paused = true)]
    async fn all_end_with_the_controller() {
        let tunnels = tunnels(2);
        let (mut caller, mut gateway) = tunnel(&tunnels).unwrap();
        let never = tunnels.room().unwrap();
        tunnels.join(
            never,
            std::future::pending::<Option<(DuplexStream, DuplexStream)>>(),
        );
        let stop = CancellationToken::new();
        stop.cancel();
        tunnels.clone().end_with(stop).await;
        has_ended(&mut caller).await;
        has_ended(&mut gateway).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_never_takes_the_answer_holds_no_room() {
        let tunnels = tunnels(1);
        let room = tunnels.room().unwrap();
        tunnels.join(
            room,
            std::future::pending::<Option<(DuplexStream, DuplexStream)>>(),
        );
        sleep(Duration::from_secs(6)).await;
        assert!(tunnels.room().is_some());
    }
}
