//! Arguments of `postbell users`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use postbell_core::{InstanceStatus, SandboxId, UserId};
use url::Url;

use super::watch::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum UsersCommand {
    /// List users
    List(ListArgs),

    /// Show a user
    Show(UserArgs),

    /// Add a user; the Google account is connected later
    Add(Box<AddArgs>),

    /// Change a user's machine
    Change(Box<ChangeArgs>),

    /// Remove a user and all their data
    Remove(UserArgs),

    /// Print a token for `postbell setup` to connect the user's Google account
    Token(TokenArgs),

    /// Print a one-time sign-in link for the web pages
    Link(LinkArgs),

    /// End the web sessions of a user or of all operators and revoke unused sign-in links
    SignOut(SignOutArgs),
}

#[derive(Args, Debug)]
pub(crate) struct UserArgs {
    /// User id
    #[arg(value_name = "USER")]
    pub(crate) user: UserId,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only users whose id, or address, starts with this text
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) search: String,

    /// Field to search and sort by
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub(crate) by: By,

    /// Only users after this one, for the next page
    #[arg(long, value_name = "USER")]
    pub(crate) after: Option<UserId>,

    /// Maximum number of entries
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) limit: usize,

    /// Print one JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

/// Field to search and sort by.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum By {
    /// User id
    #[default]
    User,
    /// Address of the connected Google account
    Email,
}

/// Location and status of a machine.
#[derive(Args, Debug)]
pub(crate) struct MachineArgs {
    /// Fly app of the machine
    #[arg(long, value_name = "APP", requires = "machine")]
    pub(crate) app: Option<String>,

    /// Fly machine id
    #[arg(long, value_name = "MACHINE", requires = "app")]
    pub(crate) machine: Option<String>,

    /// Base URL of a machine that is not on Fly
    #[arg(long, value_name = "URL", conflicts_with = "app", value_parser = base_url)]
    pub(crate) url: Option<Url>,

    /// Machine status: provisioned, starting, running, stopped or destroying
    #[arg(long, value_name = "STATUS")]
    pub(crate) machine_status: Option<InstanceStatus>,
}

#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// User id
    #[arg(value_name = "USER")]
    pub(crate) user: UserId,

    #[command(flatten)]
    pub(crate) machine: MachineArgs,

    /// Sandbox id that the machine reports [default: the user id]
    #[arg(long, value_name = "ID")]
    pub(crate) sandbox_id: Option<SandboxId>,

    /// Start the machine when mail arrives
    #[arg(long)]
    pub(crate) wake_on_mail: bool,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ChangeArgs {
    /// User id
    #[arg(value_name = "USER")]
    pub(crate) user: UserId,

    #[command(flatten)]
    pub(crate) machine: MachineArgs,

    /// Whether to start the machine when mail arrives
    #[arg(long, value_name = "true|false")]
    pub(crate) wake_on_mail: Option<bool>,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    /// User id
    #[arg(value_name = "USER")]
    pub(crate) user: UserId,

    /// Lifetime of the token
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = token_lifetime)]
    pub(crate) valid_for: Duration,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(
    override_usage = "postbell users link [OPTIONS] <USER>\n       postbell users link [OPTIONS] --operator [USER]"
)]
pub(crate) struct LinkArgs {
    /// User whose bot the link shows; optional with --operator
    #[arg(value_name = "USER", required_unless_present = "operator")]
    pub(crate) user: Option<UserId>,

    /// Sign in as an operator, who sees all users
    #[arg(long)]
    pub(crate) operator: bool,

    /// Lifetime of the link
    #[arg(long, default_value = "15m", value_name = "TIME", value_parser = link_lifetime)]
    pub(crate) valid_for: Duration,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(
    override_usage = "postbell users sign-out [OPTIONS] <USER>\n       postbell users sign-out [OPTIONS] --operators"
)]
pub(crate) struct SignOutArgs {
    /// User id
    #[arg(value_name = "USER", required_unless_present = "operators")]
    pub(crate) user: Option<UserId>,

    /// All operators
    #[arg(long)]
    pub(crate) operators: bool,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Parses a URL that paths can be appended to.
pub(super) fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.filter(|url| url.query().is_none() && url.fragment().is_none());
    url.ok_or_else(|| "expected a base URL such as https://bot.example.com".to_owned())
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Parses the lifetime of a token. Tokens are not stored and cannot be revoked, so it is limited.
fn token_lifetime(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    let is_short_enough = time <= 366 * DAY;
    let refused = || "expected at most a year (366d)".to_owned();
    is_short_enough.then_some(time).ok_or_else(refused)
}

/// Parses the lifetime of a link. Links pass through mail and chat, so it is limited.
fn link_lifetime(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    let is_short_enough = time <= 30 * DAY;
    let refused = || "expected at most a month (30d)".to_owned();
    is_short_enough.then_some(time).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_limited() {
        assert_eq!(token_lifetime("366d"), Ok(366 * DAY));
        assert_eq!(link_lifetime("30d"), Ok(30 * DAY));
        for forever in ["584542000y", "999999999999h", "367d"] {
            assert!(token_lifetime(forever).is_err(), "{forever}");
            assert!(link_lifetime(forever).is_err(), "{forever}");
        }
    }
}
