//! The command line.

mod backup;
mod config;
mod doctor;
mod gog_flags;
mod operator;
mod setup;
mod store;
mod users;
mod watch;
mod webhook_flags;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use postbell_core::UserId;
use url::Url;

pub(crate) use self::backup::{BackupArgs, RestoreArgs, StoreArgs, StoreKey};
pub(crate) use self::config::{ConfigCommand, InitArgs};
pub(crate) use self::doctor::DoctorArgs;
pub(crate) use self::operator::{
    AuditArgs, CreateKeyArgs, DeliveriesArgs, KeyScope, KeysArgs, KeysCommand, ListKeysArgs,
    RemoteArgs, RevokeKeyArgs,
};
pub(crate) use self::setup::SetupArgs;
pub(crate) use self::store::{CopyArgs, StoreCommand};
pub(crate) use self::users::{
    AddArgs, By, ChangeArgs, ImportArgs, InvitationsArgs, InviteAllArgs, InviteArgs, LinkArgs,
    ListArgs, MachineArgs, RemoveArgs, RevokeLinkArgs, SignOutArgs, TokenArgs, UserArgs, UsersArgs,
    UsersCommand,
};
pub(crate) use self::watch::{
    AccountArgs, AlertArgs, DeadMailArgs, DeliveryArgs, ExtrasArgs, HookArgs, InstallCommand,
    PullArgs, RenewArgs, ServeArgs, StartArgs, StatusArgs, StopArgs, TestAlertArgs, TestArgs,
    UninstallArgs, WatchCommand, WatchDeadLettersCommand, webhook,
};
pub(crate) use self::webhook_flags::{
    check_webhooks, default_delivery, delivery as webhook_delivery,
};
use crate::logging::LogFormat;

/// Environment variables of a controller.
const CONTROLLER_HELP: &str = "Required environment variables:
  OPENCLAW_GATEWAY_TOKEN         bearer token of the controller's routes
  KILOCLAW_GATEWAY_ARGS          arguments of `openclaw gateway`, a JSON array of
                                 strings; not for another controller.gateway_command,
                                 and not with a platform

For mail, from a platform:
  POSTBELL_CONTROLLER__PLATFORM_URL  its base URL
  KILOCLAW_SANDBOX_ID            the id of this machine there

For mail, without one:
  KILOCLAW_GOG_CONFIG_TARBALL    credentials of the Google account, base64 of a tar.gz
  KILOCLAW_GOOGLE_ACCOUNT_EMAIL  address of the Google account

All variables and routes: docs/controller.md";

/// Gmail push notifications for bots
#[derive(Debug, Parser)]
#[command(name = "postbell", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Configuration file [default: $POSTBELL_CONFIG, ./postbell.toml, /etc/postbell/postbell.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Format of the log on stderr; set the filter in POSTBELL_LOG
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(crate) log_format: LogFormat,

    #[command(subcommand)]
    pub(crate) command: Command,

    /// The command line, which `watch install` writes into a service's file.
    #[arg(skip)]
    pub(crate) command_line: Vec<OsString>,
}

impl Cli {
    /// Parses a command line that begins with the name of the program.
    pub(crate) fn read(command_line: Vec<OsString>) -> Result<Self, clap::Error> {
        let mut cli = Self::try_parse_from(&command_line)
            .map_err(|error| with_raw_hint(without_value_hint(error), &command_line))?;
        if let Command::Gmail(GmailCommand::Watch(command)) = cli.command {
            cli.command = Command::Watch(command);
        }
        Ok(Self {
            command_line,
            ..cli
        })
    }
}

/// Removes the hint to pass an unknown flag as a value: a flag that was mistyped is none.
fn without_value_hint(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::StyledStrs(mut hints)) = error.remove(ContextKind::Suggested) {
        hints.retain(|hint| !hint.to_string().contains(" as a value, use "));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(hints));
    }
    error
}

/// Adds how `--raw N` is written, whose value is optional.
fn with_raw_hint(mut error: clap::Error, command_line: &[OsString]) -> clap::Error {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let is_value_of_raw = |pair: &[OsString]| pair[0] == "--raw" && pair[1] == argument.as_str();
    if command_line.windows(2).any(is_value_of_raw) {
        let hint = StyledStr::from(format!("write it as '--raw={argument}'"));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint]));
    }
    error
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run an end-to-end demo: send mails through stand-ins for Gmail and a bot
    Demo(DemoArgs),

    /// Run stand-ins for Google, Fly, the user directory and a bot
    Sandbox(SandboxArgs),

    /// Run relay and platform in one process
    Serve,

    /// Run the relay: receive pushes from Google and deliver them to the users' machines
    Relay,

    /// Supervise the bot's gateway and the watcher on the bot's machine (Linux only)
    #[command(after_help = CONTROLLER_HELP)]
    Controller,

    /// Run the platform: user directory, API and web pages
    Platform,

    /// List, show, add, invite, change or remove users
    Users(UsersArgs),

    /// Create, list or revoke API keys for operators
    Keys(KeysArgs),

    /// List who has changed what, when and from where
    Audit(AuditArgs),

    /// Set up Google Cloud and Gmail for a bot, or undo it
    Setup(Box<SetupArgs>),

    /// Say in one line for each mailbox and service whether mail works; exits with 1 if it does not
    Status(MailStatusArgs),

    /// Check each hop of the delivery path and print how to repair it
    Doctor(Box<DoctorArgs>),

    /// Watch one mailbox and post new mail to the bot's webhook
    #[command(subcommand)]
    Watch(Box<WatchCommand>),

    /// The commands of `gog gmail` that Postbell has
    #[command(subcommand, hide = true, aliases = ["mail", "email"])]
    Gmail(GmailCommand),

    /// List the latest deliveries of a user, or of a further account
    Deliveries(DeliveriesArgs),

    /// Write a snapshot of the store to a file, also while it is used
    #[command(after_help = backup::BACKUP_HELP)]
    Backup(BackupArgs),

    /// Put a backup in the place of the store
    #[command(after_help = backup::RESTORE_HELP)]
    Restore(RestoreArgs),

    /// List, replay or drop dead letters
    DeadLetters(DeadLettersCommandArgs),

    /// Move the stores of relay and platform to another file or database
    #[command(subcommand)]
    Store(StoreCommand),

    /// Migrate the database to the schema of this version; `serve`, `relay` and `platform` do so at
    /// start
    Migrate {
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },

    /// Write, check or print the configuration
    #[command(subcommand)]
    Config(ConfigCommand),

    /// Request a health route and exit with 0 if its answer is a success, for container images
    /// without a shell
    Healthcheck(HealthcheckArgs),

    /// Print a shell completion script
    Completions {
        /// Shell
        shell: Shell,
    },

    /// Write the man page of every command, for packages
    #[command(hide = true)]
    Man {
        /// Existing folder
        folder: PathBuf,
    },
}

/// The commands of `gog gmail` that Postbell has.
#[derive(Debug, Subcommand)]
pub(crate) enum GmailCommand {
    /// Watch one mailbox and post new mail to the bot's webhook
    #[command(subcommand)]
    Watch(Box<WatchCommand>),
}

impl Command {
    /// Default log filter: services log `info`, other commands only warnings.
    pub(crate) fn default_filter(&self) -> &'static str {
        match self {
            Self::Controller | Self::Platform | Self::Relay | Self::Serve => "info",
            Self::Watch(command) if command.is_service() => "info",
            _ => "warn",
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct MailStatusArgs {
    /// Print one JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Number of built-in mails to send [default: 5, or 0 with --eml]
    #[arg(long, value_name = "N")]
    pub(crate) mails: Option<usize>,

    /// Send this mail, or every mail in this directory and below it; may be repeated
    #[arg(long, value_name = "FILE_OR_FOLDER")]
    pub(crate) eml: Vec<PathBuf>,

    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct HealthcheckArgs {
    /// URL of the route, such as http://127.0.0.1:8080/ready
    #[arg(value_name = "URL", value_parser = route_url)]
    pub(crate) url: Url,

    /// Connect to this unix socket instead of the URL's host and port
    #[arg(long, value_name = "FILE")]
    pub(crate) unix_socket: Option<PathBuf>,
}

fn route_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| "expected a URL, such as http://127.0.0.1:8080/ready".to_owned())
}

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SandboxArgs {
    #[command(subcommand)]
    pub(crate) part: Option<SandboxPart>,

    /// Address to listen on; port 0 selects a free port
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub(crate) listen: std::net::SocketAddr,

    /// Print the URLs as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// A part of the sandbox that runs alone.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum SandboxPart {
    /// Run only the stand-in for the bot's gateway, which a controller starts as `openclaw`
    Gateway {
        /// Port to listen on, on 127.0.0.1
        #[arg(long, default_value_t = 3001, value_name = "PORT")]
        port: u16,
    },
}

#[derive(Args, Debug)]
pub(crate) struct DeadLettersCommandArgs {
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,

    #[command(subcommand)]
    pub(crate) command: DeadLettersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List dead letters, newest first
    List {
        /// Only those of this user
        #[arg(value_name = "USER")]
        user: Option<UserId>,

        /// Maximum number of entries
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,

        /// Only those before this number, for the next page
        #[arg(long, value_name = "NUMBER")]
        before: Option<i64>,

        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },

    /// Queue dead letters for delivery
    Replay(DeadLettersArgs),

    /// Delete dead letters
    Drop(DeadLettersArgs),
}

/// Selection of dead letters, and the output format.
#[derive(Args, Debug)]
pub(crate) struct DeadLettersArgs {
    #[command(flatten)]
    pub(crate) which: Which,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Selection of dead letters.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// Numbers as printed by `list`
    #[arg(value_name = "NUMBER")]
    pub(crate) numbers: Vec<i64>,

    /// All dead letters of this user
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<UserId>,

    /// All dead letters
    #[arg(long)]
    pub(crate) all: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_flag_is_not_taken_for_a_value() {
        for (command_line, is_suggested) in [
            ("postbell users change ann --status up", false),
            ("postbell watch serve --raw 5", true),
        ] {
            let words = command_line.split(' ').map(OsString::from).collect();
            let shown = Cli::read(words).unwrap_err().to_string();
            assert!(!shown.contains("as a value, use '--"), "{shown}");
            assert_eq!(
                shown.contains("write it as '--raw=5'"),
                is_suggested,
                "{shown}"
            );
        }
    }
}
