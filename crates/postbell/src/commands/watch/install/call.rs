//! Commands of the service manager.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::Command;

use crate::config::Env;

/// The pause between two tries of a call.
const PAUSE: Duration = Duration::from_secs(1);

/// A command of the service manager.
pub(super) struct Call {
    pub(super) program: &'static str,
    pub(super) arguments: Vec<String>,
    /// Whether its failure changes nothing, as of stopping what does not run.
    pub(super) may_fail: bool,
    /// How often it is called until it succeeds, [`PAUSE`] apart.
    pub(super) tries: u32,
}

impl Call {
    pub(super) fn new(program: &'static str, arguments: &[&str]) -> Self {
        Self {
            program,
            arguments: arguments.iter().map(|one| (*one).to_owned()).collect(),
            may_fail: false,
            tries: 1,
        }
    }

    pub(super) fn may_fail(self) -> Self {
        Self {
            may_fail: true,
            ..self
        }
    }

    pub(super) fn tries(self, tries: u32) -> Self {
        Self { tries, ..self }
    }

    pub(super) async fn run(&self, env: &Env) -> anyhow::Result<()> {
        for _ in 1..self.tries {
            if self.run_once(env).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.run_once(env).await
    }

    async fn run_once(&self, env: &Env) -> anyhow::Result<()> {
        let mut command = Command::new(self.program);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if env.variable("XDG_RUNTIME_DIR").is_none() {
            // Without a login session, as after `su`. The folder exists if the user's services run.
            let uid = rustix::process::getuid().as_raw();
            command.env("XDG_RUNTIME_DIR", format!("/run/user/{uid}"));
        }
        let shown = || format!("{} {}", self.program, self.arguments.join(" "));
        let output = command.output().await.with_context(shown)?;
        if output.status.success() || self.may_fail {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr);
        let message = message.lines().next().unwrap_or("no message").to_owned();
        Err(anyhow::Error::msg(message).context(shown()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_is_repeated_until_it_succeeds_or_its_tries_are_used() {
        let env = Env::from_process(None).unwrap();
        for (tries, succeeds) in [(2, false), (3, true)] {
            let folder = tempfile::tempdir().unwrap();
            let calls = folder.path().join("calls").display().to_string();
            let script = format!("echo >>{calls}; [ $(wc -l <{calls}) = 3 ]");
            let call = Call::new("sh", &["-c", &script]).tries(tries);
            assert_eq!(call.run(&env).await.is_ok(), succeeds, "{tries}");
        }
    }
}
