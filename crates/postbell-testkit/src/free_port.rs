use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ports that Linux (from 32768) and macOS (from 49152) give to outgoing connections.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;
/// How many ports one process usually asks for at most.
const EACH: u32 = 16;

/// Listens on a port of 127.0.0.1 that stays free after the listener is dropped, so that a process which is
/// started later can have it.
///
/// A port that the system chooses does not: it may become the local port of the next outgoing connection. Test
/// processes that run at the same time have other process ids and so other ports.
///
/// # Panics
///
/// If no port is free.
pub fn free_port() -> TcpListener {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = process::id().wrapping_mul(EACH);
    (0..COUNT)
        .map(|_| start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)))
        .map(|number| u16::try_from(FIRST + number % COUNT).expect("below 32000"))
        .find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .expect("a free port")
}
