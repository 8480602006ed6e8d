//! `postbell config init`, `postbell config check` and `postbell config example`

mod init;

use std::process::ExitCode;

use crate::cli::ConfigCommand;
use crate::config::{EXAMPLE, Env};
use crate::console::Console;

pub(crate) fn run(
    command: &ConfigCommand,
    console: &Console,
    env: &Env,
) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Init(args) => init::run(args, console, env)?,
        ConfigCommand::Check => {
            let config = env.load()?;
            let command = config.check()?;
            config.check_directories()?;
            console.data(&format!(
                "The configuration is valid ({}), for {command}.",
                env.file_name()
            ))?;
        }
        ConfigCommand::Example => console.data(EXAMPLE.trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}
