//! The sockets that servers listen on.

mod inherited;
mod tcp;
mod unix;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use self::unix::UnixSocket;
use crate::Tls;

/// The prefix of a unix socket's address.
const UNIX: &str = "unix:";

/// The prefix of a name of a socket that systemd has opened.
const SYSTEMD: &str = "systemd:";

/// What a [`ListenAddress`] looks like.
const EXPECTED: &str = "an address and a port such as 127.0.0.1:8080 or [::]:8080, a unix socket such \
                        as unix:/run/postbell/relay.sock, or systemd: and the name of one of its sockets";

/// The most connections that wait to be accepted, as in the standard library.
const BACKLOG: u32 = 1024;

/// Where a server listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListenAddress {
    /// An address and a port, such as `127.0.0.1:8080`. `[::]:8080` means all addresses, of IPv4, too.
    /// Port 0 selects a free port.
    Tcp(SocketAddr),
    /// The file of a unix socket, such as `unix:/run/postbell/relay.sock`.
    Unix(PathBuf),
    /// A socket that systemd has opened for this process, with this `FileDescriptorName=`
    /// (systemd.socket(5)), such as `systemd:relay`.
    Systemd(String),
}

/// A text that is no [`ListenAddress`].
#[derive(Debug, thiserror::Error)]
#[error("expected {EXPECTED}")]
pub struct InvalidListenAddress;

/// Why a server cannot listen on an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}")]
pub struct ListenError {
    address: ListenAddress,
    reason: String,
}

/// An open listening socket. Dropping it removes the file of a unix socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    tls: Option<Tls>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

/// An accepted connection.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    /// Listens on an address.
    ///
    /// # Errors
    ///
    /// [`ListenError`] says why that is not possible, and what to do about it.
    pub async fn bind(address: &ListenAddress) -> Result<Self, ListenError> {
        let socket = match address {
            ListenAddress::Tcp(address) => {
                let listener = tcp::listen(*address).map_err(|error| tcp::reason(&error, *address));
                listener.map(Socket::Tcp)
            }
            ListenAddress::Unix(path) => UnixSocket::bind(path).await.map(Socket::Unix),
            ListenAddress::Systemd(name) => inherited::take(name),
        };
        let socket = socket.map_err(|reason| ListenError {
            address: address.clone(),
            reason,
        })?;
        Ok(Self { socket, tls: None })
    }

    /// Returns where it listens, with the port that was selected.
    ///
    /// # Errors
    ///
    /// If the system does not say.
    pub fn address(&self) -> io::Result<ListenAddress> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            Socket::Unix(socket) => socket.path().map(ListenAddress::Unix),
        }
    }

    /// Serves HTTPS. A unix socket is not affected: what connects to it is on this machine.
    #[must_use]
    pub fn with_tls(self, tls: &Tls) -> Self {
        let tls = match &self.socket {
            Socket::Tcp(_) => Some(tls.clone()),
            Socket::Unix(_) => None,
        };
        Self { tls, ..self }
    }

    /// How to speak TLS with clients on IP addresses.
    pub(crate) fn tls(&self) -> Option<Tls> {
        self.tls.clone()
    }

    /// Accepts a connection, and returns it with the address by which its client is counted: those of
    /// a unix socket are one client on this machine.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, IpAddr)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, client) = listener.accept().await?;
                Ok((Stream::Tcp(stream), client.ip()))
            }
            Socket::Unix(socket) => {
                let stream = socket.accept().await?;
                Ok((Stream::Unix(stream), Ipv4Addr::LOCALHOST.into()))
            }
        }
    }
}

impl ListenAddress {
    /// Returns the IP address and port, unless it is a unix socket.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) | Self::Systemd(_) => None,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, InvalidListenAddress> {
        match (text.strip_prefix(UNIX), text.strip_prefix(SYSTEMD)) {
            (Some(""), _) | (_, Some("")) => Err(InvalidListenAddress),
            (Some(path), _) => Ok(Self::Unix(path.into())),
            (_, Some(name)) => Ok(Self::Systemd(name.to_owned())),
            _ => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| InvalidListenAddress),
        }
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = ListenAddress;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ListenAddress, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
            Self::Systemd(name) => write!(f, "{SYSTEMD}{name}"),
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        let socket = Socket::Tcp(listener);
        Self { socket, tls: None }
    }
}
