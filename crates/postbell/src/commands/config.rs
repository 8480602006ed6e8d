//! `postbell config check` and `postbell config example`

use std::process::ExitCode;

use crate::cli::ConfigCommand;
use crate::config::{EXAMPLE, Surroundings};
use crate::console::Console;

pub(crate) fn run(
    command: &ConfigCommand,
    console: &Console,
    surroundings: &Surroundings,
) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Check => {
            let config = surroundings.load()?;
            let command = config.check()?;
            config.check_folders()?;
            console.data(&format!(
                "The configuration is right ({}), for {command}.",
                surroundings.file_in_words()
            ))?;
        }
        ConfigCommand::Example => console.data(EXAMPLE.trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}
