//! Unix sockets, and their files.

use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixSocket as UnboundSocket, UnixStream};
use tokio::time::{sleep, timeout};

use super::BACKLOG;

/// Who may connect: the user and the group of the file. The group is that of the process, or that of
/// the directory if it has the setgid bit.
const MODE: u32 = 0o660;

/// How long another process may take to bind a socket in the same directory, in tries and the pause
/// after each.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// How long the process that listens on the socket may take to be found.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

const IN_USE: &str =
    "the socket is in use; stop the other process (`ss -lxp` lists them) or set another path";

/// A listening unix socket.
#[derive(Debug)]
pub(super) struct UnixSocket {
    listener: UnixListener,
    /// `None` if another process has made it, and removes it.
    _file: Option<SocketFile>,
}

/// The file of a socket, which is removed when this is dropped, unless it has been replaced.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl UnixSocket {
    /// Binds the socket. Removes a file that an earlier process has left: one that is a socket on which
    /// no process listens.
    pub(super) async fn bind(path: &Path) -> Result<Self, String> {
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        // Without the lock, one of two processes that start at once could remove the socket that the
        // other has just bound.
        let _lock = lock(directory).await?;
        remove_stale(path).await?;
        listen(path).map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => IN_USE.to_owned(),
            ErrorKind::PermissionDenied => {
                format!("this user may not create files in {}", directory.display())
            }
            _ => error.to_string(),
        })
    }

    /// A socket whose file belongs to systemd.
    pub(super) fn inherited(listener: UnixListener) -> Self {
        Self {
            listener,
            _file: None,
        }
    }

    pub(super) fn path(&self) -> io::Result<PathBuf> {
        let address = self.listener.local_addr()?;
        let path = address.as_pathname();
        path.map(Path::to_owned).ok_or(ErrorKind::NotFound.into())
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

fn listen(path: &Path) -> io::Result<UnixSocket> {
    let socket = UnboundSocket::new_stream()?;
    socket.bind(path)?;
    let file = SocketFile {
        path: path.to_owned(),
        id: id(&fs::symlink_metadata(path)?),
    };
    // Before it listens: until then, connections are refused.
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    let listener = socket.listen(BACKLOG)?;
    Ok(UnixSocket {
        listener,
        _file: Some(file),
    })
}

/// Locks a directory against other processes that bind a socket in it.
async fn lock(directory: &Path) -> Result<File, String> {
    let shown = directory.display();
    let file = File::open(directory);
    let file = file.map_err(|error| format!("cannot open the directory {shown}: {error}"))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => sleep(LOCK_PAUSE).await,
            Err(TryLockError::Error(error)) => return Err(format!("cannot lock {shown}: {error}")),
        }
    }
    Err(format!(
        "another process keeps the directory {shown} locked"
    ))
}

async fn remove_stale(path: &Path) -> Result<(), String> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err("there is a file of another kind; remove it".to_owned());
    }
    let connected = timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await;
    match connected {
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|error| format!("cannot remove the socket of an earlier process: {error}")),
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
        _ => Err(IN_USE.to_owned()),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|it| id(&it) == self.id);
        if is_ours {
            // If it stays, the next process removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The device and the inode, which no other existing file has.
fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
