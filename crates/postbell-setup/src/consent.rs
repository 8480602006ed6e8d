//! Brings a person to Google's page and back: the browser is sent to a port of this machine, or the
//! person pastes where it was sent.

mod loopback;

use postbell_google::{ConsentRequest, Grant, OAuthClient, Redirected};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use url::Url;

use self::loopback::Loopback;
use crate::person::{Event, Question};
use crate::site::Site;
use crate::step::StepId;
use crate::trouble::{Trouble, Wall};
use crate::wishes::{Browser, scope_in_words};

/// How often somebody may paste something else.
const PASTES: usize = 3;

/// What is asked of a person.
pub(crate) struct Asked<'a> {
    /// For which step.
    pub(crate) step: StepId,
    /// What for, in a sentence that they read before they go.
    pub(crate) why: &'a str,
    /// Which client asks.
    pub(crate) client: OAuthClient,
    /// For what.
    pub(crate) scopes: &'static [&'static str],
    /// Whom it is asked of.
    pub(crate) account: Option<String>,
}

/// Asks a person for their consent, all of it.
///
/// # Errors
///
/// [`Trouble`] where they do not give it, or not all of it, or not in time.
pub(crate) async fn ask(site: &Site, asked: Asked<'_>) -> Result<Grant, Trouble> {
    site.note(asked.why);
    let loopback = Loopback::open().await?;
    let request = ConsentRequest::new(
        asked.client,
        loopback.url(),
        asked.scopes,
        asked.account,
        &site.tools.random,
    );
    let page = request.url(&site.tools.google.auth);
    site.show(Event::Page(&page));
    let code = match site.wishes.browser {
        Browser::Here => {
            site.tools.person.open(&page);
            site.working(asked.step, "waiting for your consent in the browser");
            let answer = loopback.answer(&request);
            let answered = timeout(site.tools.patience.consent, answer).await;
            answered.map_err(|_| Trouble::new(Wall::NobodyConsented))?
        }
        Browser::Elsewhere => pasted(site, &request).await,
    }?;
    let exchanged = request.exchange(&site.tools.client, &site.tools.google.token, &code);
    let grant = exchanged.await?;
    let lacking = grant.lacking(asked.scopes);
    if lacking.is_empty() {
        Ok(grant)
    } else {
        let lacking = lacking.into_iter().map(scope_in_words).collect();
        Err(Trouble::new(Wall::NotTicked(lacking)))
    }
}

/// Takes the address that a browser elsewhere was sent to, where it found nothing.
async fn pasted(site: &Site, request: &ConsentRequest) -> Result<SecretString, Trouble> {
    site.note(
        "Open the address above in any browser and consent. The browser then fails to open a page \
         that begins with http://127.0.0.1: copy the whole address from its address bar.",
    );
    let question = Question::new(
        "Address that the browser was sent to (not shown)",
        "a browser",
    );
    for _ in 0..PASTES {
        let answer = site.ask_secret(&question).await?;
        let url = Url::parse(answer.expose_secret().trim()).ok();
        match url.map(|url| request.read(&url)) {
            Some(Redirected::Code(code)) => return Ok(code),
            Some(Redirected::Refused(word)) => return Err(refused(word)),
            Some(Redirected::Stranger) => site.note(
                "That address belongs to another sign-in: open the address above, and copy where \
                 that leads.",
            ),
            None => site.note("That is no address; it begins with http://127.0.0.1."),
        }
    }
    Err(Trouble::new(Wall::NobodyConsented))
}

fn refused(word: String) -> Trouble {
    Trouble::new(Wall::ConsentRefused(word))
}
