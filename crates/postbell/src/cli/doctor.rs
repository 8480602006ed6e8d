//! What can be typed after `postbell doctor`.

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
    /// Whose path [default: the one that was set up from here, or the only user there is]
    #[arg(value_name = "USER")]
    pub(crate) user: Option<UserId>,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Sign in to Google Cloud first, to look at topic, roles and subscription
    #[arg(long)]
    pub(crate) sign_in: bool,

    /// With --sign-in: open no browser, the address that it was sent to is pasted
    #[arg(long, requires = "sign_in")]
    pub(crate) no_browser: bool,

    /// With --sign-in: the file of the OAuth client [default: setup's]
    #[arg(long, requires = "sign_in", value_name = "FILE")]
    pub(crate) client: Option<PathBuf>,

    /// The bot's hook, which is sent a test [default: setup's, or the watcher's]
    #[arg(long, value_parser = base_url, value_name = "URL")]
    pub(crate) hook_url: Option<Url>,

    /// How long it is waited at one hop
    #[arg(long, default_value = "15s", value_parser = duration, value_name = "TIME")]
    pub(crate) wait: Duration,

    #[command(flatten)]
    pub(crate) state: StateArgs,
}

/// Where what is no flag comes from, and what the exit code says.
const SECRETS: &str = "Ends with 1 where a hop has failed. Secrets are taken from variables, which no process list shows: \
     POSTBELL_SETUP_ACCESS_TOKEN, a token for Google Cloud in place of --sign-in; \
     POSTBELL_USER_TOKEN, the user's token for a platform that is elsewhere; and \
     POSTBELL_WATCH_HOOK_TOKEN, what the bot's hook expects.";
