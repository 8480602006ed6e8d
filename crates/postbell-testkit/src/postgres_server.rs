//! PostgreSQL servers for one test, which it may kill.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;

use crate::free_port;
use crate::postgres::try_run;

/// How often a condition of a server is looked for, and at most how many times.
const POLL: Duration = Duration::from_millis(20);
const POLLS: usize = 1_500;

/// A server with its own data, on a free port of 127.0.0.1. It ends with this value.
#[derive(Debug)]
pub struct PostgresServer {
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
    process: Option<Child>,
    /// The process that sends the log, if it was stopped: it does not notice the end of the others.
    stopped: Mutex<Option<String>>,
}

impl PostgresServer {
    /// Creates a server with these settings (`name=value`), but does not start it.
    ///
    /// # Panics
    ///
    /// Panics, as every function here, if a program of PostgreSQL fails.
    #[must_use]
    pub fn create(settings: &[&str]) -> Self {
        let server = Self::new(settings);
        let data = server.data();
        let data = data.to_str().expect("a path in UTF-8");
        let options = [
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            "-D",
            data,
        ];
        server.program("initdb", &options);
        server
    }

    /// Creates a server that encrypts with this certificate and key, in PEM. Its role `encrypted` can connect only so.
    #[must_use]
    pub fn with_certificate(certificate: &str, key: &str) -> Self {
        let server = Self::create(&["ssl=on"]);
        let data = server.data();
        let rules = std::fs::read_to_string(data.join("pg_hba.conf")).expect("initdb wrote it");
        let rules = format!("hostnossl all encrypted all reject\n{rules}");
        for (name, text) in [
            ("server.crt", certificate),
            ("server.key", key),
            ("pg_hba.conf", &rules),
        ] {
            let file = data.join(name);
            std::fs::write(&file, text).expect("the data can be written");
            std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("it is ours");
            if let Some((user, group)) = owner() {
                chown(&file, Some(user), Some(group)).expect("root may change the owner");
            }
        }
        server
    }

    /// Creates and starts a standby of this server, with this name for `synchronous_standby_names`.
    #[must_use]
    pub fn standby(&self, name: &str) -> Self {
        let mut standby = Self::new(&[]);
        let source = format!(
            "host=127.0.0.1 port={} user=postgres application_name={name}",
            self.port
        );
        let data = standby.data();
        let data = data.to_str().expect("a path in UTF-8");
        let options = [
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
            "-d",
            &source,
            "-D",
            data,
        ];
        standby.program("pg_basebackup", &options);
        standby.start();
        standby
    }

    fn new(settings: &[&str]) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let folder = folder.expect("a temporary folder");
        if let Some((user, group)) = owner() {
            chown(folder.path(), Some(user), Some(group)).expect("root may change the owner");
        }
        let address = free_port().local_addr().expect("the address of a listener");
        Self {
            folder,
            port: address.port(),
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            process: None,
            stopped: Mutex::default(),
        }
    }

    /// Starts the server, and waits until it accepts connections.
    pub fn start(&mut self) {
        let mut command = command("postgres");
        command.arg("-D").arg(self.data());
        let port = format!("port={}", self.port);
        let common = [
            &*port,
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            // Kept with the data, so that a server that is killed leaves nothing behind.
            "dynamic_shared_memory_type=mmap",
        ];
        for setting in common
            .into_iter()
            .chain(self.settings.iter().map(|one| &**one))
        {
            command.arg("-c").arg(setting);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().expect("the server starts"));
        self.wait_for("SELECT 1");
    }

    /// The URL of its first database.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address())
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its host and port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Runs a statement.
    pub fn execute(&self, statement: &str) {
        try_run(&self.url(), &[statement]).expect("the statement succeeds");
    }

    /// Waits until a query that fails, for example by a division by zero, no longer does.
    pub fn wait_for(&self, query: &str) {
        let mut failure = None;
        for _ in 0..POLLS {
            match try_run(&self.url(), &[query]) {
                Ok(()) => return,
                Err(error) => failure = Some(error),
            }
            sleep(POLL);
        }
        panic!("waited too long for {query}: {failure:?}");
    }

    /// Changes `synchronous_standby_names`. Writes that begin after this call wait for these standbys.
    pub fn set_synchronous_standbys(&self, names: &str) {
        self.execute(&format!(
            "ALTER SYSTEM SET synchronous_standby_names = '{names}'"
        ));
        self.execute("SELECT pg_reload_conf()");
        self.wait_for(&format!(
            "SELECT 1 / (current_setting('synchronous_standby_names') = '{names}')::int"
        ));
        // Sessions wait for standbys only once the checkpointer has read the setting, which it does before it looks for a
        // request. It may have been between the two when the first request came.
        for _ in 0..2 {
            self.execute("CHECKPOINT");
        }
    }

    /// Makes a standby a primary.
    pub fn promote(&self) {
        self.execute("SELECT 1 / pg_promote()::int");
    }

    /// Stops the process of the server that sends its log to standbys, so that nothing is sent from now on.
    pub fn stop_sending(&self) {
        let pid = self.process_of("SELECT pid FROM pg_stat_replication");
        signal("-STOP", &pid);
        *self.stopped.lock() = Some(pid);
    }

    /// Kills the process of a session of Postbell. The server then ends all sessions, and recovers as after a crash.
    pub fn kill_session(&self) {
        let sessions = "pg_stat_activity WHERE application_name LIKE 'postbell%'";
        signal(
            "-KILL",
            &self.process_of(&format!("SELECT min(pid) FROM {sessions}")),
        );
    }

    /// The process that a query returns.
    fn process_of(&self, query: &str) -> String {
        let file = self.folder.path().join("process");
        self.execute(&format!("COPY ({query}) TO '{}'", file.display()));
        let process = std::fs::read_to_string(file).expect("the file was written");
        process.trim().to_owned()
    }

    /// Kills the server without a word, as a machine that fails: its other processes end with the first.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            signal("-KILL", &process.id().to_string());
            let _ = process.wait();
        }
        if let Some(stopped) = self.stopped.get_mut().take() {
            signal("-KILL", &stopped);
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn program(&self, name: &str, options: &[&str]) {
        let output = command(name)
            .args(options)
            .current_dir(self.folder.path())
            .output();
        let output = output.expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn signal(signal: &str, process: &str) {
    let sent = Command::new("kill").args([signal, "--", process]).status();
    assert!(
        sent.is_ok_and(|status| status.success()),
        "kill {signal} {process}"
    );
}

/// A program of PostgreSQL, which refuses to run as root: for root it runs as the user postgres.
fn command(name: &str) -> Command {
    let mut command = Command::new(programs().join(name));
    command.env("LC_ALL", "C").current_dir("/");
    if let Some((user, group)) = owner() {
        command.uid(user).gid(group);
    }
    command
}

/// The folder with the programs of the newest version.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let versions = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    let mut folders: Vec<_> = versions.collect();
    folders.sort();
    let path = ["/opt/homebrew/bin", "/usr/local/bin", "/usr/bin"].map(PathBuf::from);
    let mut folders = folders.into_iter().rev().chain(path);
    let has_programs = |folder: &PathBuf| {
        ["initdb", "postgres", "pg_basebackup"]
            .iter()
            .all(|name| folder.join(name).exists())
    };
    let found = folders.find(has_programs);
    found.expect("PostgreSQL is installed: scripts/test installs it")
}

/// The user and group `postgres` if the tests run as root.
pub(crate) fn owner() -> Option<(u32, u32)> {
    let id = |options: &[&str]| {
        let output = Command::new("id").args(options).output().expect("id runs");
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    Some((id(&["-u", "postgres"])?, id(&["-g", "postgres"])?))
}
