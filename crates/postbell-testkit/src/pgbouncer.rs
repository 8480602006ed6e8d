//! A PgBouncer for one test.

use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

use crate::free_port;
use crate::postgres_server::owner;

const POLL: Duration = Duration::from_millis(20);
const POLLS: usize = 500;

/// A PgBouncer in transaction mode before a server, on a free port of 127.0.0.1. It ends with this value.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    process: Child,
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts one before the server of a URL, whose role it uses. It has fewer sessions than Postbell connections.
    ///
    /// # Panics
    ///
    /// Panics if PgBouncer is not installed, or does not start.
    #[must_use]
    pub fn start(url: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port().local_addr().expect("a free port").port();
        let (role, address) = parts(url);
        let (host, server_port) = address.rsplit_once(':').unwrap_or((address, "5432"));
        let settings = format!(
            "[databases]\n* = host={host} port={server_port} user={role}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
             default_pool_size = 4\n"
        );
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).expect("the folder can be written");
        let folders = [
            "/usr/sbin",
            "/usr/bin",
            "/usr/local/bin",
            "/opt/homebrew/bin",
        ];
        let mut programs = folders
            .iter()
            .map(|folder| Path::new(folder).join("pgbouncer"));
        let program = programs.find(|program| program.exists());
        let mut command = Command::new(program.expect("scripts/test installs PgBouncer"));
        command
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // It refuses to run as root.
        if let Some((user, group)) = owner() {
            for path in [folder.path(), &file] {
                chown(path, Some(user), Some(group)).expect("root may change the owner");
            }
            command.uid(user).gid(group).current_dir("/");
        }
        let pooler = Self {
            port,
            process: command.spawn().expect("PgBouncer starts"),
            _folder: folder,
        };
        for _ in 0..POLLS {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return pooler;
            }
            sleep(POLL);
        }
        panic!("PgBouncer does not listen");
    }

    /// The URL of the same database through it, without prepared statements.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        let (_, address) = parts(url);
        let through = url.replacen(address, &format!("127.0.0.1:{}", self.port), 1);
        let mark = if through.contains('?') { '&' } else { '?' };
        format!("{through}{mark}prepare=off")
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The role, and the host with its port.
fn parts(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (role, rest) = rest.split_once('@').unwrap_or(("postgres", rest));
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    (role, &rest[..end])
}
