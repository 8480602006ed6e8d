//! Arguments of the commands that an operator may run anywhere, and of `postbell keys` and `audit`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use postbell_core::{TokenId, UserId};
use url::Url;

use super::users::{base_url, token_lifetime};

/// Which platform a command talks to.
#[derive(Args, Clone, Debug)]
pub(crate) struct RemoteArgs {
    /// Base URL of a platform on another machine; needs a key [default: the store of the configuration]
    #[arg(long, global = true, value_name = "URL", value_parser = base_url)]
    pub(crate) platform: Option<Url>,

    /// File with the API key for --platform [default: the key in POSTBELL_OPERATOR_KEY]
    #[arg(long, global = true, value_name = "FILE", requires = "platform")]
    pub(crate) key_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct KeysArgs {
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,

    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Create an API key for operators, which is printed once; only beside the platform's store
    Create(CreateKeyArgs),

    /// List API keys and users' tokens
    List(ListKeysArgs),

    /// Revoke an API key or a user's token
    Revoke(RevokeKeyArgs),
}

#[derive(Args, Debug)]
pub(crate) struct CreateKeyArgs {
    /// Who uses the key, or what for: 1 to 64 characters
    #[arg(value_name = "NAME", value_parser = key_name)]
    pub(crate) name: String,

    /// What the key permits
    #[arg(long, value_enum, default_value_t, value_name = "SCOPE")]
    pub(crate) scope: KeyScope,

    /// Lifetime of the key
    #[arg(long, default_value = "90d", value_name = "TIME", value_parser = token_lifetime)]
    pub(crate) valid_for: Duration,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What an API key permits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum KeyScope {
    /// Reading
    #[default]
    Read,
    /// Reading and changing
    Write,
}

#[derive(Args, Debug)]
pub(crate) struct ListKeysArgs {
    /// Only tokens of this user
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<UserId>,

    /// Only those after this one, for the next page
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<TokenId>,

    /// Maximum number of entries
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) limit: usize,

    /// Print one JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RevokeKeyArgs {
    /// Id as printed by `list`
    #[arg(value_name = "ID")]
    pub(crate) id: TokenId,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,

    /// Only entries about this user
    #[arg(value_name = "USER")]
    pub(crate) user: Option<UserId>,

    /// Maximum number of entries
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) limit: usize,

    /// Only those before this number, for the next page
    #[arg(long, value_name = "NUMBER")]
    pub(crate) before: Option<i64>,

    /// List the log of the relay's store, which has the entries about dead letters if it is not the platform's
    #[arg(long)]
    pub(crate) relay: bool,

    /// Print one JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DeliveriesArgs {
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,

    /// User id
    #[arg(value_name = "USER")]
    pub(crate) user: UserId,

    /// Print one JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

fn key_name(text: &str) -> Result<String, String> {
    let is_short = (1..=64).contains(&text.chars().count());
    if is_short && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 64 characters".to_owned())
    }
}
