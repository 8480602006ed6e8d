//! Builds the watcher from the arguments and the saved state.

use std::num::NonZeroUsize;
use std::sync::Arc;

use postbell_core::Tracer;
use postbell_protocol::watch_state::{SavedHook, StateFile, WatchState};
use postbell_watcher::{
    AttachmentFolder, BodyWanted, Extras, Filter, HookOptions, MailboxIdentity, PushAuth,
    SenderProof, Watcher, WatcherSettings, WebhookClient,
};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::account::Account;
use crate::cli::{DeliveryArgs, ExtrasArgs, HookArgs};
use crate::commands::secrets;
use crate::config::{BadSetting, Env};

/// Variable with the shared token of pushes.
pub(super) const TOKEN_VARIABLE: &str = "POSTBELL_WATCH_TOKEN";

/// The largest number of further header fields.
const MAX_HEADERS: usize = 50;

/// Where notifications come from.
pub(super) struct Source {
    /// The subscription that they are pulled from; empty if they are pushed.
    pub(super) subscription: String,
    /// How a push is authenticated.
    pub(super) push_auth: PushAuth,
    /// Continues the traces of notifications.
    pub(super) tracer: Tracer,
}

/// Returns the webhook's options, with the secrets of the environment.
pub(super) fn hook_options(args: &HookArgs, env: &Env) -> anyhow::Result<HookOptions> {
    let token = secrets::hook_token(args.hook_token.as_deref(), env)?;
    Ok(HookOptions {
        url: secrets::hook_url(args.hook_url.as_ref(), env)?,
        token: token.map(|token| token.expose_secret().to_owned()),
        include_body: args.include_body || args.body.is_some(),
        body_format: args.body.map(Into::into),
        max_bytes: args.max_bytes,
    })
}

/// Builds a watcher from the arguments, with defaults from the state file.
pub(super) async fn watcher(
    account: &Account,
    identity: MailboxIdentity,
    source: Source,
    args: &DeliveryArgs,
    env: &Env,
) -> anyhow::Result<Watcher> {
    anyhow::ensure!(
        args.headers.len() <= MAX_HEADERS,
        BadSetting::new(format!("expected at most {MAX_HEADERS} names (--headers)"))
    );
    let file = account.open_state()?;
    account.adopt_watch(&file).await?;
    let saved = hook(args, &file, env)?;
    let webhook = WebhookClient {
        client: account.client.clone(),
        url: Url::parse(&saved.url)
            .map_err(|_| BadSetting::new("the webhook URL in the state file is not valid"))?,
        token: Some(saved.token)
            .filter(|token| !token.is_empty())
            .map(SecretString::from),
        signing: secrets::hook_signing(args.hook_secret.as_deref(), env)?,
    };
    let settings = WatcherSettings {
        exclude_labels: without_empty(&args.exclude_labels),
        history_types: args.history_types.clone(),
        filter: filter(args),
        body: if saved.include_body {
            BodyWanted::UpTo {
                bytes: saved.max_bytes,
                format: saved.body_format,
            }
        } else {
            BodyWanted::No
        },
        headers: args.headers.clone(),
        extras: extras(&args.extras)?,
        messages_per_hook: if args.per_message {
            NonZeroUsize::MIN
        } else {
            args.max_messages
        },
        fetch_delay: args.fetch_delay,
        jitter: fastrand::f64,
        tracer: source.tracer,
        identity,
        subscription: source.subscription,
        ..WatcherSettings::new(account.address.clone(), source.push_auth)
    };
    let gmail = account
        .gmail()?
        .with_units_per_minute(args.units_per_minute);
    let clock = account.clock.clone();
    Ok(Watcher::new(settings, gmail, webhook, file, clock)?)
}

/// Returns the webhook of the arguments, and saves it with `--save-hook`; else the saved one.
fn hook(args: &DeliveryArgs, file: &StateFile, env: &Env) -> anyhow::Result<SavedHook> {
    let state = file.read()?;
    let options = hook_options(&args.hook, env)?;
    if args.save_hook
        && let Some(given) = options.given()
    {
        file.write(&WatchState {
            hook: Some(given),
            ..state.clone()
        })?;
    }
    hook_or_saved(options, state.hook)
}

/// Returns the webhook of the arguments, else the saved one.
pub(super) fn hook_or_saved(
    options: HookOptions,
    saved: Option<SavedHook>,
) -> anyhow::Result<SavedHook> {
    let hook = options.or_saved(saved);
    hook.ok_or_else(|| {
        BadSetting::new(
            "expected --hook-url, POSTBELL_WATCH_HOOK_URL, or a webhook saved with --save-hook",
        )
        .into()
    })
}

fn filter(args: &DeliveryArgs) -> Filter {
    let senders = without_empty(&args.senders);
    Filter {
        senders: senders.iter().map(|one| one.to_lowercase()).collect(),
        sender_proof: if args.from_unverified {
            SenderProof::Unverified
        } else {
            SenderProof::Verified
        },
        query: args.query.clone(),
    }
}

fn extras(args: &ExtrasArgs) -> anyhow::Result<Extras> {
    let attachments = match &args.attachments {
        Some(path) => {
            let folder = AttachmentFolder::open(path, args.attachments_max_bytes);
            let folder = folder.map_err(|error| {
                let path = path.display();
                BadSetting::new(format!("cannot write to {path} (--attachments): {error}"))
            })?;
            Some(Arc::new(folder))
        }
        None => None,
    };
    Ok(Extras {
        thread: args.thread.map_or(0, usize::from),
        raw: args.raw,
        attachments,
    })
}

fn without_empty(texts: &[String]) -> Vec<String> {
    let texts = texts.iter().map(|text| text.trim());
    texts
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .collect()
}
