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
            let config = env.load()?;
            let command = config.check()?;
            config.check_directories()?;
            config.check_certificate(clock.now())?;
            console.data(&format!(
                "The configuration is valid ({}), for {command}.",
                env.file_name()
            ))?;
        }
        ConfigCommand::Example => console.data(EXAMPLE.trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}
