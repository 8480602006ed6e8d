//! What can be typed after `postbell users`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use postbell_core::{InstanceStatus, SandboxId, UserId};
use url::Url;

use super::watch::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum UsersCommand {
    /// List users
    List(ListArgs),

    /// Show what is known of a user
    Show(UserArgs),

    /// Add a user, whose Google account is connected later
    Add(Box<AddArgs>),

    /// Change what is known of a user's machine
    Change(Box<ChangeArgs>),

    /// Remove a user with all that is known of them
    Remove(UserArgs),

    /// Print a token with which a user's setup tool may connect their Google account
    Token(TokenArgs),

    /// Print a link that signs somebody in to the pages, once
    Link(LinkArgs),

    /// Sign a user, or all operators, out of the pages, and take back the links that they have not used
    SignOut(SignOutArgs),
}

#[derive(Args, Debug)]
pub(crate) struct UserArgs {
    /// Who
    #[arg(value_name = "USER")]
    pub(crate) user: UserId,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only those whose id, or address, begins so
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) search: String,

    /// What is searched, and what the list is sorted by
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub(crate) by: By,

    /// Only those that come after this user: the next page
    #[arg(long, value_name = "USER")]
    pub(crate) after: Option<UserId>,

    /// How many to list
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) limit: usize,

    /// Print one JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a list of users is searched and sorted by.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum By {
    /// The user's id
    #[default]
    User,
    /// The connected account's address
    Email,
}

/// Where a machine is, and what it is doing.
#[derive(Args, Debug)]
pub(crate) struct MachineArgs {
    /// Name of the machine's app on Fly
    #[arg(long, value_name = "APP", requires = "machine")]
    pub(crate) app: Option<String>,

    /// Id of the machine on Fly
    #[arg(long, value_name = "MACHINE", requires = "app")]
    pub(crate) machine: Option<String>,

    /// Base URL of the machine, where it is not on Fly
    #[arg(long, value_name = "URL", conflicts_with = "app", value_parser = base_url)]
    pub(crate) url: Option<Url>,

    /// What the machine is doing: provisioned, starting, running, stopped or destroying
    #[arg(long, value_name = "STATUS")]
    pub(crate) machine_status: Option<InstanceStatus>,
}

#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// Who
    #[arg(value_name = "USER")]
    pub(crate) user: UserId,

    #[command(flatten)]
    pub(crate) machine: MachineArgs,

    /// The name under which the machine reports in [default: the user's id]
    #[arg(long, value_name = "ID")]
    pub(crate) sandbox_id: Option<SandboxId>,

    /// Let the machine be started when mail waits for it
    #[arg(long)]
    pub(crate) wake_on_mail: bool,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ChangeArgs {
    /// Who
    #[arg(value_name = "USER")]
    pub(crate) user: UserId,

    #[command(flatten)]
    pub(crate) machine: MachineArgs,

    /// Let the machine be started when mail waits for it, or not any more
    #[arg(long, value_name = "true|false")]
    pub(crate) wake_on_mail: Option<bool>,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    /// Who
    #[arg(value_name = "USER")]
    pub(crate) user: UserId,

    /// How long the token is good
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = token_time)]
    pub(crate) valid_for: Duration,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct LinkArgs {
    /// Whose bot they see; may be left out for an operator
    #[arg(value_name = "USER", required_unless_present = "operator")]
    pub(crate) user: Option<UserId>,

    /// Let them see everybody, as an operator
    #[arg(long)]
    pub(crate) operator: bool,

    /// How long the link is good
    #[arg(long, default_value = "15m", value_name = "TIME", value_parser = link_time)]
    pub(crate) valid_for: Duration,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct SignOutArgs {
    /// Who
    #[arg(value_name = "USER", required_unless_present = "operators")]
    pub(crate) user: Option<UserId>,

    /// All operators, however they signed in
    #[arg(long)]
    pub(crate) operators: bool,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// An address that paths are added to.
pub(super) fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.filter(|url| url.query().is_none() && url.fragment().is_none());
    url.ok_or_else(|| "expected a base URL such as https://bot.example.com".to_owned())
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Nothing is stored of a token, so it cannot be taken back.
fn token_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    let is_short_enough = time <= 366 * DAY;
    let refused = || "expected no more than a year (366d)".to_owned();
    is_short_enough.then_some(time).ok_or_else(refused)
}

/// A link is sent through others' hands.
fn link_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    let is_short_enough = time <= 30 * DAY;
    let refused = || "expected no more than a month (30d)".to_owned();
    is_short_enough.then_some(time).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_signs_in_is_good_for_ever() {
        assert_eq!(token_time("366d"), Ok(366 * DAY));
        assert_eq!(link_time("30d"), Ok(30 * DAY));
        for forever in ["584542000y", "999999999999h", "367d"] {
            assert!(token_time(forever).is_err(), "{forever}");
            assert!(link_time(forever).is_err(), "{forever}");
        }
    }
}
