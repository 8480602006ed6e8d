//! What can be typed.

mod doctor;
mod setup;
mod users;
mod watch;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use postbell_core::UserId;

pub(crate) use self::doctor::DoctorArgs;
pub(crate) use self::setup::SetupArgs;
pub(crate) use self::users::{
    AddArgs, By, ChangeArgs, LinkArgs, ListArgs, MachineArgs, SignOutArgs, TokenArgs, UsersCommand,
};
pub(crate) use self::watch::{
    AccountArgs, DeliveryArgs, HookArgs, PullArgs, RenewArgs, ServeArgs, StartArgs, StatusArgs,
    StopArgs, WatchCommand,
};
use crate::logging::LogFormat;

/// What a controller must be told.
const CONTROLLER_HELP: &str = "Required environment variables:
  OPENCLAW_GATEWAY_TOKEN         bearer token of the controller's routes
  KILOCLAW_GATEWAY_ARGS          arguments of `openclaw gateway`, a JSON array of strings

For mail:
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

    /// How the log on stderr is written; POSTBELL_LOG says what is logged
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
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the whole path at work: mails go in at a stand-in for Gmail, and reach a bot
    Demo(DemoArgs),

    /// Serve a stand-in for Google, Fly, the user directory and a bot, until stopped
    Sandbox(SandboxArgs),

    /// Serve relay and platform in one process, until stopped
    Serve,

    /// Take pushes from Google and deliver them to the users' machines, until stopped
    Relay,

    /// Supervise the bot's gateway and the watcher on the bot's machine (Linux only)
    #[command(after_help = CONTROLLER_HELP)]
    Controller,

    /// Say who the users are, and where their machines stand, until stopped
    Platform,

    /// Look at users, add or remove them
    #[command(subcommand)]
    Users(UsersCommand),

    /// Set Google Cloud up, step by step, so that mail reaches the bot; or take that back
    Setup(Box<SetupArgs>),

    /// Say what is wrong with the path of a mail, hop by hop, and what mends it
    Doctor(Box<DoctorArgs>),

    /// Watch one mailbox, and post its new mail to the bot's hook
    #[command(subcommand)]
    Watch(Box<WatchCommand>),

    /// Show the last deliveries of a user
    Deliveries {
        /// Whose
        #[arg(value_name = "USER")]
        user: UserId,

        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },

    /// Look at what could not be delivered
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),

    /// Migrate the database to the schema of this version; `serve`, `relay` and `platform` do so at
    /// start
    Migrate {
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },

    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),

    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl Command {
    /// What is logged where nobody said: little where the output itself is what people look at.
    pub(crate) fn default_filter(&self) -> &'static str {
        match self {
            Self::Controller | Self::Platform | Self::Relay | Self::Serve => "info",
            Self::Watch(command) if command.is_service() => "info",
            _ => "warn",
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// How many built-in mails to send [default: 5, or none where --eml is given]
    #[arg(long, value_name = "N")]
    pub(crate) mails: Option<usize>,

    /// Send this mail, or every mail in this folder and those below it; may be repeated
    #[arg(long, value_name = "FILE_OR_FOLDER")]
    pub(crate) eml: Vec<PathBuf>,

    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SandboxArgs {
    #[command(subcommand)]
    pub(crate) part: Option<SandboxPart>,

    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub(crate) listen: std::net::SocketAddr,

    /// Print the URLs as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What can be had without the rest.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum SandboxPart {
    /// Serve a stand-in for the bot's gateway alone, as a controller starts it: call it openclaw
    Gateway {
        /// Port of 127.0.0.1 to listen on
        #[arg(long, default_value_t = 3001, value_name = "PORT")]
        port: u16,
    },
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether the configuration is right, and if not, what is wrong with it
    Check,

    /// Print a configuration file with every key, its default and what it means
    Example,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List what could not be delivered, the latest first
    List {
        /// Only this user's
        #[arg(value_name = "USER")]
        user: Option<UserId>,

        /// How many to list
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,

        /// Only those before this number: the next page
        #[arg(long, value_name = "NUMBER")]
        before: Option<i64>,

        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },

    /// Deliver dead letters again
    Replay(DeadLettersArgs),

    /// Throw dead letters away
    Drop(DeadLettersArgs),
}

/// Dead letters, and how to tell of them.
#[derive(Args, Debug)]
pub(crate) struct DeadLettersArgs {
    #[command(flatten)]
    pub(crate) which: Which,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which dead letters.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// Their numbers, as `list` shows them
    #[arg(value_name = "NUMBER")]
    pub(crate) numbers: Vec<i64>,

    /// All of this user
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<UserId>,

    /// All there are
    #[arg(long)]
    pub(crate) all: bool,
}
