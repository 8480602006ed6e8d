//! OAuth consent in the user's browser: Google redirects it to a loopback port, or the user pastes
//! the address of the redirect.

mod loopback;

use postbell_google::{ConsentRequest, Grant, OAuthClient, Redirected};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use url::Url;

use self::loopback::Loopback;
use crate::blocker::BROWSER;
use crate::context::SetupContext;
use crate::error::{Blocker, Result, SetupError};
use crate::report::StepId;
use crate::request::{Browser, describe_scope};
use crate::retry::Retries;
use crate::ui::{Event, Question};

/// How often the user may paste a wrong address.
const PASTE_ATTEMPTS: usize = 3;

/// A consent to ask for.
pub(crate) struct ConsentPrompt<'a> {
    pub(crate) step: StepId,
    /// The explanation that the user reads before the page opens.
    pub(crate) explanation: &'a str,
    pub(crate) client: OAuthClient,
    pub(crate) scopes: &'static [&'static str],
    /// The account to preselect.
    pub(crate) account: Option<String>,
}

/// Asks the user for consent to all scopes.
pub(crate) async fn request_consent(
    ctx: &SetupContext,
    prompt: ConsentPrompt<'_>,
) -> Result<Grant> {
    ctx.note(prompt.explanation);
    let loopback = Loopback::open().await?;
    let redirect = loopback.url();
    // For a remote browser the port is closed again. An open port that never answers would keep a
    // local browser waiting; a closed one fails at once, as the instructions say.
    let loopback = (ctx.request.browser == Browser::Local).then_some(loopback);
    let request = ConsentRequest::new(
        prompt.client,
        redirect,
        prompt.scopes,
        prompt.account,
        &ctx.deps.random,
    );
    let page = request.url(&ctx.deps.google.urls.auth);
    let code = if let Some(loopback) = loopback {
        ctx.open_page(&page);
        ctx.working(prompt.step, "waiting for your consent in the browser");
        let answer = loopback.wait_for_code(&request);
        let answered = timeout(ctx.deps.timeouts.consent, answer).await;
        answered.map_err(|_| SetupError::new(Blocker::ConsentTimeout))?
    } else {
        ctx.deps.ui.show(Event::Page(&page));
        ask_for_redirect(ctx, &request).await
    }?;
    let grant = exchange_code(ctx, prompt.step, &request, &code).await?;
    let missing = grant.lacking(prompt.scopes);
    if missing.is_empty() {
        Ok(grant)
    } else {
        let missing = missing.into_iter().map(describe_scope).collect();
        Err(SetupError::new(Blocker::ScopesNotGranted(missing)))
    }
}

/// Exchanges the code, with retries: the user does not have to consent again.
async fn exchange_code(
    ctx: &SetupContext,
    step: StepId,
    request: &ConsentRequest,
    code: &SecretString,
) -> Result<Grant> {
    let google = &ctx.deps.google;
    let mut retries = Retries::after_errors(ctx.deps.timeouts);
    loop {
        let exchanged =
            request.exchange(&google.client, &google.urls.token, code, google.clock.now());
        match exchanged.await {
            Ok(grant) => return Ok(grant),
            Err(error) => {
                retries
                    .wait_after(error.into(), &*ctx.deps.ui, step)
                    .await?
            }
        }
    }
}

/// Asks for the address that Google redirected a remote browser to.
async fn ask_for_redirect(ctx: &SetupContext, request: &ConsentRequest) -> Result<SecretString> {
    ctx.note(
        "Open this address in any browser and consent. The browser then fails to load a page that \
         begins with http://127.0.0.1: copy its whole address from the address bar.",
    );
    let question = Question::new("Address of the failed page (hidden)", BROWSER);
    for _ in 0..PASTE_ATTEMPTS {
        let answer = ctx.deps.ui.secret(&question).await?;
        let url = Url::parse(answer.expose_secret().trim()).ok();
        match url.map(|url| request.read(&url)) {
            Some(Redirected::Code(code)) => return Ok(code),
            Some(Redirected::Refused(code)) => {
                return Err(SetupError::new(Blocker::ConsentRefused(code)));
            }
            Some(Redirected::Stranger) => ctx.note(
                "That address belongs to another sign-in. Open the address above, and copy the \
                 address that it leads to.",
            ),
            None => ctx.note("That is not an address that begins with http://127.0.0.1."),
        }
    }
    Err(SetupError::new(Blocker::ConsentTimeout))
}
