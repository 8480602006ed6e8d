//! The arguments of `postbell setup`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use postbell_core::{EmailAddress, UserId};
use postbell_setup::parse_endpoint;
use url::Url;

use super::users::{base_url, site_url};
use super::watch::{duration, webhook};

#[derive(Args, Debug)]
#[command(after_help = VARIABLES)]
pub(crate) struct SetupArgs {
    #[command(flatten)]
    pub(crate) destination: DestinationArgs,

    #[command(flatten)]
    pub(crate) google: GoogleArgs,

    /// Show the changes without making them
    #[arg(long, help_heading = MODE, conflicts_with = "undo")]
    pub(crate) plan: bool,

    /// Remove the resources that setup created, and nothing else
    #[arg(long, help_heading = MODE)]
    pub(crate) undo: bool,

    /// With --undo: also delete a project that setup created, with everything in it
    #[arg(long, help_heading = MODE, requires = "undo")]
    pub(crate) delete_project: bool,

    /// Repeat the tests of the webhook and of delivery, even if they passed before
    #[arg(long, help_heading = MODE)]
    pub(crate) again: bool,

    /// When setup is done, run the watcher as a service of your user (`postbell watch install`); without
    /// --yes, setup asks
    #[arg(long, help_heading = MODE, conflicts_with_all = ["plan", "undo", "platform", "json"])]
    pub(crate) install: bool,

    /// Longest time to wait for changes that take Google minutes
    #[arg(long, help_heading = MODE, default_value = "10m", value_parser = duration, value_name = "TIME")]
    pub(crate) wait: Duration,

    #[command(flatten, next_help_heading = MODE)]
    pub(crate) state: StateArgs,

    /// Ask no questions; missing input is an error. Consent still needs a browser
    #[arg(long, short, help_heading = INTERACTION)]
    pub(crate) yes: bool,

    /// Print one JSON object per line
    #[arg(long, help_heading = INTERACTION)]
    pub(crate) json: bool,

    /// Open no browser; ask for the address that Google redirects to
    #[arg(long, help_heading = INTERACTION)]
    pub(crate) no_browser: bool,
}

const MODE: &str = "Run";
const INTERACTION: &str = "Interaction";

const VARIABLES: &str = "Variables, for secrets:
  POSTBELL_USER_TOKEN          User token for the platform
  POSTBELL_WATCH_HOOK_URL      The bot's webhook, in place of --hook-url
  POSTBELL_WATCH_HOOK_TOKEN    Bearer token of the bot's webhook
  POSTBELL_WATCH_HOOK_SECRET   Signing secret, if the webhook verifies signatures
  POSTBELL_SETUP_ACCESS_TOKEN  Access token for Google Cloud, in place of a
                               sign-in: `gcloud auth print-access-token`";

/// Where notifications are delivered.
#[derive(Args, Debug)]
#[command(next_help_heading = "Delivery")]
pub(crate) struct DestinationArgs {
    /// Deliver to a machine of this platform
    #[arg(long, value_parser = base_url, requires = "user", value_name = "URL")]
    pub(crate) platform: Option<Url>,

    /// User id on the platform
    #[arg(long, requires = "platform", value_name = "USER")]
    pub(crate) user: Option<UserId>,

    /// Connect the mailbox beside the accounts that the user has connected
    #[arg(long, requires = "platform")]
    pub(crate) further_account: bool,

    /// Public URL of the platform's relay [default: relay.audience, else the one that the platform names]
    #[arg(long, value_parser = base_url, conflicts_with_all = ["pull", "serve"], value_name = "URL")]
    pub(crate) relay: Option<Url>,

    /// Set up the project with which all users of a platform connect in the browser (docs/operator.md)
    #[arg(long, conflicts_with_all = ["platform", "pull", "serve"])]
    pub(crate) operator: bool,

    /// With --operator: public URL of the platform's pages [default: platform.url]
    #[arg(long, value_parser = site_url, requires = "operator", value_name = "URL")]
    pub(crate) pages: Option<Url>,

    /// With --operator: file of the OAuth client of the type "Web application"
    #[arg(long, requires = "operator", value_name = "FILE")]
    pub(crate) web_client: Option<PathBuf>,

    /// With --operator: file to which the secret of that client is written [default: google-client-secret]
    #[arg(long, requires = "operator", value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,

    /// Deliver to `postbell watch pull`
    #[arg(long, conflicts_with = "platform")]
    pub(crate) pull: bool,

    /// Deliver to `postbell watch serve` at this public HTTPS URL
    #[arg(long, value_parser = endpoint, conflicts_with_all = ["platform", "pull"], value_name = "URL")]
    pub(crate) serve: Option<Url>,

    /// Credentials file for `postbell watch` [default: the existing one, else google.json]
    #[arg(long, conflicts_with = "platform", value_name = "FILE")]
    pub(crate) credentials: Option<PathBuf>,

    /// Webhook of the bot; setup sends it a test
    #[arg(long, value_parser = webhook, value_name = "URL")]
    pub(crate) hook_url: Option<Url>,
}

/// Resources in Google Cloud.
#[derive(Args, Debug)]
#[command(next_help_heading = "Google Cloud")]
pub(crate) struct GoogleArgs {
    /// Address of the mailbox
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) mailbox: Option<EmailAddress>,

    /// OAuth client file from the Google Cloud console
    #[arg(long, value_name = "FILE")]
    pub(crate) client: Option<PathBuf>,

    /// Another OAuth client file, for the sign-in [default: google.sign_in_client_file, else --client]
    #[arg(long, value_name = "FILE")]
    pub(crate) sign_in_client: Option<PathBuf>,

    /// Project id
    #[arg(long, value_name = "ID")]
    pub(crate) project: Option<String>,

    /// Create the project if it does not exist
    #[arg(long, requires = "project")]
    pub(crate) create_project: bool,

    /// Topic name [default: postbell-gmail- and a hash of the mailbox]
    #[arg(long, value_parser = resource_name, value_name = "NAME")]
    pub(crate) topic: Option<String>,

    /// Subscription name [default: postbell-pull-, postbell-push- and a hash of the mailbox, or postbell-USER]
    #[arg(long, value_parser = resource_name, value_name = "NAME")]
    pub(crate) subscription: Option<String>,

    /// Id of the service account that signs pushes [default: postbell-push]
    #[arg(long, value_parser = account_id, value_name = "ID")]
    pub(crate) service_account: Option<String>,
}

/// The progress file, also for `postbell doctor`.
#[derive(Args, Debug)]
pub(crate) struct StateArgs {
    /// Progress file of setup; contains no secrets [default: ~/.local/state/postbell/setup.json; with --operator: operator.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
}

/// Parses the name of a topic or subscription (<https://cloud.google.com/pubsub/docs/pubsub-basics>).
fn resource_name(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+%".contains(&byte);
    let is_name = (3..=255).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && !text.starts_with("goog")
        && text.bytes().all(is_allowed);
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("expected 3 to 255 letters, digits and -._~+%, a letter first".to_owned())
    }
}

/// Parses the id of a service account
/// (<https://cloud.google.com/iam/docs/service-accounts-create>).
fn account_id(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_id = (6..=30).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(is_allowed);
    if is_id {
        Ok(text.to_owned())
    } else {
        Err("expected 6 to 30 lower-case letters, digits and hyphens".to_owned())
    }
}

fn endpoint(text: &str) -> Result<Url, String> {
    parse_endpoint(text).ok_or_else(|| {
        "expected a URL such as https://bot.example.com/gmail-pubsub, without a query: pushes are \
         signed and need no token"
            .to_owned()
    })
}
