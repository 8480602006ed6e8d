//! `postbell watch`: the flags are `gog`'s (contract, section 5); what is ours stands below them.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use humantime_serde::re::humantime;
use postbell_google::{HistoryType, UNITS_PER_MINUTE};
use url::Url;

#[derive(Debug, Subcommand)]
pub(crate) enum WatchCommand {
    /// Have Gmail tell a topic of new mail, from now on
    Start(StartArgs),

    /// Show what is known of the watch, and what is wrong with it
    Status(StatusArgs),

    /// Have Gmail watch for another seven days; `serve` and `pull` do that by themselves
    Renew(RenewArgs),

    /// End the watch, and forget how far the mailbox was read
    Stop(StopArgs),

    /// Take Pub/Sub's pushes and post new mail to the bot's hook, until stopped
    Serve(ServeArgs),

    /// Fetch notifications from a pull subscription and post new mail to the bot's hook, until
    /// stopped: no public endpoint is needed
    Pull(PullArgs),
}

impl WatchCommand {
    /// Whether it works until it is stopped.
    pub(crate) fn is_service(&self) -> bool {
        matches!(self, Self::Serve(_) | Self::Pull(_))
    }
}

/// Whose mailbox, and what opens it.
#[derive(Args, Debug)]
pub(crate) struct AccountArgs {
    /// The mailbox's address [default: $GOG_ACCOUNT]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) account: Option<String>,

    /// Google credentials: of an authorized user, or of a service account with domain-wide
    /// delegation [default: google.credentials_file, else gog's keyring]
    #[arg(long, value_name = "FILE")]
    pub(crate) credentials: Option<PathBuf>,

    /// The OAuth client whose token is taken from gog's keyring
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub(crate) client: String,
}

#[derive(Args, Debug)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,

    /// Where Gmail publishes: projects/P/topics/T
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: String,

    /// Only what carries this label; may be repeated, or separated by commas
    #[arg(long = "label", value_delimiter = ',', value_name = "LABEL")]
    pub(crate) labels: Vec<String>,

    /// Renew the watch after this time, such as 24h or 86400
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) ttl: Option<Duration>,

    #[command(flatten)]
    pub(crate) hook: HookArgs,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RenewArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,

    /// Renew the watch again after this time, such as 24h or 86400
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) ttl: Option<Duration>,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub(crate) bind: IpAddr,

    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8788, value_name = "PORT")]
    pub(crate) port: u16,

    /// Path of pushes
    #[arg(long, default_value = "/gmail-pubsub", value_parser = path, value_name = "PATH")]
    pub(crate) path: String,

    /// Accept pushes with Google's token; needs --oidc-email and --oidc-audience
    #[arg(long, requires = "oidc_email", requires = "oidc_audience")]
    pub(crate) verify_oidc: bool,

    /// The service account whose token is accepted
    #[arg(long, requires = "verify_oidc", value_name = "EMAIL")]
    pub(crate) oidc_email: Option<String>,

    /// The audience that the token must be for
    #[arg(long, requires = "verify_oidc", value_name = "URL")]
    pub(crate) oidc_audience: Option<String>,

    /// Accept pushes that show this in x-gog-token [default: $POSTBELL_WATCH_TOKEN, which no
    /// process list shows]
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,

    #[command(flatten)]
    pub(crate) delivery: DeliveryArgs,
}

#[derive(Args, Debug)]
pub(crate) struct PullArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,

    /// Where notifications wait: projects/P/subscriptions/S
    #[arg(long, value_name = "SUBSCRIPTION")]
    pub(crate) subscription: String,

    #[command(flatten)]
    pub(crate) delivery: DeliveryArgs,
}

/// The bot's hook. A token on the command line is seen by everyone on the machine: the variable
/// is not.
#[derive(Args, Debug)]
pub(crate) struct HookArgs {
    /// Where new mail is posted
    #[arg(long, value_name = "URL")]
    pub(crate) hook_url: Option<Url>,

    /// The hook's bearer token [default: $POSTBELL_WATCH_HOOK_TOKEN, which no process list shows]
    #[arg(long, value_name = "TOKEN")]
    pub(crate) hook_token: Option<String>,

    /// Post the text of a mail, too
    #[arg(long)]
    pub(crate) include_body: bool,

    /// How much of it, in bytes [default: 20000]
    #[arg(long, value_name = "N")]
    pub(crate) max_bytes: Option<usize>,
}

/// What is posted, and how.
#[derive(Args, Debug)]
pub(crate) struct DeliveryArgs {
    #[command(flatten)]
    pub(crate) hook: HookArgs,

    /// Remember the hook and its token in the state file
    #[arg(long)]
    pub(crate) save_hook: bool,

    /// Leave out mail with one of these labels; empty leaves out none
    #[arg(
        long,
        default_value = "SPAM,TRASH,DRAFT,SENT",
        value_delimiter = ',',
        value_name = "LABELS"
    )]
    pub(crate) exclude_labels: Vec<String>,

    /// Which changes are posted: messageAdded, messageDeleted, labelAdded, labelRemoved
    #[arg(
        long,
        default_value = "messageAdded",
        value_delimiter = ',',
        value_name = "TYPES"
    )]
    pub(crate) history_types: Vec<HistoryType>,

    /// How long after a push for which nothing was found it is looked again
    #[arg(long, default_value = "3s", value_parser = duration, value_name = "TIME")]
    pub(crate) fetch_delay: Duration,

    /// How many mails one hook holds at most
    #[arg(long, default_value = "100", value_name = "N")]
    pub(crate) max_messages: NonZeroUsize,

    /// Post each mail on its own
    #[arg(long, conflicts_with = "max_messages")]
    pub(crate) per_message: bool,

    /// Post only mail from this address or domain; may be repeated
    #[arg(long = "from", value_delimiter = ',', value_name = "SENDER")]
    pub(crate) senders: Vec<String>,

    /// Post only what Gmail's search finds, such as "has:attachment -from:me"
    #[arg(long, value_name = "SEARCH")]
    pub(crate) query: Option<String>,

    /// Sign hooks with this secret (whsec_…, Standard Webhooks) [default:
    /// $POSTBELL_WATCH_HOOK_SECRET, which no process list shows]
    #[arg(long, value_name = "SECRET")]
    pub(crate) hook_secret: Option<String>,

    /// Gmail's quota for this mailbox, in units a minute; older projects have 15000
    #[arg(long, default_value_t = UNITS_PER_MINUTE, value_name = "N")]
    pub(crate) units_per_minute: NonZeroU32,
}

/// A time such as `3s` or `24h`, or a number of seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|_| "expected a time such as 3s or 24h".to_owned())
}

fn path(text: &str) -> Result<String, String> {
    if text.starts_with('/') && !text.contains(['{', '}', '?', '#']) {
        Ok(text.to_owned())
    } else {
        Err("expected a path that begins with /".to_owned())
    }
}
