//! Completes a request from the progress file and by asking the user.

use postbell_core::EmailAddress;
use secrecy::SecretString;
use url::Url;

use crate::context::SetupContext;
use crate::error::{Blocker, Result, SetupError};
use crate::progress::SavedDestination;
use crate::request::{Destination, parse_endpoint, parse_url};
use crate::ui::{Event, Question, Ui};

/// Completes the request, and saves it to the progress file.
pub(crate) async fn complete_request(ctx: &mut SetupContext) -> Result<()> {
    if ctx.request.destination.is_none() {
        let saved = ctx.progress.destination.clone();
        ctx.request.destination = saved.and_then(Destination::from_saved);
    }
    if ctx.request.destination.is_none() {
        ctx.request.destination = Some(ask_destination(&*ctx.deps.ui).await?);
    }
    choose_credentials_file(ctx)?;
    complete_user_token(ctx).await?;
    if ctx.request.mailbox.is_none() {
        let saved = ctx.progress.mailbox.as_ref();
        ctx.request.mailbox = saved.and_then(|address| address.parse().ok());
    }
    if ctx.request.mailbox.is_none() {
        ctx.request.mailbox = Some(ask_mailbox(&*ctx.deps.ui).await?);
    }
    let request = ctx.request.clone();
    ctx.update_progress(|progress| {
        if let Some(older) = request.older_subscription() {
            progress.keep_older_subscription(older, request.mailbox.as_ref());
        }
        progress.destination = request.destination.as_ref().map(Destination::to_saved);
        progress.mailbox = request.mailbox.map(Into::into);
        progress.names.update(request.names);
    })
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
    Ok(())
}

/// The user token for the platform, from the request or the user.
pub(crate) async fn user_token(ctx: &SetupContext) -> Result<SecretString> {
    if let Some(given) = ctx.request.user_token.clone() {
        return Ok(given);
    }
    let question = Question::new(
        "User token for the platform (the operator gets it from: postbell users token USER)",
        "POSTBELL_USER_TOKEN",
    );
    Ok(ctx.deps.ui.secret(&question).await?)
}

async fn ask_destination(ui: &dyn Ui) -> Result<Destination> {
    let question = Question::new(
        "Where does the watcher run?",
        "--platform URL, --pull or --serve URL",
    );
    let options = [
        "On a platform's machine",
        "On this machine, pulling notifications: postbell watch pull",
        "On this machine, at a public address: postbell watch serve",
    ];
    match ui.choose(&question, &options.map(str::to_owned)).await? {
        0 => ask_platform(ui).await,
        1 => Ok(Destination::Pull { credentials: None }),
        _ => {
            let question = Question::new("Public URL of `postbell watch serve`", "--serve URL");
            Ok(Destination::Serve {
                credentials: None,
                endpoint: ask_parsed(ui, &question, parse_endpoint).await?,
            })
        }
    }
}

async fn ask_platform(ui: &dyn Ui) -> Result<Destination> {
    let platform = Question::new("URL of the platform", "--platform URL");
    let platform: Url = ask_parsed(ui, &platform, parse_url).await?;
    let relay = Question::new("Public URL of its relay", "--relay URL");
    let relay = ask_parsed(ui, &relay.with_default(platform.as_str()), parse_url).await?;
    let user = Question::new("Your user id on the platform", "--user USER");
    let user = ask_parsed(ui, &user, |text| text.parse().ok()).await?;
    Ok(Destination::Platform {
        platform,
        relay,
        user,
        token: None,
    })
}

async fn ask_mailbox(ui: &dyn Ui) -> Result<EmailAddress> {
    let question = Question::new("Address of the mailbox to watch", "--mailbox ADDRESS");
    ask_parsed(ui, &question, |text| text.parse().ok()).await
}

/// Asks until the answer can be parsed, up to five times.
async fn ask_parsed<T>(
    ui: &dyn Ui,
    question: &Question,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T> {
    const ATTEMPTS: usize = 5;
    for _ in 0..ATTEMPTS {
        let answer = ui.text(question).await?;
        if let Some(parsed) = parse(answer.trim()) {
            return Ok(parsed);
        }
        ui.show(Event::Note("Invalid value; please try again."));
    }
    Err(SetupError::new(Blocker::MissingInput(question.flag)))
}
