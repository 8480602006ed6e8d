//! `postbell config init`, `postbell config check` and `postbell config example`

mod init;

use std::process::ExitCode;

use postbell_core::Clock;

use crate::cli::ConfigCommand;
use crate::config::{EXAMPLE, Env};
use crate::console::Console;

pub(crate) fn run(
    command: &ConfigCommand,
    console: &Console,
    env: &Env,
    clock: &dyn Clock,
) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Init(args) => init::run(args, console, env)?,
        ConfigCommand::Check => {
            let (config, mistakes) = env.examine()?;
            for warning in env.warnings(&config) {
                console.error(&format!("warning: {warning}"));
            }
            let commands = config.check_all(mistakes, clock.now())?;
            let file = env.file_name();
            console.text(&format!(
                "The configuration is valid ({file}), for {commands}."
            ))?;
        }
        ConfigCommand::Example => console.data(EXAMPLE.trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}
