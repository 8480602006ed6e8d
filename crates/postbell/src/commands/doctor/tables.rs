//! The webhooks of the `[[watch]]` tables: each is a path of its own.

use postbell_core::Timestamp;
use postbell_doctor::{CheckResult, Facts, LocalWatch, SetupState};
use postbell_protocol::watch_state::mailbox_of;
use postbell_setup::WatchStates;

use super::super::secrets;
use super::facts::{configuration, watcher_test};
use super::setup_state::local_watch;
use super::standalone;
use crate::cli::{self, DoctorArgs};
use crate::config::{BadSetting, Config, Env, WebhookConfig};

/// A webhook of a table.
pub(super) struct TableWebhook {
    /// The name of its state: the mailbox, for a further webhook with a slash and its name.
    pub(super) address: String,
    webhook: WebhookConfig,
    subscription: Option<String>,
}

/// Returns the webhooks that are to be checked: all, or the one that `--account` names.
///
/// # Errors
///
/// The tables are invalid, or one URL is given for several webhooks.
pub(super) fn chosen(args: &DoctorArgs, config: &Config) -> anyhow::Result<Vec<TableWebhook>> {
    if args.user.is_some() {
        return Ok(Vec::new());
    }
    let webhooks = config.watch.iter().flat_map(|watch| {
        let of = |(address, webhook)| TableWebhook {
            address,
            webhook,
            subscription: watch.subscription.clone(),
        };
        watch.by_state().into_iter().map(of)
    });
    let is_meant = |webhook: &TableWebhook| {
        let named = args.account.as_deref();
        named.is_none_or(|named| named.eq_ignore_ascii_case(&webhook.address))
    };
    let webhooks: Vec<_> = webhooks.filter(is_meant).collect();
    anyhow::ensure!(
        webhooks.len() < 2 || (args.hook_url.is_none() && args.credentials.is_none()),
        BadSetting::new(
            "expected --account with the address of a mailbox, because there are several [[watch]] tables or webhooks \
             (a further webhook is ADDRESS/NAME)"
        )
    );
    Ok(webhooks)
}

/// Gathers the facts of one webhook.
pub(super) async fn facts(
    webhook: &TableWebhook,
    args: &DoctorArgs,
    config: &Config,
    env: &Env,
    watch_states: &WatchStates,
    now: Timestamp,
) -> anyhow::Result<Facts> {
    let address = &webhook.address;
    let setup = setup(webhook, watch_states, now);
    let delivery = cli::webhook_delivery(&webhook.webhook)?;
    let hook = &delivery.hook;
    let hook_url = args.hook_url.as_ref().or(hook.hook_url.as_ref());
    let mut facts = Facts {
        databases: Vec::new(),
        configuration: configuration(config, env, &setup),
        keys: None,
        audience: None,
        operator: None,
        acknowledges_rejected: false,
        account: None,
        deliveries: Err(CheckResult::unknown("the watcher keeps no list of them")),
        hook_url: secrets::hook_url(hook_url, env)?,
        watcher_test: watcher_test(args, &setup, Some(address), env).await?,
        hook_token: secrets::hook_token(hook.hook_token.as_deref(), env)?,
        hook_signing: secrets::hook_signing(delivery.hook_secret.as_deref(), env)?,
        user_token: None,
        mailbox: Err(CheckResult::unknown("the credentials cannot be read")),
        user: None,
        setup,
    };
    standalone::add_credentials(&mut facts, args, config, env);
    Ok(facts)
}

/// What the state shows. Before the first run of a further webhook, Gmail's watch is in that of the first one.
fn setup(webhook: &TableWebhook, watch_states: &WatchStates, now: Timestamp) -> SetupState {
    let address = &webhook.address;
    let load = |address: &str| {
        let loaded = watch_states.load(address);
        let loaded = loaded.map(|watch| watch.map(|watch| local_watch(watch, now)));
        loaded.map_err(|error| CheckResult::failed(error.to_string(), error.remedy()))
    };
    let watch = match load(address) {
        Ok(None) => load(mailbox_of(address)).map(|first| {
            first.map(|first| LocalWatch {
                topic: first.topic,
                ends_at: first.ends_at,
                ..LocalWatch::default()
            })
        }),
        watch => watch,
    };
    let watch = watch.map(|watch| {
        watch.map(|watch| LocalWatch {
            subscription: if watch.is_running || !watch.subscription.is_empty() {
                watch.subscription
            } else {
                webhook.subscription.clone().unwrap_or_default()
            },
            ..watch
        })
    });
    match watch {
        Ok(Some(watch)) => standalone::state(address, watch),
        watch => SetupState {
            watch,
            ..standalone::state(address, LocalWatch::default())
        },
    }
}
