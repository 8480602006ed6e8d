//! Sockets on IP addresses.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};

use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::{TcpListener, TcpSocket};

use super::BACKLOG;

/// Listens on an address. The unspecified address of IPv6 includes those of IPv4; on a machine without
/// IPv6 it means only those.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    if address.is_ipv4() {
        return listen_on(TcpSocket::new_v4()?, address);
    }
    let of_ipv6 = TcpSocket::new_v6().and_then(|socket| {
        if address.ip().is_unspecified() {
            // By default, the system decides whether the socket accepts IPv4 (ipv6(7), IPV6_V6ONLY).
            set_ipv6_v6only(&socket, false)?;
        }
        listen_on(socket, address)
    });
    match of_ipv6 {
        Err(error) if address.ip().is_unspecified() && error.kind() != ErrorKind::AddrInUse => {
            let of_ipv4 = (Ipv4Addr::UNSPECIFIED, address.port()).into();
            listen_on(TcpSocket::new_v4()?, of_ipv4)
        }
        listening => listening,
    }
}

fn listen_on(socket: TcpSocket, address: SocketAddr) -> io::Result<TcpListener> {
    // A connection of the previous process may still be closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Why listening failed, and what to do about it.
pub(super) fn reason(error: &io::Error, address: SocketAddr) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => "the address is in use; stop the other process (`ss -ltnp` lists \
             them) or set another address"
            .to_owned(),
        ErrorKind::AddrNotAvailable => format!(
            "this machine has no address {}; 0.0.0.0 or [::] means all of its addresses",
            address.ip()
        ),
        ErrorKind::PermissionDenied => format!(
            "the system does not permit it; ports below 1024, such as {}, need the capability \
             CAP_NET_BIND_SERVICE, a higher port does not",
            address.port()
        ),
        _ => error.to_string(),
    }
}
