//! Arguments of `postbell doctor`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use postbell_core::UserId;
use url::Url;

use super::setup::StateArgs;
use super::users::base_url;
use super::watch::duration;

#[derive(Args, Debug)]
#[command(after_help = SECRETS)]
pub(crate) struct DoctorArgs {
    /// User to check [default: the user that was set up on this machine, or the only user]
    #[arg(value_name = "USER")]
    pub(crate) user: Option<UserId>,

    /// Mailbox whose watcher on this machine is checked, if setup did not set it up [default: each webhook of the
    /// `watch` tables, else $GOG_ACCOUNT, or all that are watched here]
    #[arg(long, conflicts_with = "user", value_name = "ADDRESS")]
    pub(crate) account: Option<String>,

    /// Refused with the reason: other commands about users have it
    #[arg(long, hide = true, value_name = "URL")]
    pub(crate) platform: Option<String>,

    /// Google credentials of that mailbox [default: those of its `watch` table, else google.credentials_file, else
    /// gog's keyring]
    #[arg(long, value_name = "FILE")]
    pub(crate) credentials: Option<PathBuf>,

    /// List the checks, too, that could not be made and those of hops that this path does not have
    #[arg(long)]
    pub(crate) all: bool,

    /// Print one JSON object, with all checks
    #[arg(long)]
    pub(crate) json: bool,

    /// Sign in to Google Cloud to check topic, roles and subscription
    #[arg(long)]
    pub(crate) sign_in: bool,

    /// With --sign-in: do not open a browser; paste the redirect URL instead
    #[arg(long, requires = "sign_in")]
    pub(crate) no_browser: bool,

    /// With --sign-in: OAuth client file [default: the one that setup used]
    #[arg(long, requires = "sign_in", value_name = "FILE")]
    pub(crate) client: Option<PathBuf>,

    /// Webhook URL of the bot, which receives a test [default: the one of setup or the watcher]
    #[arg(long, value_parser = base_url, value_name = "URL")]
    pub(crate) hook_url: Option<Url>,

    /// Time limit of each check
    #[arg(long, default_value = "15s", value_parser = duration, value_name = "TIME")]
    pub(crate) wait: Duration,

    #[command(flatten)]
    pub(crate) state: StateArgs,
}

/// Secrets and exit code.
const SECRETS: &str = "Exits with 1 if a check has failed. Secrets are read from environment variables, which process \
     lists do not show: POSTBELL_SETUP_ACCESS_TOKEN, an access token for Google Cloud in place of \
     --sign-in; POSTBELL_USER_TOKEN, the user's token for a remote platform; and \
     POSTBELL_WATCH_HOOK_URL, POSTBELL_WATCH_HOOK_TOKEN and POSTBELL_WATCH_HOOK_SECRET, the URL \
     (in place of --hook-url), the bearer token and the signing secret of the bot's webhook.";
