//! Arguments of `postbell watch`: the flags of `gog gmail watch` (protocol, section 5), and below them
//! additional ones.

mod values;

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, value_parser};
use postbell_google::{HistoryType, UNITS_PER_MINUTE};
use postbell_http::ListenAddress;
use postbell_protocol::webhook::BodyFormat;
use postbell_watcher::HeaderName;
use url::Url;

pub(crate) use self::values::webhook;
pub(super) use self::values::{duration, subscription};
use self::values::{path, sender, topic};
use super::gog_flags::{GogFlags, bind_address};

#[derive(Debug, Subcommand)]
pub(crate) enum WatchCommand {
    /// Start a Gmail watch that publishes to a topic; renews it if a watcher runs for the account
    #[command(alias = "begin")]
    Start(StartArgs),

    /// Show the state of the watch and its problems
    #[command(alias = "ls")]
    Status(StatusArgs),

    /// Have Gmail send a notification to the running watcher, have that post a test message to the webhook, and
    /// wait for both
    Test(TestArgs),

    /// Renew the watch for seven days; `serve` and `pull` renew it automatically
    #[command(alias = "update")]
    Renew(RenewArgs),

    /// Stop the watch and delete its state
    #[command(aliases = ["rm", "delete"])]
    Stop(StopArgs),

    /// Receive Pub/Sub pushes and post new mail to the bot's webhook
    Serve(ServeArgs),

    /// Pull notifications from a subscription and post new mail to the bot's webhook; needs no public
    /// endpoint
    Pull(PullArgs),

    /// Run `pull` or `serve` as a service of your user, which starts again when you log in
    #[command(subcommand)]
    Install(InstallCommand),

    /// Stop and remove the service that `install` made; Gmail's watch continues
    Uninstall(UninstallArgs),

    /// List, replay or drop the mails that were set aside because the webhook or Gmail refused them
    #[command(subcommand)]
    DeadLetters(WatchDeadLettersCommand),

    /// Send a test alert to each target
    TestAlert(TestAlertArgs),
}

/// The watcher that a service runs. It gets the same flags. Secrets, those of variables, too, go to files that
/// only you can read.
#[derive(Debug, Subcommand)]
pub(crate) enum InstallCommand {
    /// Pull notifications, with the flags of `watch pull`
    Pull(PullArgs),

    /// Receive pushes, with the flags of `watch serve`
    Serve(ServeArgs),
}

#[derive(Args, Debug)]
pub(crate) struct UninstallArgs {
    /// Address of the mailbox [default: the service for the `watch` tables, if there are some, else $GOG_ACCOUNT]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) account: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WatchDeadLettersCommand {
    /// List the mails that were set aside, oldest first
    List(ListArgs),

    /// Deliver them again; a running watcher does so at once, another when it starts
    Replay(DeadMailArgs),

    /// Forget them; they stay in the mailbox
    Drop(DeadMailArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,

    /// Print one JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

/// Selection of mails that were set aside, and the output format.
#[derive(Args, Debug)]
pub(crate) struct DeadMailArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,

    #[command(flatten)]
    pub(crate) which: WhichMails,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Selection of mails that were set aside.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct WhichMails {
    /// Message ids as printed by `list`
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,

    /// All of them
    #[arg(long)]
    pub(crate) all: bool,
}

impl WatchCommand {
    /// Whether the command runs until it is stopped.
    pub(crate) fn is_service(&self) -> bool {
        matches!(self, Self::Serve(_) | Self::Pull(_))
    }
}

/// The mailbox and its credentials.
#[derive(Args, Clone, Debug)]
pub(crate) struct AccountArgs {
    /// Address of the mailbox, with / and the name of a further webhook of it, if one is meant
    /// [default: the `watch` tables of the configuration, else $GOG_ACCOUNT]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) account: Option<String>,

    /// Google credentials of an authorized user, or of a service account with domain-wide delegation
    /// [default: those of the mailbox's `watch` table, else google.credentials_file, else gog's keyring]
    #[arg(long, value_name = "FILE")]
    pub(crate) credentials: Option<PathBuf>,

    /// OAuth client whose token is read from gog's keyring [default: $GOG_CLIENT, else default]
    #[arg(long, value_name = "NAME")]
    pub(crate) client: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,

    /// Topic that Gmail publishes to: projects/P/topics/T
    #[arg(long, value_parser = topic, value_name = "TOPIC")]
    pub(crate) topic: String,

    /// Watch only this label; may be repeated or comma-separated
    #[arg(long = "label", value_delimiter = ',', value_name = "LABEL")]
    pub(crate) labels: Vec<String>,

    /// Time until the watch is renewed, such as 24h or 86400
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) ttl: Option<Duration>,

    #[command(flatten)]
    pub(crate) hook: HookArgs,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) _gog: GogFlags,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,

    /// Read only the state; by default, Gmail and the subscription are asked, too, for at most 5 s, if
    /// the credentials can be read
    #[arg(long)]
    pub(crate) offline: bool,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) _gog: GogFlags,
}

#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,

    /// Longest time to wait for the notification
    #[arg(long, default_value = "1m", value_parser = duration, value_name = "TIME")]
    pub(crate) wait: Duration,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RenewArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,

    /// Time until the watch is renewed again, such as 24h or 86400
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) ttl: Option<Duration>,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) _gog: GogFlags,
}

#[derive(Args, Debug)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) _gog: GogFlags,
}

#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1", value_parser = bind_address, value_name = "ADDRESS")]
    pub(crate) bind: IpAddr,

    /// Port to listen on; 0 selects a free port. It also serves /health, /ready and /metrics
    #[arg(long, default_value_t = 8788, value_name = "PORT")]
    pub(crate) port: u16,

    /// Address of the server, instead of --bind and --port.
    #[arg(
        long,
        help = "Listen here instead of --bind and --port: 127.0.0.1:8788, [::]:8788, unix: and the \
        file of a socket, or systemd: and the name of one of its sockets",
        conflicts_with_all = ["bind", "port"],
        value_name = "ADDRESS"
    )]
    pub(crate) listen: Option<ListenAddress>,

    #[arg(
        long,
        help = "Serve HTTPS with the certificate of [tls] in the configuration"
    )]
    pub(crate) tls: bool,

    /// Path of the push endpoint
    #[arg(long, default_value = "/gmail-pubsub", value_parser = path, value_name = "PATH")]
    pub(crate) path: String,

    /// Accept pushes with a token signed by Google; requires --oidc-email and --oidc-audience
    #[arg(long, requires = "oidc_email", requires = "oidc_audience")]
    pub(crate) verify_oidc: bool,

    /// Service account whose tokens are accepted
    #[arg(long, requires = "verify_oidc", value_name = "EMAIL")]
    pub(crate) oidc_email: Option<String>,

    /// Audience that the tokens must have
    #[arg(long, requires = "verify_oidc", value_name = "URL")]
    pub(crate) oidc_audience: Option<String>,

    /// Accept pushes with this token in x-gog-token or in the URL (?token=) [default: $POSTBELL_WATCH_TOKEN, which process lists do
    /// not show]
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,

    #[command(flatten)]
    pub(crate) delivery: DeliveryArgs,

    #[command(flatten)]
    pub(crate) _gog: GogFlags,
}

#[derive(Args, Debug)]
pub(crate) struct PullArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,

    /// Subscription to pull from: projects/P/subscriptions/S; required unless `watch` tables name them
    #[arg(long, value_parser = subscription, value_name = "SUBSCRIPTION")]
    pub(crate) subscription: Option<String>,

    /// Address of the monitoring routes.
    #[arg(
        long,
        help = "Serve /health, /ready and /metrics here: 127.0.0.1:8789, [::1]:8789, unix: and the \
        file of a socket, or systemd: and the name of one of its sockets",
        value_name = "ADDRESS"
    )]
    pub(crate) listen: Option<ListenAddress>,

    #[command(flatten)]
    pub(crate) delivery: DeliveryArgs,

    #[command(flatten)]
    pub(crate) _gog: GogFlags,
}

/// The bot's webhook. Process lists show a URL or token on the command line, but not the variable.
#[derive(Args, Clone, Debug)]
pub(crate) struct HookArgs {
    /// Webhook URL that new mail is posted to [default: $POSTBELL_WATCH_HOOK_URL, which process lists do
    /// not show]
    #[arg(long, value_parser = webhook, value_name = "URL")]
    pub(crate) hook_url: Option<Url>,

    /// Bearer token of the webhook [default: $POSTBELL_WATCH_HOOK_TOKEN, which process lists do not
    /// show]
    #[arg(long, value_name = "TOKEN")]
    pub(crate) hook_token: Option<String>,

    /// Include the text of the mail
    #[arg(long)]
    pub(crate) include_body: bool,

    /// Include the text of the mail in this format [default: text, with --include-body]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) body: Option<Body>,

    /// Maximum size of the text, in bytes [default: 20000]
    #[arg(long, value_name = "N")]
    pub(crate) max_bytes: Option<usize>,
}

/// How the text of the mail is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Body {
    /// As a person reads it
    Text,
    /// The same as Markdown, with headings, links, emphasis and tables
    Markdown,
    /// The sender's HTML, unsanitized: never show it without a sanitizer
    Html,
}

impl From<Body> for BodyFormat {
    fn from(body: Body) -> Self {
        match body {
            Body::Text => Self::Text,
            Body::Markdown => Self::Markdown,
            Body::Html => Self::Html,
        }
    }
}

/// Where alerts go.
#[derive(Args, Clone, Debug)]
pub(crate) struct AlertArgs {
    /// Tell this target once when mail stops and when it flows again: an https URL (#whsec_… signs), ntfy://, slack://,
    /// mattermost://, discord://, telegram://, smtp(s):// or, with alerts.mail_server, a mail address; may be repeated
    /// [default: $POSTBELL_WATCH_ALERT, which process lists do not show]
    #[arg(long, value_name = "URL")]
    pub(crate) alert: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct TestAlertArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,

    #[command(flatten)]
    pub(crate) alerts: AlertArgs,
}

/// Selection and format of what is posted.
#[derive(Args, Clone, Debug)]
pub(crate) struct DeliveryArgs {
    #[command(flatten)]
    pub(crate) hook: HookArgs,

    #[command(flatten)]
    pub(crate) alerts: AlertArgs,

    /// Save the webhook and its token in the state file
    #[arg(long)]
    pub(crate) save_hook: bool,

    /// Skip mail with one of these labels; empty skips none. SENT does not skip mail that is in INBOX, too
    #[arg(
        long,
        default_value = "SPAM,TRASH,DRAFT,SENT",
        value_delimiter = ',',
        value_name = "LABELS"
    )]
    pub(crate) exclude_labels: Vec<String>,

    /// Changes to post: messageAdded, messageDeleted, labelAdded, labelRemoved
    #[arg(
        long,
        default_value = "messageAdded",
        value_delimiter = ',',
        value_name = "TYPES"
    )]
    pub(crate) history_types: Vec<HistoryType>,

    /// Delay before the second sync after a push for which Gmail's history had no change
    #[arg(long, default_value = "3s", value_parser = duration, value_name = "TIME")]
    pub(crate) fetch_delay: Duration,

    /// Maximum number of mails per webhook call
    #[arg(long, default_value = "100", value_name = "N")]
    pub(crate) max_messages: NonZeroUsize,

    /// Post each mail in a call of its own
    #[arg(long, conflicts_with = "max_messages")]
    pub(crate) per_message: bool,

    /// Post only mail from this address or domain, if Gmail verified that its domain sent it (DMARC);
    /// may be repeated
    #[arg(long = "from", value_delimiter = ',', value_parser = sender, value_name = "SENDER")]
    pub(crate) senders: Vec<String>,

    /// Let --from accept mail whose sender Gmail did not verify: anybody can write any sender
    #[arg(long, requires = "senders")]
    pub(crate) from_unverified: bool,

    /// Post only mail that matches this Gmail search, such as "has:attachment -from:me"
    #[arg(long, value_name = "SEARCH")]
    pub(crate) query: Option<String>,

    /// Include these header fields, decoded, such as X-Priority,Auto-Submitted; at most 50
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) headers: Vec<HeaderName>,

    #[command(flatten)]
    pub(crate) extras: ExtrasArgs,

    /// Sign webhook calls with this secret (whsec_…, Standard Webhooks), or with two and a comma between
    /// them [default: $POSTBELL_WATCH_HOOK_SECRET, which process lists do not show]
    #[arg(long, value_name = "SECRET")]
    pub(crate) hook_secret: Option<String>,

    /// Gmail API quota of this mailbox, in units per minute; older projects have 15000
    #[arg(long, default_value_t = UNITS_PER_MINUTE, value_name = "N")]
    pub(crate) units_per_minute: NonZeroU32,
}

/// What is posted beyond the mails themselves.
#[derive(Args, Clone, Debug)]
pub(crate) struct ExtrasArgs {
    /// Write attachments into this directory, and name their paths; removed after seven days
    #[arg(long, value_name = "DIR")]
    pub(crate) attachments: Option<PathBuf>,

    /// Maximum size of that directory, in bytes; the oldest files make room for new ones
    #[arg(
        long,
        default_value_t = 1_000_000_000,
        requires = "attachments",
        value_name = "N"
    )]
    pub(crate) attachments_max_bytes: u64,

    /// Include up to N mails before the mail in its thread, at most 50
    #[arg(long, value_parser = value_parser!(u8).range(1..=50), value_name = "N")]
    pub(crate) thread: Option<u8>,

    /// Include the source of the mail (RFC 5322) as base64, if it has at most N bytes [default: 1000000]
    #[arg(
        long,
        num_args = 0..=1,
        default_missing_value = "1000000",
        require_equals = true,
        value_name = "N"
    )]
    pub(crate) raw: Option<usize>,
}
