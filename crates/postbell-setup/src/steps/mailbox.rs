//! The mailbox owner's consent.
//!
//! While an app is in testing, Google expires every grant after seven days
//! (<https://developers.google.com/identity/protocols/oauth2#expiration>), and reports this with the
//! grant. Setup then shows how to publish the app, and asks for consent again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postbell_core::EmailAddress;
use postbell_google::{
    AuthorizedUser, CloudError, Grant, RefusalKind, TokenError, TokenSource, revoke_grant,
};
use url::Url;

use super::credentials::is_connected;
use super::credentials_file;
use crate::consent::{ConsentPrompt, ask_again, request_consent};
use crate::context::{MailboxAccess, SetupContext};
use crate::error::{Blocker, Result, SetupError};
use crate::ledger::Resource;
use crate::plan::{Plan, Removal, Step};
use crate::progress::Progress;
use crate::remedy::console_page;
use crate::report::StepId;
use crate::request::Destination;
use crate::retry::Retries;
use crate::times::day;
use crate::ui::Question;

/// How long a grant lasts while the app is in testing.
const TESTING_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How often setup asks for consent while the app stays in testing.
const ATTEMPTS: usize = 3;

pub(super) struct Mailbox;

#[async_trait]
impl Step for Mailbox {
    fn id(&self) -> StepId {
        StepId::Mailbox
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::Client, StepId::Apis]
    }

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan> {
        let address = requested_address(ctx)?;
        let has_new_grant = ctx.discovered.mailbox.is_some();
        if let Some(ends_at) = ctx.progress.grant_ends_at {
            let ends = day(ends_at);
            return Ok(if has_new_grant {
                Plan::Unknown {
                    detail: address.as_str().to_owned(),
                    warning: format!(
                        "the app is in testing: the grant expires on {ends}, and delivery stops"
                    ),
                }
            } else {
                Plan::Change(format!(
                    "ask for consent again; the grant expires on {ends}"
                ))
            });
        }
        if has_new_grant {
            return Ok(Plan::UpToDate(address.as_str().to_owned()));
        }
        match ctx.request.credentials_file().cloned() {
            Some(file) => check_file(ctx, &address, &file).await,
            None => check_platform(ctx, &address).await,
        }
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        let address = requested_address(ctx)?;
        let mut attempt = 1;
        loop {
            let grant = ask_owner(ctx, &address).await?;
            let ends_in = grant.ends_in.filter(|ends_in| *ends_in <= TESTING_LIFETIME);
            if ends_in.is_none() || attempt == ATTEMPTS || !app_was_published(ctx).await? {
                match accept_grant(ctx, address.clone(), &grant, ends_in).await {
                    Err(error) if ask_again(ctx, &error).await? => continue,
                    outcome => return outcome,
                }
            }
            attempt += 1;
        }
    }

    async fn remove(&self, ctx: &mut SetupContext, resource: &Resource) -> Result<Removal> {
        let Resource::Grant(key) = resource else {
            return Ok(Removal::Gone);
        };
        let google = &ctx.deps.google;
        let revoke_url = google.urls.token.join("revoke");
        if let (Some(user), Ok(url)) = (credentials_file::find(key), revoke_url) {
            revoke_grant(&google.client, &url, &user.refresh_token).await?;
            return Ok(Removal::Removed(format!(
                "revoked the grant of {}",
                key.mailbox
            )));
        }
        Ok(Removal::Abandoned(format!(
            "the grant of {} is not stored here: revoke it at \
             https://myaccount.google.com/connections",
            key.mailbox
        )))
    }

    fn forget(&self, progress: &mut Progress) {
        progress.grant_ends_at = None;
    }
}

fn requested_address(ctx: &SetupContext) -> Result<EmailAddress> {
    let address = ctx.request.mailbox.clone();
    address.ok_or_else(|| SetupError::new(Blocker::MissingInput("--mailbox ADDRESS")))
}

fn ask_for_consent(address: &EmailAddress, why: &str) -> Plan {
    let separator = if why.is_empty() { "" } else { ": " };
    Plan::Change(format!(
        "ask {} for consent{separator}{why}",
        address.as_str()
    ))
}

/// Checks the grant in the credentials file.
async fn check_file(ctx: &mut SetupContext, address: &EmailAddress, file: &Path) -> Result<Plan> {
    match check_grant(ctx, address, file).await? {
        Some(plan) => Ok(plan),
        None => {
            let own = use_own_file(ctx, address, file)?;
            let plan = check_grant(ctx, address, &own).await?;
            plan.ok_or_else(|| of_another_mailbox(&own))
        }
    }
}

/// Leaves a file with the grant of another mailbox as it is, and names another one after the mailbox, unless the user
/// has named the file.
fn use_own_file(ctx: &mut SetupContext, address: &EmailAddress, file: &Path) -> Result<PathBuf> {
    if ctx.request.credentials.is_some() {
        return Err(of_another_mailbox(file));
    }
    let name = format!("google-{}.json", address.as_str().replace('/', "_"));
    let own = file.with_file_name(name);
    ctx.note(&format!(
        "{} has the grant of another mailbox, and is kept. That of {} is in {}.",
        file.display(),
        address.as_str(),
        own.display()
    ));
    ctx.request.set_credentials_file(own.clone());
    let saved = ctx.request.destination.as_ref();
    let saved = saved.map(Destination::to_saved);
    ctx.update_progress(|progress| progress.destination = saved)?;
    Ok(own)
}

fn of_another_mailbox(file: &Path) -> SetupError {
    SetupError::new(Blocker::File(format!(
        "{} has the grant of another mailbox, and is not overwritten; name another file with --credentials",
        file.display()
    )))
}

/// Checks the grant in a file; `None` if it is that of another mailbox.
async fn check_grant(
    ctx: &mut SetupContext,
    address: &EmailAddress,
    file: &Path,
) -> Result<Option<Plan>> {
    let Some(user) = credentials_file::read(file, address.as_str())? else {
        return Ok(Some(ask_for_consent(address, "")));
    };
    let mailbox = MailboxAccess {
        address: address.clone(),
        tokens: Arc::new(ctx.deps.google.tokens(user.clone())),
        user,
        is_stored: true,
    };
    match problem_of_grant(ctx, &mailbox).await? {
        Some(GrantProblem::OtherMailbox) => Ok(None),
        Some(problem) => Ok(Some(ask_for_consent(address, problem.text()))),
        None => {
            ctx.discovered.mailbox = Some(mailbox);
            Ok(Some(Plan::UpToDate(address.as_str().to_owned())))
        }
    }
}

/// Why a stored grant cannot be used.
enum GrantProblem {
    OtherClient,
    OtherMailbox,
    Revoked,
    LacksScope,
    LacksPullScope,
}

impl GrantProblem {
    const fn text(&self) -> &'static str {
        match self {
            Self::OtherClient => "the file is for another OAuth client",
            Self::OtherMailbox => "the file is for another mailbox",
            Self::Revoked => "the grant was revoked or has expired",
            Self::LacksScope => "the grant lacks a scope",
            Self::LacksPullScope => "the grant lacks the scope for pulling notifications",
        }
    }
}

async fn problem_of_grant(
    ctx: &SetupContext,
    mailbox: &MailboxAccess,
) -> Result<Option<GrantProblem>> {
    if mailbox.user.client_id != ctx.oauth_client()?.id {
        return Ok(Some(GrantProblem::OtherClient));
    }
    let google = &ctx.deps.google;
    let profile = match google.gmail(Arc::clone(&mailbox.tokens)).profile().await {
        Ok(profile) => profile,
        Err(CloudError::Token(TokenError::GrantRevoked)) => {
            return Ok(Some(GrantProblem::Revoked));
        }
        Err(error) if error.is(RefusalKind::ScopeMissing) => {
            return Ok(Some(GrantProblem::LacksScope));
        }
        Err(error) => return Err(ctx.error(error)),
    };
    if !mailbox.address.is_same_mailbox(&profile.email_address) {
        return Ok(Some(GrantProblem::OtherMailbox));
    }
    if !ctx.request.is_pulled() {
        return Ok(None);
    }
    let pubsub = google.pubsub(Arc::clone(&mailbox.tokens));
    let subscription = pubsub.subscription(&ctx.subscription()?).await;
    let lacks_scope = matches!(&subscription, Err(error) if error.is(RefusalKind::ScopeMissing));
    Ok(lacks_scope.then_some(GrantProblem::LacksPullScope))
}

/// Checks the connection at the platform.
async fn check_platform(ctx: &mut SetupContext, address: &EmailAddress) -> Result<Plan> {
    let Some(platform) = ctx.platform() else {
        return Ok(ask_for_consent(address, ""));
    };
    if !is_connected(ctx, &platform.connection(&ctx.request).await?)? {
        return Ok(ask_for_consent(address, ""));
    }
    let topic = ctx.topic()?;
    let watch = ctx.progress.watch.as_ref();
    if watch.is_some_and(|watch| watch.topic != topic) {
        // The watch has to move to the new topic, and only the platform has the grant.
        return Ok(ask_for_consent(address, "the topic has changed"));
    }
    Ok(Plan::UpToDate(format!(
        "{} (stored at the platform)",
        address.as_str()
    )))
}

async fn ask_owner(ctx: &SetupContext, address: &EmailAddress) -> Result<Grant> {
    let prompt = ConsentPrompt {
        step: StepId::Mailbox,
        explanation: &format!(
            "Now consent as {}, the owner of the mailbox, and select every checkbox. Google warns \
             that the app is not verified and requests a restricted scope: it is your own app, and \
             reads mail for your bot only. Choose Advanced and continue.",
            address.as_str()
        ),
        client: ctx.oauth_client()?,
        scopes: ctx.request.scopes(),
        account: Some(address.as_str().to_owned()),
    };
    request_consent(ctx, prompt).await
}

/// Shows how to publish the app, and returns whether the user has done so.
async fn app_was_published(ctx: &SetupContext) -> Result<bool> {
    ctx.note(
        "The app is in testing: this grant expires in seven days, and delivery stops. On this page, \
         choose \"Publish app\" (In production), or Internal if your organization has Google \
         Workspace. An app for your own use needs no verification. Then consent again, because the \
         old grant keeps its expiry.",
    );
    if let Ok(page) = Url::parse(&console_page("auth/audience", ctx.project_id())) {
        ctx.open_page(&page);
    }
    let question = Question::new(
        "Have you published the app? (no: continue with a grant for seven days)",
        "--yes",
    );
    let question = question.with_default("no");
    Ok(ctx.deps.ui.confirm(&question).await?)
}

/// Checks the owner of a grant, and keeps the grant in memory.
async fn accept_grant(
    ctx: &mut SetupContext,
    address: EmailAddress,
    grant: &Grant,
    ends_in: Option<Duration>,
) -> Result<()> {
    let client = ctx.oauth_client()?;
    // Google always sends one to desktop apps.
    let refresh_token = grant.refresh_token.clone();
    let refresh_token = refresh_token.ok_or_else(|| SetupError::new(Blocker::GrantRevoked))?;
    let user = AuthorizedUser {
        client_id: client.id,
        client_secret: client.secret,
        refresh_token,
    };
    let tokens = Arc::new(ctx.deps.google.tokens_of_grant(&user, grant));
    let owner = fetch_address(ctx, &tokens).await?;
    if !address.is_same_mailbox(&owner) {
        let wanted = address.as_str().to_owned();
        return Err(SetupError::new(Blocker::WrongAccount { wanted }));
    }
    let now = ctx.deps.google.clock.now();
    let ends_at = ends_in.map(|ends_in| (now + ends_in).as_millis());
    let key = ctx.credential_key(&address, &user.client_id);
    ctx.update_progress(|progress| {
        progress.ledger.record(Resource::Grant(key));
        progress.grant_ends_at = ends_at;
    })?;
    ctx.discovered.mailbox = Some(MailboxAccess {
        address,
        tokens,
        user,
        is_stored: false,
    });
    Ok(())
}

/// Fetches the address of the mailbox, with retries while a newly enabled Gmail API becomes
/// available.
async fn fetch_address(ctx: &SetupContext, tokens: &Arc<TokenSource>) -> Result<String> {
    let gmail = ctx.deps.google.gmail(Arc::clone(tokens));
    let mut retries = Retries::after_errors(ctx.deps.timeouts);
    loop {
        match gmail.profile().await {
            Ok(profile) => return Ok(profile.email_address),
            Err(error) => {
                let error = ctx.error(error);
                retries
                    .wait_after(error, &*ctx.deps.ui, StepId::Mailbox)
                    .await?;
            }
        }
    }
}
