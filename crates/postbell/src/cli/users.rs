//! Arguments of `postbell users`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, Subcommand, ValueEnum};
use postbell_core::{InstanceStatus, LinkDigest, SandboxId, UserId};
use postbell_protocol::api::operator::UserFilter;
use url::Url;

use super::operator::RemoteArgs;
use super::watch::duration;

#[derive(Args, Debug)]
pub(crate) struct UsersArgs {
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,

    #[command(subcommand)]
    pub(crate) command: UsersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UsersCommand {
    /// List users
    List(ListArgs),

    /// Show a user, with all Google accounts
    Show(UserArgs),

    /// Add a user; the Google account is connected later
    Add(Box<AddArgs>),

    /// Add the users of a CSV file, and report on each line
    Import(ImportArgs),

    /// Print a message with a one-time link that invites a user, who is added if necessary
    Invite(Box<InviteArgs>),

    /// Invite the users of a CSV file, who are added if necessary, and print CSV with a one-time link for each
    InviteAll(InviteAllArgs),

    /// Print the variables with which the controller of a user's machine fetches its configuration
    Machine(UserArgs),

    /// List invitations and sign-in links that were not used
    Invitations(InvitationsArgs),

    /// Revoke an invitation or a sign-in link
    RevokeLink(RevokeLinkArgs),

    /// Change a user's machine or settings
    Change(Box<ChangeArgs>),

    /// Remove a user and all their data
    Remove(RemoveArgs),

    /// Print a token for `postbell setup` to connect the user's Google account
    Token(TokenArgs),

    /// Print a one-time sign-in link for the web pages
    Link(LinkArgs),

    /// End the web sessions of a user or of all operators; revoke unused links, and a user's tokens
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
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    pub(crate) user: UserArgs,

    /// Do not ask, as without a terminal
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only users whose id, or address, starts with this text
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) search: String,

    /// Field to search and sort by
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub(crate) by: By,

    /// Only users in this state: problem, without_mail, watch_ends, unreachable, not_connected, or the code of a problem
    #[arg(long, value_name = "STATE", conflicts_with_all = ["search", "by"])]
    pub(crate) filter: Option<UserFilter>,

    /// Only users after this position, which the page before has printed
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<String>,

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

    /// Sandbox id that the machine reports [default: the user id, with a random end if a user with it was removed]
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
pub(crate) struct ImportArgs {
    /// CSV file with a header: user, and sandbox_id, app, machine, url, status, wake_on_mail; - reads stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Only report what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct InviteArgs {
    #[command(flatten)]
    pub(crate) user: AddArgs,

    /// Lifetime of the link
    #[arg(long, default_value = "7d", value_name = "TIME", value_parser = link_lifetime)]
    pub(crate) valid_for: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct InviteAllArgs {
    /// CSV file with the header of `import`, of which `user` suffices; - reads stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Lifetime of the links
    #[arg(long, default_value = "7d", value_name = "TIME", value_parser = link_lifetime)]
    pub(crate) valid_for: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct InvitationsArgs {
    /// Only links after this one, for the next page
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<LinkDigest>,

    /// Maximum number of entries
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) limit: usize,

    /// Print one JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RevokeLinkArgs {
    /// Id as printed by `invitations`
    #[arg(value_name = "ID")]
    pub(crate) id: LinkDigest,

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

    /// Another sandbox id for the machine, whose token ends
    #[arg(long, value_name = "ID", conflicts_with = "new_sandbox_id")]
    pub(crate) sandbox_id: Option<SandboxId>,

    /// Draw another sandbox id for the machine, whose token ends
    #[arg(long)]
    pub(crate) new_sandbox_id: bool,

    /// Whether to start the machine when mail arrives
    #[arg(long, value_name = "on|off", value_parser = BoolishValueParser::new())]
    pub(crate) wake_on_mail: Option<bool>,

    /// Whether mail is delivered
    #[arg(long, value_name = "on|off", value_parser = BoolishValueParser::new())]
    pub(crate) notifications: Option<bool>,

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

    /// With --operator: one who only looks, and sees no secrets
    #[arg(long, requires = "operator")]
    pub(crate) viewer: bool,

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
    if url.is_none() {
        return Err(
            "expected a base URL with http:// or https://, such as https://bot.example.com"
                .to_owned(),
        );
    }
    let url = url.filter(|url| url.query().is_none() && url.fragment().is_none());
    let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
    url.ok_or_else(|| {
        "expected a base URL without user and password, such as https://bot.example.com".to_owned()
    })
}

/// Parses a URL that ends with its host or port, as that of the pages.
pub(super) fn site_url(text: &str) -> Result<Url, String> {
    let url = base_url(text).ok().filter(|url| url.path() == "/");
    url.ok_or_else(|| "expected a URL without a path, such as https://bell.example.com".to_owned())
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Parses the lifetime of a token or key.
pub(super) fn token_lifetime(text: &str) -> Result<Duration, String> {
    let time = lifetime(text)?;
    let is_short_enough = time <= 366 * DAY;
    let refused = || "expected at most a year (366d)".to_owned();
    is_short_enough.then_some(time).ok_or_else(refused)
}

/// Parses a time with its unit: 7 may be meant as days.
fn lifetime(text: &str) -> Result<Duration, String> {
    if text.trim().bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("expected a time with a unit, such as 15m, 24h or 7d".to_owned());
    }
    let time = duration(text)?;
    let is_long_enough = time >= Duration::from_secs(1);
    let refused = || "expected a second (1s) at least".to_owned();
    is_long_enough.then_some(time).ok_or_else(refused)
}

/// Parses the lifetime of a link. Links pass through mail and chat, so it is limited.
fn link_lifetime(text: &str) -> Result<Duration, String> {
    let time = lifetime(text)?;
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
        for text in ["0s", "1ns", "999ms"] {
            assert!(token_lifetime(text).is_err() && link_lifetime(text).is_err());
        }
        for forever in ["584542000y", "999999999999h", "367d"] {
            assert!(token_lifetime(forever).is_err(), "{forever}");
            assert!(link_lifetime(forever).is_err(), "{forever}");
        }
    }
}
