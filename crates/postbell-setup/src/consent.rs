//! OAuth consent in the user's browser: Google redirects it to a loopback port, or the user pastes
//! the address of the redirect.

mod loopback;

use postbell_google::{ConsentRequest, ConsentSecrets, Grant, OAuthClient, Redirected};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use url::Url;

use self::loopback::Loopback;
use crate::blocker::BROWSER;
use crate::context::SetupContext;
use crate::error::{Blocker, Result, SetupError};
use crate::remedy::RERUN;
use crate::report::StepId;
use crate::request::{Browser, describe_scope};
use crate::retry::Retries;
use crate::ui::{Event, NoAnswer, Question};

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

/// Asks the user for consent to all scopes, again if the user wants to after a refusal.
pub(crate) async fn request_consent(
    ctx: &SetupContext,
    prompt: ConsentPrompt<'_>,
) -> Result<Grant> {
    loop {
        match request_once(ctx, &prompt).await {
            Err(error) if ask_again(ctx, &error).await? => (),
            outcome => return outcome,
        }
    }
}

/// After a consent that is of no use, asks whether to open the page again. What was done before stays, such as
/// the sign-in.
pub(crate) async fn ask_again(ctx: &SetupContext, error: &SetupError) -> Result<bool> {
    let may_help = matches!(
        error.blocker,
        Blocker::ConsentRefused(_)
            | Blocker::ConsentTimeout
            | Blocker::ScopesNotGranted(_)
            | Blocker::WrongAccount { .. }
    );
    if !may_help {
        return Ok(false);
    }
    // The question that follows says how to go on.
    let remedy = error.remedy();
    let remedy = remedy.strip_suffix(RERUN).unwrap_or(&remedy);
    ctx.note(&format!("Not granted: {}. {remedy}", error.problem()));
    let question = Question::new("Open the page again?", BROWSER);
    let options = ["Yes", "No, stop here"].map(str::to_owned);
    match ctx.deps.ui.choose(&question, &options).await {
        Ok(chosen) => Ok(chosen == 0),
        Err(NoAnswer::NonInteractive(_)) => Ok(false),
        Err(cancelled) => Err(cancelled.into()),
    }
}

async fn request_once(ctx: &SetupContext, prompt: &ConsentPrompt<'_>) -> Result<Grant> {
    ctx.note(prompt.explanation);
    let loopback = Loopback::open().await?;
    let redirect = loopback.url();
    // For a remote browser the port is closed again. An open port that never answers would keep a
    // local browser waiting; a closed one fails at once, as the instructions say.
    let loopback = (ctx.request.browser == Browser::Local).then_some(loopback);
    let request = ConsentRequest::new(
        prompt.client.clone(),
        redirect,
        prompt.scopes,
        prompt.account.clone(),
        ConsentSecrets::new(&ctx.deps.random),
    );
    let page = request.url(&ctx.deps.google.urls.auth);
    let code = if let Some(loopback) = loopback {
        ctx.open_page(&page);
        let minutes = ctx.deps.timeouts.consent.as_secs().div_ceil(60);
        let elsewhere = if ctx.deps.ui.can_answer() {
            "If the browser is on another computer, as over SSH, its last page cannot be loaded: copy the address of \
             that page, which begins with http://127.0.0.1, and paste it here."
        } else {
            "The browser must be on this computer. From another one, run setup in a terminal, which takes the address of \
             the last page; POSTBELL_SETUP_ACCESS_TOKEN replaces the sign-in to Google Cloud."
        };
        ctx.note(&format!(
            "Waiting up to {minutes} minutes for your consent there. {elsewhere}"
        ));
        ctx.working(prompt.step, "waiting for your consent in the browser");
        let answer = async {
            tokio::select! {
                answer = loopback.wait_for_code(&request) => answer,
                answer = wait_for_pasted(ctx, &request) => answer,
            }
        };
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
        let missing = missing
            .into_iter()
            .map(|scope| describe_scope(scope))
            .collect();
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
        if let Some(read) = read_redirect(ctx, request, &answer) {
            return read;
        }
    }
    Err(SetupError::new(Blocker::ConsentTimeout))
}

/// Waits for the address of a redirect that the user pastes while the loopback port is open.
async fn wait_for_pasted(ctx: &SetupContext, request: &ConsentRequest) -> Result<SecretString> {
    loop {
        let pasted = ctx.deps.ui.pasted().await;
        if pasted.expose_secret().is_empty() {
            continue;
        }
        if let Some(read) = read_redirect(ctx, request, &pasted) {
            return read;
        }
    }
}

/// Reads what the user pasted; `None`, with a note, if it is not the answer to this request.
fn read_redirect(
    ctx: &SetupContext,
    request: &ConsentRequest,
    pasted: &SecretString,
) -> Option<Result<SecretString>> {
    let url = Url::parse(pasted.expose_secret().trim()).ok();
    let Some(url) = url else {
        ctx.note("That is not an address that begins with http://127.0.0.1.");
        return None;
    };
    match request.read(&url) {
        Redirected::Code(code) => return Some(Ok(code)),
        Redirected::Refused(code) => {
            return Some(Err(SetupError::new(Blocker::ConsentRefused(code))));
        }
        Redirected::Stranger => ctx.note(foreign(&url)),
    }
    None
}

/// Why an address is not the answer, and what to do.
fn foreign(url: &Url) -> &'static str {
    let has = |wanted: &str| url.query_pairs().any(|(name, _)| name == wanted);
    if has("response_type") {
        "That is the address to open in the browser. Copy the address that it leads to after your consent."
    } else if has("state") {
        "That address belongs to another sign-in. Open the address above, and copy the address that it leads to."
    } else {
        "That address is not complete: copy the whole address of the page, with everything behind the question mark."
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_address_that_is_no_answer_is_explained() {
        for (url, expected) in [
            (
                "https://accounts.google.com/o/oauth2/v2/auth?response_type=code&state=s",
                "to open in the browser",
            ),
            (
                "http://127.0.0.1:1/?state=other&code=other",
                "another sign-in",
            ),
            ("http://127.0.0.1:1/?code=c", "not complete"),
            ("http://127.0.0.1:1/", "not complete"),
        ] {
            let told = foreign(&Url::parse(url).unwrap());
            assert!(told.contains(expected), "{url}: {told}");
        }
    }
}
