//! What can be typed after `postbell setup`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use postbell_core::{EmailAddress, UserId};
use url::Url;

use super::users::base_url;
use super::watch::duration;

#[derive(Args, Debug)]
#[command(after_help = SECRETS)]
pub(crate) struct SetupArgs {
    /// Say what would be done, and do nothing
    #[arg(long, conflicts_with = "undo")]
    pub(crate) plan: bool,

    /// Take back what was made from here, and nothing else
    #[arg(long)]
    pub(crate) undo: bool,

    /// With --undo: delete a project that was made from here, with all that is in it
    #[arg(long, requires = "undo")]
    pub(crate) delete_project: bool,

    /// Ask nothing: what is not given is an error
    #[arg(long, short)]
    pub(crate) yes: bool,

    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,

    /// Open no browser: the address that it was sent to is pasted
    #[arg(long)]
    pub(crate) no_browser: bool,

    /// Send the test hook and the test notification again, whether they came through before or not
    #[arg(long)]
    pub(crate) again: bool,

    /// How long changes that take Google minutes are waited for
    #[arg(long, default_value = "10m", value_parser = duration, value_name = "TIME")]
    pub(crate) wait: Duration,

    /// How long it is waited between two tries, at first
    #[arg(long, default_value = "5s", value_parser = duration, value_name = "TIME")]
    pub(crate) retry_after: Duration,

    #[command(flatten)]
    pub(crate) state: StateArgs,

    #[command(flatten)]
    pub(crate) destination: DestinationArgs,

    #[command(flatten)]
    pub(crate) google: GoogleArgs,
}

/// Where what is no flag comes from.
const SECRETS: &str = "Secrets are taken from variables, which no process list shows: POSTBELL_USER_TOKEN, the user's token \
     for the platform; POSTBELL_WATCH_HOOK_TOKEN, what the bot's hook expects; and \
     POSTBELL_SETUP_ACCESS_TOKEN, a token for Google Cloud in place of signing in, such as `gcloud \
     auth print-access-token` prints.";

/// Where notifications go.
#[derive(Args, Debug)]
#[command(next_help_heading = "Where mail goes")]
pub(crate) struct DestinationArgs {
    /// To a machine of this platform
    #[arg(long, value_parser = base_url, requires = "user", value_name = "URL")]
    pub(crate) platform: Option<Url>,

    /// The user's id there
    #[arg(long, requires = "platform", value_name = "USER")]
    pub(crate) user: Option<UserId>,

    /// The public address of its relay [default: relay.audience, else the platform's]
    #[arg(long, value_parser = base_url, requires = "platform", value_name = "URL")]
    pub(crate) relay: Option<Url>,

    /// To `postbell watch pull` on this machine
    #[arg(long, conflicts_with = "platform")]
    pub(crate) pull: bool,

    /// To `postbell watch serve`, whose public HTTPS address this is
    #[arg(long, value_parser = endpoint, conflicts_with_all = ["platform", "pull"], value_name = "URL")]
    pub(crate) serve: Option<Url>,

    /// Where the credentials for `postbell watch` go
    #[arg(long, default_value = "google.json", value_name = "FILE")]
    pub(crate) credentials: PathBuf,

    /// The bot's hook, which is sent a test
    #[arg(long, value_parser = hook, value_name = "URL")]
    pub(crate) hook_url: Option<Url>,
}

/// What is used in Google Cloud.
#[derive(Args, Debug)]
#[command(next_help_heading = "In Google Cloud")]
pub(crate) struct GoogleArgs {
    /// The mailbox's address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) mailbox: Option<EmailAddress>,

    /// The file of the OAuth client that reads mail, as the console gives it
    #[arg(long, value_name = "FILE")]
    pub(crate) client: Option<PathBuf>,

    /// The file of another OAuth client for signing in [default: google.sign_in_client_file, else the
    /// one of --client]
    #[arg(long, value_name = "FILE")]
    pub(crate) sign_in_client: Option<PathBuf>,

    /// The project's id
    #[arg(long, value_name = "ID")]
    pub(crate) project: Option<String>,

    /// Make the project, if it is not there
    #[arg(long, requires = "project")]
    pub(crate) create_project: bool,

    /// The topic's name [default: postbell-gmail]
    #[arg(long, value_parser = resource, value_name = "NAME")]
    pub(crate) topic: Option<String>,

    /// The subscription's name [default: postbell- and the user, or pull, or push]
    #[arg(long, value_parser = resource, value_name = "NAME")]
    pub(crate) subscription: Option<String>,

    /// The id of the service account that signs pushes [default: postbell-push]
    #[arg(long, value_parser = account, value_name = "ID")]
    pub(crate) service_account: Option<String>,
}

/// Where it is remembered how far setup came.
#[derive(Args, Debug)]
pub(crate) struct StateArgs {
    /// Where it is remembered how far setup came; nothing secret is
    /// [default: ~/.local/state/postbell/setup.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
}

/// The name of a topic or a subscription (<https://cloud.google.com/pubsub/docs/pubsub-basics>).
fn resource(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+%".contains(&byte);
    let is_name = (3..=255).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && !text.starts_with("goog")
        && text.bytes().all(allowed);
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("expected 3 to 255 letters, digits and -._~+%, a letter first".to_owned())
    }
}

/// The id of a service account (<https://cloud.google.com/iam/docs/service-accounts-create>).
fn account(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_id = (6..=30).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(allowed);
    if is_id {
        Ok(text.to_owned())
    } else {
        Err("expected 6 to 30 lower-case letters, digits and hyphens".to_owned())
    }
}

/// Where Pub/Sub pushes to, a token in its query included.
fn endpoint(text: &str) -> Result<Url, String> {
    url_such_as("https://bot.example.com/gmail-pubsub", text)
}

/// Where the bot takes mail.
fn hook(text: &str) -> Result<Url, String> {
    url_such_as("http://127.0.0.1:18789/hooks/gmail", text)
}

fn url_such_as(example: &str, text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| format!("expected a URL such as {example}"))
}
