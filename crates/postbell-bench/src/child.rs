//! A server in a process of its own.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// A server in a process of its own; it ends with this value.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    child: Child,
}

/// Says on stdout where the server listens.
pub(crate) fn tell_address(listener: &TcpListener) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", listener.local_addr()?)?;
    stdout.flush().context("cannot tell the address")
}

impl Served {
    /// Starts this program as `server`, with these variables alone.
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

    /// Starts a program that will serve at `address`.
    pub(crate) fn run(mut command: Command, address: SocketAddr) -> anyhow::Result<Self> {
        let child = command.kill_on_drop(true).spawn()?;
        Ok(Self { address, child })
    }

    /// Resident memory in MB (`VmRSS`, proc(5)).
    pub(crate) fn resident(&self) -> anyhow::Result<f64> {
        let id = self.child.id().context("the server has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes: f64 = kibibytes.context("no VmRSS")?.trim().parse()?;
        Ok(kibibytes / 1000.0 * 1.024)
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.child.start_kill()?;
        self.child.wait().await?;
        Ok(())
    }
}
