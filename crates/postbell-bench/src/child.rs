//! A server in its own process.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// A server in its own process, which ends on drop.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    child: Child,
}

/// Prints the server's address on stdout.
pub(crate) fn tell_address(listener: &TcpListener) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", listener.local_addr()?)?;
    stdout.flush().context("cannot tell the address")
}

impl Served {
    /// Starts this program as `server`, with only these variables.
    pub(crate) async fn start(server: &str, variables: &[(&str, String)]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut child = Command::new(program)
            .arg(server)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address).await?;
        let address = address.trim().parse();
        let address = address.with_context(|| format!("{server} did not start"))?;
        Ok(Self { address, child })
    }

    /// Starts a program that serves at `address`.
    pub(crate) fn run(mut command: Command, address: SocketAddr) -> anyhow::Result<Self> {
        let child = command.kill_on_drop(true).spawn()?;
        Ok(Self { address, child })
    }

    /// Process id.
    pub(crate) fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// Resident memory in MB.
    pub(crate) fn resident(&self) -> anyhow::Result<f64> {
        resident(self.id()?, "VmRSS:")
    }

    /// Resident anonymous memory, in MB.
    pub(crate) fn own_memory(&self) -> anyhow::Result<f64> {
        resident(self.id()?, "RssAnon:")
    }

    /// Memory that only this process has and that it has written, in MB: neither its code nor pages that it shares.
    pub(crate) fn private_memory(&self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/smaps_rollup", self.id()?);
        field_in_mb(&std::fs::read_to_string(path)?, "Private_Dirty:")
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.child.start_kill()?;
        self.child.wait().await?;
        Ok(())
    }

    /// Stops it by SIGTERM and waits.
    pub(crate) async fn terminate(mut self) -> anyhow::Result<()> {
        let id = Pid::from_raw(self.id()?.cast_signed()).context("no process")?;
        kill_process(id, Signal::TERM)?;
        self.child.wait().await?;
        Ok(())
    }
}

/// A memory figure of a process in MB, by its name in proc(5): `VmRSS:` (all), `VmHWM:` (its peak) or `RssAnon:`
/// (anonymous).
pub(crate) fn resident(process: u32, name: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    field_in_mb(&status, name)
}

fn field_in_mb(fields: &str, name: &str) -> anyhow::Result<f64> {
    let field = fields.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = field.and_then(|field| field.strip_suffix(" kB"));
    let kibibytes: f64 = kibibytes.context("no such field")?.trim().parse()?;
    Ok(kibibytes / 1000.0 * 1.024)
}

/// A field of `/proc/pid/status`.
pub(crate) fn status_of(process: u32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let field = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(field.trim().to_owned())
}
