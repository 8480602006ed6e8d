//! Sockets that systemd has opened for this process (sd_listen_fds(3)).

use std::io;
use std::sync::LazyLock;

use listenfd::ListenFd;
use parking_lot::Mutex;
use tokio::net::{TcpListener, UnixListener};

use super::Socket;
use super::unix::UnixSocket;

/// The sockets of this process. Each can be taken once.
static INHERITED: LazyLock<Mutex<Inherited>> = LazyLock::new(|| Mutex::new(Inherited::read()));

struct Inherited {
    /// Their names, in the order of their file descriptors.
    names: Vec<String>,
    sockets: ListenFd,
}

impl Inherited {
    fn read() -> Self {
        let names = sd_notify::listen_fds_with_names();
        let names = names.map(|sockets| sockets.map(|(_, name)| name).collect());
        Self {
            names: names.unwrap_or_default(),
            sockets: ListenFd::from_env(),
        }
    }

    fn take(&mut self, name: &str) -> Result<Socket, String> {
        let with_name = |(_, other): &(usize, &String)| *other == name;
        let mut indices = self.names.iter().enumerate().filter(with_name);
        let index = match (indices.next(), indices.next()) {
            (Some((index, _)), None) => index,
            (Some(_), Some(_)) => {
                return Err("systemd has passed several sockets with this name".to_owned());
            }
            _ if self.names.is_empty() => {
                return Err("systemd has passed no socket: start its socket unit".to_owned());
            }
            _ => {
                let names = self.names.join(", ");
                return Err(format!(
                    "systemd has passed only sockets with other names: {names}"
                ));
            }
        };
        self.socket(index)
            .map_err(|error| format!("expected a TCP or unix stream socket: {error}"))?
            .ok_or_else(|| "it is in use in this process".to_owned())
    }

    fn socket(&mut self, index: usize) -> io::Result<Option<Socket>> {
        // A unix socket is refused as a TCP socket, and stays.
        if let Ok(tcp) = self.sockets.take_tcp_listener(index) {
            let Some(tcp) = tcp else { return Ok(None) };
            tcp.set_nonblocking(true)?;
            return Ok(Some(Socket::Tcp(TcpListener::from_std(tcp)?)));
        }
        let Some(unix) = self.sockets.take_unix_listener(index)? else {
            return Ok(None);
        };
        unix.set_nonblocking(true)?;
        let listener = UnixListener::from_std(unix)?;
        Ok(Some(Socket::Unix(UnixSocket::inherited(listener))))
    }
}

/// Takes the socket with a name, or returns why that is not possible.
pub(super) fn take(name: &str) -> Result<Socket, String> {
    INHERITED.lock().take(name)
}
