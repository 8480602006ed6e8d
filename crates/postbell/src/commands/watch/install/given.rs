//! What the person gave, as the service gets it: the flags, and the secrets apart from them.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory};

use super::text;
use crate::cli::Cli;
use crate::config::Env;

/// The flags whose values are not for a unit or a process list, and the variables that take their place.
const SECRETS: [(&str, &str); 6] = [
    ("account", "GOG_ACCOUNT"),
    ("alert", "POSTBELL_WATCH_ALERT"),
    ("hook_secret", "POSTBELL_WATCH_HOOK_SECRET"),
    ("hook_token", "POSTBELL_WATCH_HOOK_TOKEN"),
    ("hook_url", "POSTBELL_WATCH_HOOK_URL"),
    ("token", "POSTBELL_WATCH_TOKEN"),
];

/// The variables that Postbell reads.
const PREFIXES: [&str; 2] = ["POSTBELL_", "GOG_"];

pub(super) struct Given {
    /// The arguments of the service's process.
    pub(super) arguments: Vec<String>,
    /// The secrets by their variables.
    pub(super) secrets: BTreeMap<String, OsString>,
}

impl Given {
    /// Reads the command line of `watch install serve` or `watch install pull`, and the variables. Without an address,
    /// the service reads the `[[watch]]` tables.
    pub(super) fn read(
        command_line: &[OsString],
        address: Option<&str>,
        env: &Env,
    ) -> anyhow::Result<Self> {
        let mut cli = Cli::command();
        cli.build();
        let matches = cli.clone().try_get_matches_from(command_line)?;
        let mut given = Self {
            arguments: Vec::new(),
            secrets: variables(env),
        };
        if let Some(file) = env.existing_file() {
            given
                .arguments
                .push(flag("config", Some(absolute(&file).as_os_str()))?);
        }
        let (mut command, mut matches) = (&cli, &matches);
        while let Some((name, inner)) = matches.subcommand() {
            command = command
                .find_subcommand(name)
                .context("an unknown command")?;
            matches = inner;
            if name != "install" {
                given.arguments.push(name.to_owned());
            }
        }
        given.add_flags(command, matches)?;
        if let Some(address) = address {
            let secrets = &mut given.secrets;
            secrets.insert("GOG_ACCOUNT".to_owned(), address.into());
        }
        Ok(given)
    }

    fn add_flags(&mut self, command: &Command, matches: &ArgMatches) -> anyhow::Result<()> {
        for arg in command.get_arguments() {
            let id = arg.get_id().as_str();
            let Some(long) = arg
                .get_long()
                .filter(|long| !["config", "help"].contains(long))
            else {
                continue;
            };
            if matches.value_source(id) != Some(ValueSource::CommandLine) {
                continue;
            }
            let values: Vec<_> = matches.get_raw(id).into_iter().flatten().collect();
            if let Some((_, variable)) = SECRETS.iter().find(|(secret, _)| *secret == id) {
                self.secrets
                    .insert((*variable).to_owned(), values.join(OsStr::new("\n")));
            } else if !arg.get_action().takes_values() {
                self.arguments.push(flag(long, None)?);
            } else if is_path(arg) {
                for value in values {
                    self.arguments
                        .push(flag(long, Some(absolute(Path::new(value)).as_os_str()))?);
                }
            } else {
                for value in values {
                    self.arguments.push(flag(long, Some(value))?);
                }
            }
        }
        Ok(())
    }
}

/// The variables that this process has and the service would not have.
fn variables(env: &Env) -> BTreeMap<String, OsString> {
    let is_ours = |name: &str| PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let variables = env.variables().iter();
    let texts = variables.filter_map(|(name, value)| Some((name.to_str()?, value)));
    let ours = texts.filter(|(name, value)| {
        is_ours(name) && !value.is_empty() && !["POSTBELL_CONFIG"].contains(name)
    });
    ours.map(|(name, value)| {
        let value = if name.ends_with("_FILE") {
            absolute(Path::new(value)).into_os_string()
        } else {
            value.clone()
        };
        (name.to_owned(), value)
    })
    .collect()
}

/// Whether the value of an argument is a path, which the service reads in another current folder.
fn is_path(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == TypeId::of::<PathBuf>()
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn flag(long: &str, value: Option<&OsStr>) -> anyhow::Result<String> {
    Ok(match value {
        None => format!("--{long}"),
        Some(value) => format!("--{long}={}", text(value)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_identifies_or_opens_something_is_no_argument_of_the_service() {
        let mut words = vec!["postbell", "watch", "install", "serve"];
        words.extend(["--account", "ann@example.com", "--alert", "ntfy://hunter2"]);
        words.extend(["--hook-url", "https://example.com/hunter2"]);
        words.extend(["--hook-token", "hunter2", "--hook-secret", "hunter2"]);
        words.extend(["--token", "hunter2", "--per-message"]);
        let command_line: Vec<_> = words.into_iter().map(OsString::from).collect();
        let env = Env::from_process(Some("/etc/postbell.toml".into())).unwrap();
        let env = env.with_variables(std::iter::empty());
        let given = Given::read(&command_line, Some("ann@example.com"), &env).unwrap();
        let shown = given.arguments.join(" ");
        assert_eq!(
            shown,
            "--config=/etc/postbell.toml watch serve --per-message"
        );
        let mut expected = SECRETS.map(|(_, variable)| variable);
        expected.sort_unstable();
        let variables: Vec<_> = given.secrets.keys().map(String::as_str).collect();
        assert_eq!(variables, expected);
        assert_eq!(
            given.secrets["POSTBELL_WATCH_HOOK_URL"],
            "https://example.com/hunter2"
        );
    }
}
