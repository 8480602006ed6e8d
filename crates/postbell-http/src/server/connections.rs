//! The open connections of a server, and which of them are closed to make room for another.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use axum::http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// The part of all connections that is closed at once to make room: a flood must not cause a search
/// for each of its connections.
const BATCH: usize = 64;

/// The open connections of a server.
///
/// At the limit, a new connection takes the place of idle ones, which have no request in flight: first
/// those that have never shown anything but refused requests, of these first those of the address with
/// the most connections, and of these the ones that are idle for longest. So neither many connections
/// of one client nor slow ones keep a health check or a push out.
///
/// A request changes only its own connection, without a lock.
pub(super) struct Connections {
    limit: usize,
    /// Cancelled when the server is to stop.
    stop: CancellationToken,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    /// Numbers connections and the moments at which they become idle.
    next: AtomicU64,
    /// Notified when a connection has ended or has become idle.
    freed: Notify,
}

struct Connection {
    client: IpAddr,
    /// The requests in flight: with HTTP/1.1 one at most.
    in_flight: AtomicUsize,
    /// When its last request ended.
    used_at: AtomicU64,
    /// Whether a request was answered with another status than 4xx: a health check, a page, or a
    /// request that was authenticated.
    is_useful: AtomicBool,
    /// Since when it was idle when idle ones were closed last; 0 if it was not.
    was_idle_since: AtomicU64,
    is_evicted: AtomicBool,
    /// Its own, because with each part of a request that arrives, the connection's task locks it.
    ending: CancellationToken,
}

/// The address from which a request came: an extension of each. For a unix socket it is the loopback address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientAddress(pub IpAddr);

/// The place of an open connection. It becomes free when this is dropped.
pub(super) struct Slot {
    connections: Arc<Connections>,
    id: u64,
    connection: Arc<Connection>,
    /// The peer that opened it.
    pub(super) client: ClientAddress,
    /// Cancelled when the connection is evicted, or the server is to stop.
    pub(super) ending: CancellationToken,
}

/// A request in flight, until its response is sent or dropped.
pub(super) struct InFlight(Arc<Slot>);

impl Connections {
    pub(super) fn new(limit: usize, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            limit,
            stop,
            open: Mutex::default(),
            next: AtomicU64::default(),
            freed: Notify::new(),
        })
    }

    /// Takes a place for a client's connection, as soon as there is one.
    pub(super) async fn take(self: &Arc<Self>, client: IpAddr) -> Slot {
        loop {
            let freed = self.freed.notified();
            if let Some(slot) = self.try_take(client) {
                return slot;
            }
            freed.await;
        }
    }

    fn try_take(self: &Arc<Self>, client: IpAddr) -> Option<Slot> {
        let mut open = self.open.lock();
        if open.len() >= self.limit {
            evict(&mut open, (self.limit / BATCH).max(1));
        }
        if open.len() >= self.limit {
            return None;
        }
        let id = self.number();
        let ending = self.stop.child_token();
        let connection = Arc::new(Connection {
            client: network(client),
            in_flight: AtomicUsize::default(),
            used_at: AtomicU64::new(id),
            is_useful: AtomicBool::default(),
            was_idle_since: AtomicU64::default(),
            is_evicted: AtomicBool::default(),
            ending: ending.clone(),
        });
        open.insert(id, Arc::clone(&connection));
        Some(Slot {
            connections: Arc::clone(self),
            id,
            connection,
            client: ClientAddress(client),
            ending,
        })
    }

    /// Ends the connections that were idle all the time since the last call: also those on which a request's head has not
    /// arrived completely since then. A request that has come since then is answered.
    pub(super) fn close_unused(&self) {
        for connection in self.open.lock().values() {
            let idle_since = connection.idle_since().unwrap_or_default();
            let before = connection
                .was_idle_since
                .swap(idle_since, Ordering::Relaxed);
            if idle_since != 0 && idle_since == before {
                connection.ending.cancel();
            }
        }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Connection {
    /// Returns the number of the moment since which the connection is idle, unless a request is in flight.
    fn idle_since(&self) -> Option<u64> {
        let is_idle = self.in_flight.load(Ordering::Acquire) == 0;
        is_idle.then(|| self.used_at.load(Ordering::Acquire))
    }

    fn evict(&self) {
        self.is_evicted.store(true, Ordering::Release);
        self.ending.cancel();
    }
}

/// Closes up to `count` idle connections.
fn evict(open: &mut HashMap<u64, Arc<Connection>>, count: usize) {
    let mut of_client: HashMap<IpAddr, usize> = HashMap::new();
    for connection in open.values() {
        *of_client.entry(connection.client).or_default() += 1;
    }
    let mut idle: Vec<_> = open
        .iter()
        .filter_map(|(id, it)| {
            let is_useful = it.is_useful.load(Ordering::Relaxed);
            let rank = (is_useful, Reverse(of_client[&it.client]), it.idle_since()?);
            Some((rank, *id))
        })
        .collect();
    idle.sort_unstable();
    idle.truncate(count);
    for (_, id) in &idle {
        if let Some(connection) = open.remove(id) {
            connection.evict();
        }
    }
    debug!(closed = idle.len(), "Closed idle connections to make room");
}

impl Slot {
    /// Marks the begin of a request.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.connection.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(Arc::clone(self))
    }

    /// Whether the connection is to be closed although the server goes on.
    pub(super) fn is_evicted(&self) -> bool {
        self.connection.is_evicted.load(Ordering::Acquire)
    }
}

impl InFlight {
    /// Records the answer.
    pub(super) fn answered(&self, status: StatusCode) {
        if !status.is_client_error() {
            self.0.connection.is_useful.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Slot {
            connections,
            connection,
            ..
        } = &*self.0;
        // First, so that the connection is never idle since an earlier moment.
        connection
            .used_at
            .store(connections.number(), Ordering::Release);
        connection.in_flight.fetch_sub(1, Ordering::AcqRel);
        connections.freed.notify_one();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.open.lock().remove(&self.id);
        self.connections.freed.notify_one();
    }
}

/// The address by which connections are counted: of IPv6 the first 64 bits, because a client has as
/// many addresses below them as it likes (RFC 4291, section 2.5.4).
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(prefix).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const ANN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const BOB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    async fn take(connections: &Arc<Connections>, client: IpAddr) -> Arc<Slot> {
        Arc::new(connections.take(client).await)
    }

    fn evicted(slots: &[Arc<Slot>]) -> Vec<bool> {
        slots.iter().map(|it| it.is_evicted()).collect()
    }

    #[tokio::test]
    async fn the_busiest_address_loses_its_oldest_idle_connection_first() {
        let connections = Connections::new(4, CancellationToken::new());
        let mut slots = vec![take(&connections, BOB).await];
        for _ in 0..3 {
            slots.push(take(&connections, ANN).await);
        }
        // The oldest of the busiest becomes the newest of its idle ones.
        slots[1].begin().answered(StatusCode::UNAUTHORIZED);
        slots.push(take(&connections, BOB).await);
        assert_eq!(evicted(&slots), [false, false, true, false, false]);
    }

    #[tokio::test]
    async fn a_useful_connection_is_closed_last_and_one_with_a_request_never() {
        let connections = Connections::new(3, CancellationToken::new());
        let slots = [
            take(&connections, ANN).await,
            take(&connections, ANN).await,
            take(&connections, BOB).await,
        ];
        slots[0].begin().answered(StatusCode::OK);
        let request = slots[1].begin();
        let _fourth = take(&connections, ANN).await;
        assert_eq!(evicted(&slots), [false, false, true]);
        let fourth = take(&connections, ANN).await;
        assert_eq!(evicted(&slots), [false, false, true]);
        let _request = fourth.begin();
        let _fifth = take(&connections, ANN).await;
        assert_eq!(evicted(&slots), [true, false, true]);
        drop(request);
    }

    #[tokio::test]
    async fn a_connection_is_idle_once_the_last_of_its_requests_has_ended() {
        let connections = Connections::new(1, CancellationToken::new());
        let slot = take(&connections, ANN).await;
        assert!(slot.connection.idle_since().is_some());
        let requests = [slot.begin(), slot.begin()];
        let [first, second] = requests;
        drop(first);
        assert_eq!(slot.connection.idle_since(), None);
        drop(second);
        assert!(slot.connection.idle_since().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn with_a_request_on_each_connection_the_next_one_waits() {
        let connections = Connections::new(1, CancellationToken::new());
        let slot = take(&connections, ANN).await;
        let request = slot.begin();
        let moment = Duration::from_secs(1);
        let next = timeout(moment, connections.take(BOB)).await;
        assert!(next.is_err());
        drop(request);
        let next = timeout(moment, connections.take(BOB)).await;
        assert!(next.is_ok() && slot.is_evicted());
    }

    #[tokio::test]
    async fn a_connection_that_was_idle_between_two_checks_is_closed() {
        let connections = Connections::new(3, CancellationToken::new());
        let [unused, busy, used] = [ANN, ANN, BOB].map(|client| take(&connections, client));
        let slots = [unused.await, busy.await, used.await];
        let request = slots[1].begin();
        let ended = || slots.each_ref().map(|slot| slot.ending.is_cancelled());
        connections.close_unused();
        assert_eq!(ended(), [false, false, false]);
        drop(slots[2].begin());
        connections.close_unused();
        assert_eq!(ended(), [true, false, false]);
        drop(request);
        connections.close_unused();
        assert_eq!(ended(), [true, false, true]);
        connections.close_unused();
        assert_eq!(ended(), [true, true, true]);
        assert_eq!(evicted(&slots), [false; 3], "what has begun is answered");
    }

    #[test]
    fn ipv6_counts_by_its_first_half() {
        let network_of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network_of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(network_of("192.0.2.1"), "192.0.2.1");
    }
}
