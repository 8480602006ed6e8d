//! Which processes listen on a port (proc(5), `/proc/net/tcp` and `/proc/pid/fd`).

use std::collections::HashSet;
use std::fs;

use rustix::process::Pid;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Returns the inodes of the sockets that listen on `port`, in the network namespace of this process.
pub(super) fn listening_sockets(port: u16) -> HashSet<u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    // Without IPv6 there is no second table.
    let tables = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines());
    lines
        .filter_map(|line| inode_of_listener(line, port))
        .collect()
}

/// Reads a line: number, local address and port, remote ones, state, six more, the inode.
fn inode_of_listener(line: &str, port: u16) -> Option<u64> {
    let mut fields = line.split_whitespace().skip(1);
    let (_, local_port) = fields.next()?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    let is_wanted = state == LISTEN && u16::from_str_radix(local_port, 16) == Ok(port);
    is_wanted.then(|| fields.nth(5)?.parse().ok())?
}

/// Returns whether a process has one of these sockets open. Fails to see those of other users.
pub(super) fn has_open(process: Pid, sockets: &HashSet<u64>) -> bool {
    let files = fs::read_dir(format!("/proc/{process}/fd"));
    let mut links = files.into_iter().flatten().flatten();
    links.any(|file| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        let target = target
            .to_str()
            .and_then(|name| name.strip_prefix("socket:["));
        let inode = target.and_then(|rest| rest.strip_suffix(']')?.parse().ok());
        inode.is_some_and(|inode| sockets.contains(&inode))
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustix::process::getpid;

    use super::*;

    #[test]
    fn the_process_that_listens_on_a_port_is_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // Not every machine has IPv6.
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let sockets = listening_sockets(port);
            assert_eq!(sockets.len(), 1, "{address}");
            assert!(has_open(getpid(), &sockets), "{address}");
            drop(listener);
            assert!(listening_sockets(port).is_empty(), "{address}");
        }
    }

    #[test]
    fn a_connected_socket_is_no_listener() {
        let listening = "  12: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 \
                         00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0";
        assert_eq!(inode_of_listener(listening, 8080), Some(4711));
        assert_eq!(inode_of_listener(listening, 8081), None);
        let connected = listening.replace(" 0A ", " 01 ");
        assert_eq!(inode_of_listener(&connected, 8080), None);
        assert_eq!(
            inode_of_listener("  sl  local_address rem_address   st", 8080),
            None
        );
    }
}
