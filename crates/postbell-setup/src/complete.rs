//! Completes a request from the progress file and by asking the user.

use postbell_core::EmailAddress;
use postbell_http::redacted;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::ask::{URL, ask_parsed, require_token_of, user_token};
use crate::context::SetupContext;
use crate::error::{Blocker, Result, SetupError};
use crate::openclaw::{self, OpenClawHook};
use crate::operator;
use crate::progress::SavedDestination;
use crate::report::StepId;
use crate::request::{Destination, Webhook, parse_endpoint, parse_url};
use crate::ui::{NoAnswer, Question, Ui};

const WEBHOOK_URL: &str = "a URL, such as http://127.0.0.1:18789/hooks/gmail";

/// Completes the request, and saves it to the progress file.
pub(crate) async fn complete_request(ctx: &mut SetupContext) -> Result<()> {
    if ctx.request.is_for_operator {
        return operator::complete_request(ctx).await;
    }
    if ctx.request.destination.is_none() {
        let saved = ctx.progress.destination.clone();
        ctx.request.destination = saved.and_then(Destination::from_saved);
    }
    if ctx.request.destination.is_none() {
        let destination = ask_destination(&*ctx.deps.ui).await?;
        ctx.request.asks_relay = matches!(destination, Destination::Platform { .. });
        ctx.request.destination = Some(destination);
    }
    choose_credentials_file(ctx)?;
    complete_user_token(ctx).await?;
    complete_relay(ctx).await?;
    // The last one was that of another account.
    if ctx.request.mailbox.is_none() && !ctx.request.is_further() {
        let saved = ctx.progress.mailbox.as_ref();
        ctx.request.mailbox = saved.and_then(|address| address.parse().ok());
        if let Some(mailbox) = &ctx.request.mailbox {
            ctx.note(&format!(
                "The mailbox is {}, as in the last run; --mailbox names another one.",
                mailbox.as_str()
            ));
        }
    }
    if ctx.request.mailbox.is_none() {
        ctx.request.mailbox = Some(ask_mailbox(&*ctx.deps.ui).await?);
    }
    save(ctx)?;
    complete_webhook(ctx).await?;
    save(ctx)
}

/// Saves what the user has entered, so that an interrupted run does not ask again.
fn save(ctx: &mut SetupContext) -> Result<()> {
    let request = ctx.request.clone();
    ctx.update_progress(|progress| {
        if let Some(older) = request.older_subscription() {
            progress.keep_older_subscription(older, request.mailbox.as_ref());
        }
        progress.destination = request.destination.as_ref().map(Destination::to_saved);
        progress.mailbox = request.mailbox.map(Into::into);
        let webhook = request.webhook.map(|webhook| webhook.url);
        progress.webhook = webhook.or(progress.webhook.take());
        progress.names.update(request.names);
    })
}

/// The relay of the platform: that of the flag, else the one that the platform names, else the user is asked.
async fn complete_relay(ctx: &mut SetupContext) -> Result<()> {
    let Some(platform) = ctx.platform() else {
        return Ok(());
    };
    // Older platforms and KiloClaw do not name it, and the steps report one that does not answer.
    let named = match platform.relay().await {
        Err(error) if matches!(error.blocker, Blocker::PlatformToken | Blocker::NoPlatform) => {
            return Err(error);
        }
        named => named.ok().flatten(),
    };
    if let Some(requested) = &ctx.request.relay {
        if let Some(Destination::Platform { relay, .. }) = &mut ctx.request.destination {
            relay.clone_from(requested);
        }
        return Ok(());
    }
    if named.is_none() && !ctx.request.asks_relay {
        return Ok(());
    }
    if let Some(Destination::Platform {
        platform, relay, ..
    }) = &mut ctx.request.destination
    {
        *relay = match named {
            Some(named) => named,
            None => {
                let question = Question::new("Public URL of the platform's relay", "--relay URL");
                let question = question.with_default(platform.as_str());
                ask_parsed(&*ctx.deps.ui, &question, URL, parse_url).await?
            }
        };
    }
    Ok(())
}

/// The bot's webhook, for a watcher on this machine: the requested one, else that of an earlier run, else the user
/// is asked. OpenClaw's configuration has both URL and token.
async fn complete_webhook(ctx: &mut SetupContext) -> Result<()> {
    if ctx.request.webhook.is_some() || ctx.request.is_on_platform() {
        return Ok(());
    }
    let found = ctx.request.home.as_deref().and_then(openclaw::find);
    let saved = ctx.progress.webhook.clone().or(ctx.progress.hook.clone());
    // The token is not kept: a webhook that has not accepted a test yet, or is tested again, needs it.
    let is_tested = ctx.progress.hook.is_some() && ctx.progress.hook == saved;
    let is_untested = !is_tested || ctx.must_repeat(StepId::Hook);
    let url = match saved {
        Some(saved) => {
            ctx.note(&format!(
                "The webhook is {}, as in the last run; --hook-url names another one.",
                redacted(&saved)
            ));
            if found.is_none() && is_untested {
                note_openclaw(ctx, "its token");
            }
            Some(saved)
        }
        None => ask_webhook(ctx, found.as_ref()).await?,
    };
    let Some(url) = url else {
        return Ok(());
    };
    let mut secrets = ctx.request.webhook_secrets.clone();
    if secrets.token.is_none() && secrets.signing.is_none() {
        let found = found.filter(|found| found.url == url);
        secrets.token = match found.and_then(|found| found.token) {
            None if is_untested => ask_webhook_token(ctx).await?,
            token => token,
        };
    }
    ctx.request.webhook = Some(Webhook {
        url,
        token: secrets.token,
        signing: secrets.signing,
    });
    Ok(())
}

async fn ask_webhook(ctx: &SetupContext, found: Option<&OpenClawHook>) -> Result<Option<Url>> {
    let ui = &*ctx.deps.ui;
    let question = Question::new(
        "URL of the bot's webhook (empty: not yet)",
        "--hook-url URL",
    );
    let default = found.map_or("", |found| found.url.as_str());
    if let Some(found) = found {
        ctx.note(match &found.token {
            Some(_) => "This webhook and its token are in OpenClaw's configuration.",
            None => {
                "This webhook is in OpenClaw's configuration, which takes its token from a variable: enter the token's value below."
            }
        });
    } else {
        note_openclaw(ctx, "URL and token");
    }
    let parse = |text: &str| match text {
        "" => Some(None),
        text => parse_url(text).map(Some),
    };
    ask_parsed(ui, &question.with_default(default), WEBHOOK_URL, parse).await
}

/// Says why no webhook is found in an OpenClaw configuration that is there, and what to enter in its place.
fn note_openclaw(ctx: &SetupContext, asked: &str) {
    let Some(home) = ctx.request.home.as_deref() else {
        return;
    };
    if openclaw::is_unreadable(home) {
        ctx.note(&format!(
            "~/.openclaw/openclaw.json cannot be read as JSON5, so that its webhook is not known: enter {asked}, or \
             correct the file and run setup again."
        ));
    } else if openclaw::is_off(home) {
        ctx.note(
            "OpenClaw's webhook for Gmail is off. In ~/.openclaw/openclaw.json, set hooks.enabled, a hooks.token, and \
             \"gmail\" in hooks.presets (docs/openclaw.md), and restart OpenClaw.",
        );
    }
}

async fn ask_webhook_token(ctx: &SetupContext) -> Result<Option<SecretString>> {
    let text = "Bearer token of the webhook (hidden; empty: none)";
    let question = Question::new(text, "POSTBELL_WATCH_HOOK_TOKEN");
    match ctx.deps.ui.secret(&question).await {
        Ok(token) => Ok(Some(token).filter(|token| !token.expose_secret().is_empty())),
        Err(NoAnswer::NonInteractive(_)) => Ok(None),
        Err(cancelled) => Err(cancelled.into()),
    }
}

/// Asks for the webhook in place of one that did not accept the test, which is the default. `None` if there is no user, or
/// none who corrects it now.
pub(crate) async fn correct_webhook(
    ctx: &SetupContext,
    refused: &Webhook,
) -> Result<Option<Webhook>> {
    let ui = &*ctx.deps.ui;
    let question = Question::new("What now?", "--hook-url URL");
    let options = [
        "Enter its URL and token again",
        "Test it again",
        "Go on without it",
    ];
    let chosen = ui.choose(&question, &options.map(str::to_owned)).await;
    match chosen {
        Ok(0) => (),
        Ok(1) => return Ok(Some(refused.clone())),
        Ok(_) | Err(NoAnswer::NonInteractive(_)) => return Ok(None),
        Err(cancelled) => return Err(cancelled.into()),
    }
    let question = Question::new("URL of the bot's webhook", "--hook-url URL");
    let question = question.with_default(refused.url.as_str());
    Ok(Some(Webhook {
        url: ask_parsed(ui, &question, WEBHOOK_URL, parse_url).await?,
        token: ask_webhook_token(ctx).await?,
        signing: refused.signing.clone(),
    }))
}

/// The credentials file: the requested one, else the saved one, else `google.json` in the current
/// folder.
fn choose_credentials_file(ctx: &mut SetupContext) -> Result<()> {
    let requested = ctx.request.credentials.clone();
    let saved = match &ctx.progress.destination {
        Some(
            SavedDestination::Pull { credentials } | SavedDestination::Serve { credentials, .. },
        ) => Some(credentials.clone()),
        _ => None,
    };
    match &mut ctx.request.destination {
        Some(Destination::Pull { credentials } | Destination::Serve { credentials, .. }) => {
            // Absolute, because the next run may have another current folder.
            let default = || std::path::absolute("google.json").ok();
            *credentials = requested.or(credentials.take()).or(saved).or_else(default);
            Ok(())
        }
        _ if requested.is_some() => Err(SetupError::new(Blocker::MissingInput(
            "--pull or --serve URL with --credentials FILE",
        ))),
        _ => Ok(()),
    }
}

async fn complete_user_token(ctx: &mut SetupContext) -> Result<()> {
    let is_missing = matches!(
        ctx.request.destination,
        Some(Destination::Platform { token: None, .. })
    );
    if is_missing {
        let given = user_token(ctx).await?;
        if let Some(Destination::Platform { token, .. }) = &mut ctx.request.destination {
            *token = Some(given);
        }
    }
    match &ctx.request.destination {
        Some(Destination::Platform {
            user,
            token: Some(token),
            ..
        }) => require_token_of(user, token),
        _ => Ok(()),
    }
}

async fn ask_destination(ui: &dyn Ui) -> Result<Destination> {
    let question = Question::new(
        "Where does the bot run?",
        "--pull, --serve URL or --platform URL",
    );
    let options = [
        "On this computer (needs no public address: watch pull)",
        "On this computer, which has a public HTTPS address (watch serve)",
        "On the machine of a platform that somebody runs for me",
    ];
    match ui.choose(&question, &options.map(str::to_owned)).await? {
        0 => Ok(Destination::Pull { credentials: None }),
        1 => {
            let question = Question::new("Public URL of `postbell watch serve`", "--serve URL");
            let expected = "a URL without a query, such as https://bot.example.com/gmail-pubsub";
            Ok(Destination::Serve {
                credentials: None,
                endpoint: ask_parsed(ui, &question, expected, parse_endpoint).await?,
            })
        }
        _ => ask_platform(ui).await,
    }
}

async fn ask_platform(ui: &dyn Ui) -> Result<Destination> {
    let platform = Question::new("URL of the platform", "--platform URL");
    let platform: Url = ask_parsed(ui, &platform, URL, parse_url).await?;
    let user = Question::new("Your user id on the platform", "--user USER");
    let expected = "the user id that the operator gave you";
    let user = ask_parsed(ui, &user, expected, |text| text.parse().ok()).await?;
    Ok(Destination::Platform {
        relay: platform.clone(),
        platform,
        user,
        token: None,
        is_further: false,
    })
}

async fn ask_mailbox(ui: &dyn Ui) -> Result<EmailAddress> {
    let question = Question::new("Address of the mailbox to watch", "--mailbox ADDRESS");
    let expected = "a mail address, such as you@example.com";
    ask_parsed(ui, &question, expected, |text| text.parse().ok()).await
}
