//! The mailbox, its credentials and its state.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, HistoryId, ProblemCode};
use postbell_google::{Gmail, Patience, PubSubAdmin, TokenSource};
use postbell_http::HttpClient;
use postbell_protocol::gog_dirs::GogDirs;
use postbell_protocol::watch_state::{StateError, StateFile, WatchState, mailbox_of};
use postbell_watcher::{AddressMatch, IdentityError, MailboxIdentity, WatchRenewal, WrongAccount};
use reqwest::Client;
use tokio::time::timeout;
use tracing::warn;

use super::known;
use super::stored_credentials::StoredCredentials;
use crate::cli::AccountArgs;
use crate::config::{BadSetting, Config, Env, WatchConfig};
use crate::console::Console;

/// Variable with the default address, which `gog` reads as well.
pub(in crate::commands) const ACCOUNT_VARIABLE: &str = "GOG_ACCOUNT";

/// How long a start waits for Gmail to name the mailbox.
const CONFIRM_LIMIT: Duration = Duration::from_secs(5);

/// A mailbox and its clients.
pub(super) struct Account {
    /// The mailbox's address.
    pub(super) mailbox: String,
    /// The same, or, for a further webhook of the mailbox, with a slash and its name: it names the state.
    pub(super) address: String,
    pub(super) state_folder: PathBuf,
    pub(super) config: Config,
    pub(super) client: Client,
    gmail_client: HttpClient,
    pub(super) clock: Arc<dyn Clock>,
    tokens: Arc<TokenSource>,
}

/// Returns the webhooks that a command is about, as addresses of states: the given one, else those of the `[[watch]]`
/// tables, else that of the environment, else the mailboxes that are watched here, as a controller's are.
pub(super) fn webhooks(
    args: &AccountArgs,
    config: &Config,
    env: &Env,
) -> anyhow::Result<Vec<String>> {
    if args.account.is_none() && !config.watch.is_empty() {
        config.check_watches()?;
        return Ok(config.watch.iter().flat_map(WatchConfig::states).collect());
    }
    if args.account.is_none() && env.variable(ACCOUNT_VARIABLE).is_none() {
        let watched = known::mailboxes(env);
        if watched.len() > 1 {
            return Ok(watched);
        }
    }
    Ok(vec![named_address(args.account.as_deref(), env)?])
}

/// Returns the only webhook that a command is about.
///
/// Fails if there are several.
pub(super) fn address(args: &AccountArgs, config: &Config, env: &Env) -> anyhow::Result<String> {
    let [only] = <[_; 1]>::try_from(webhooks(args, config, env)?).map_err(|several| {
        let some = several.iter().take(5).map(String::as_str);
        let some = some.collect::<Vec<_>>().join(", ");
        let more = if several.len() > 5 { ", …" } else { "" };
        BadSetting::new(format!(
            "expected --account with the address of a mailbox, because several are watched here: {some}{more} (a further \
             webhook is ADDRESS/NAME)"
        ))
    })?;
    Ok(only)
}

/// Returns the given address, else that of the environment.
pub(super) fn named_address(named: Option<&str>, env: &Env) -> anyhow::Result<String> {
    let address = named.or_else(|| env.variable(ACCOUNT_VARIABLE));
    let address = address.map(str::trim).filter(|address| !address.is_empty());
    if let Some(address) = address {
        return Ok(address.to_owned());
    }
    let watched = known::mailboxes(env);
    <[_; 1]>::try_from(watched)
        .map(|[only]| only)
        .map_err(|watched| {
            BadSetting::new(format!(
                "expected the address of the mailbox in --account, or in {ACCOUNT_VARIABLE}{}",
                watched_here(&watched)
            ))
            .into()
        })
}

fn watched_here(mailboxes: &[String]) -> String {
    if mailboxes.is_empty() {
        String::new()
    } else {
        format!("; watched here: {}", mailboxes.join(", "))
    }
}

/// Returns the folder of the state of a webhook.
pub(super) fn state_folder(address: &str, env: &Env) -> anyhow::Result<PathBuf> {
    let dirs = GogDirs::from_variables(|name| env.variable(name))?;
    Ok(dirs.watch_state(address))
}

/// Returns the state of the watch that was started for a mailbox.
pub(super) fn started_watch(folder: &Path, address: &str) -> anyhow::Result<WatchState> {
    let state = StateFile::peek(folder, address)?;
    state.ok_or_else(|| {
        let problem = format!(
            "no watch was started for this account: run `postbell setup` or `postbell watch start` (looked in {}{})",
            folder.display(),
            watched_here(&StateFile::accounts(folder))
        );
        BadSetting::new(problem).into()
    })
}

impl Account {
    pub(super) fn new(
        args: &AccountArgs,
        env: &Env,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let config = env.load()?;
        let address = address(args, &config, env)?;
        postbell_http::require_ca_certificates()?;
        let client = postbell_http::client()?;
        let mailbox = mailbox_of(&address).to_owned();
        let stored = StoredCredentials::of(args, &mailbox, &config, env)?;
        let credentials = stored.read()?;
        let token_url = config.google.token_url.clone();
        let tokens = TokenSource::new(client.clone(), token_url, credentials, Arc::clone(&clock));
        let tokens = tokens.with_stored(move || stored.read().ok());
        Ok(Self {
            state_folder: state_folder(&address, env)?,
            mailbox,
            address,
            config,
            client,
            gmail_client: HttpClient::from_env(),
            clock,
            tokens: Arc::new(tokens),
        })
    }

    /// Whether this is not the first webhook of the mailbox.
    pub(super) fn is_further_webhook(&self) -> bool {
        self.address != self.mailbox
    }

    /// Asks Gmail whose mailbox the credentials open, for at most [`CONFIRM_LIMIT`], and prints a notice
    /// if it has another address. If Gmail does not answer, the watcher asks again later.
    ///
    /// Fails with [`WrongAccount`] if the credentials belong to another mailbox.
    pub(super) async fn confirm(&self, console: &Console) -> anyhow::Result<MailboxIdentity> {
        let identity = MailboxIdentity::unconfirmed(&self.mailbox);
        let gmail = self.gmail()?;
        match timeout(CONFIRM_LIMIT, identity.confirm(&gmail)).await {
            Ok(Ok(AddressMatch::Same)) => (),
            Ok(Ok(AddressMatch::Alias)) => console.error(&format!("note: {}", identity.notice())),
            Ok(Err(IdentityError::WrongAccount(wrong))) => {
                self.store_wrong_account(&wrong);
                return Err(wrong.into());
            }
            Ok(Err(IdentityError::Gmail(error))) => {
                let error = &error as &dyn std::error::Error;
                warn!(
                    error,
                    "Could not ask Gmail for the mailbox's address; trying again later"
                );
            }
            Err(_) => warn!("Gmail did not answer; asking for the mailbox's address later"),
        }
        Ok(identity)
    }

    /// Stores the problem for `watch status` and the controller, if there is a state.
    fn store_wrong_account(&self, wrong: &WrongAccount) {
        if !matches!(
            StateFile::peek(&self.state_folder, &self.address),
            Ok(Some(_))
        ) {
            return;
        }
        let stored = StateFile::open(&self.state_folder, &self.address).and_then(|file| {
            let now = self.clock.now();
            file.store_problem(ProblemCode::WrongAccount, &wrong.to_string(), now)
        });
        if let Err(error) = stored {
            warn!(
                error = &error as &dyn std::error::Error,
                "Could not store the problem"
            );
        }
    }

    /// Opens the state. Fails if another process uses it.
    pub(super) fn open_state(&self) -> Result<StateFile, StateError> {
        StateFile::open(&self.state_folder, &self.address)
    }

    /// Gives the state of a further webhook the watch of the mailbox, and, if it is new, the mailbox's present history
    /// id: mail from now on is its mail. The first webhook may be behind.
    pub(super) async fn adopt_watch(&self, file: &StateFile) -> anyhow::Result<()> {
        if !self.is_further_webhook() {
            return Ok(());
        }
        let main = StateFile::peek(&self.state_folder, &self.mailbox)?.unwrap_or_default();
        let own = file.read()?;
        if main.topic.is_empty() {
            return Ok(());
        }
        let history_id = match own.history_id {
            None => self.present_history_id().await?.or(main.history_id),
            own => own,
        };
        let adopted = WatchState {
            // `watch stop` of the mailbox finds it, even if the watcher ends before its first sync.
            account: self.address.clone(),
            history_id,
            expiration_ms: own.expiration_ms.max(main.expiration_ms),
            topic: main.topic,
            labels: main.labels,
            ..own.clone()
        };
        if adopted != own {
            file.write(&adopted)?;
        }
        Ok(())
    }

    /// The mailbox's history id; `None` if Gmail does not answer in time.
    async fn present_history_id(&self) -> anyhow::Result<Option<HistoryId>> {
        let profile = timeout(CONFIRM_LIMIT, self.gmail()?.profile()).await;
        Ok(profile.ok().and_then(Result::ok).map(|it| it.history_id))
    }

    pub(super) fn tokens(&self) -> Arc<TokenSource> {
        Arc::clone(&self.tokens)
    }

    pub(super) fn pubsub(&self) -> PubSubAdmin {
        let url = self.config.google.pubsub_url.clone();
        PubSubAdmin::new(self.client.clone(), url, self.tokens())
    }

    pub(super) fn gmail(&self) -> anyhow::Result<Gmail> {
        let patience = Patience {
            jitter: fastrand::f64,
            ..Patience::default()
        };
        let url = self.config.google.gmail_url.clone();
        let client = self.gmail_client.clone();
        Ok(Gmail::new(client, url, self.tokens(), patience))
    }

    /// Returns the Gmail watch without a sync engine.
    pub(super) fn renewal(&self, file: StateFile) -> anyhow::Result<WatchRenewal> {
        let clock = Arc::clone(&self.clock);
        Ok(WatchRenewal::new(
            self.gmail()?,
            file,
            &self.address,
            clock,
        )?)
    }
}
