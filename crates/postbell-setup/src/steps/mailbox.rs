//! The owner's leave to read the mailbox.
//!
//! While an app's consent screen is in testing, Google ends every grant after seven days
//! (<https://developers.google.com/identity/protocols/oauth2#expiration>), and says so with the
//! grant. The owner is then shown the way out of testing, and asked again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postbell_core::EmailAddress;
use postbell_google::{
    Api, AuthorizedUser, CloudError, Credentials, Grant, PubSubAdmin, RefusalKind, TokenError,
    revoke_grant,
};

use crate::consent::{self, Asked};
use crate::person::Question;
use crate::site::{KnownMailbox, Site};
use crate::step::{Look, Step, StepId, Undone};
use crate::times::day;
use crate::trouble::{Trouble, Wall};
use crate::wishes::{Destination, platform};

const MADE: &str = "grant";

/// How long a grant lasts that was given while the consent screen is in testing.
const TESTING: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How often the owner is asked to leave testing.
const TRIES: usize = 3;

pub(super) struct Mailbox;

#[async_trait]
impl Step for Mailbox {
    fn id(&self) -> StepId {
        StepId::Mailbox
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::Client, StepId::Apis]
    }

    async fn look(&self, site: &mut Site) -> Result<Look, Trouble> {
        let address = wanted(site)?;
        let is_fresh = site.known.mailbox.is_some();
        if let Some(ends_at) = site.progress.grant_ends_at {
            let ends = day(ends_at);
            return Ok(if is_fresh {
                let warning = format!(
                    "the consent screen is in testing: the grant ends on {ends}, and mail with it"
                );
                Look::Uncertain(address.as_str().to_owned(), warning)
            } else {
                Look::ToDo(format!("consent again, for the grant ends on {ends}"))
            });
        }
        if is_fresh {
            return Ok(Look::Done(address.as_str().to_owned()));
        }
        if site
            .wishes
            .destination
            .as_ref()
            .and_then(Destination::credentials)
            .is_some()
        {
            return look_at_file(site, &address).await;
        }
        look_at_platform(site, &address).await
    }

    async fn apply(&self, site: &mut Site) -> Result<(), Trouble> {
        let address = wanted(site)?;
        for left in (0..TRIES).rev() {
            let grant = ask(site, &address).await?;
            let ends_in = grant.ends_in.filter(|ends_in| *ends_in <= TESTING);
            if ends_in.is_some() && left > 0 && leave_testing(site).await? {
                continue;
            }
            return keep(site, address, &grant, ends_in).await;
        }
        Err(Trouble::new(Wall::NobodyConsented))
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        if !site.is_ours(MADE) {
            return Ok(Undone::Nothing);
        }
        let revoke_url = site.tools.google.token.join("revoke");
        let (Ok(mailbox), Ok(url)) = (site.mailbox(), revoke_url) else {
            return Ok(Undone::Left(
                "the platform alone had it: take it back at \
                 https://myaccount.google.com/connections"
                    .to_owned(),
            ));
        };
        revoke_grant(&site.tools.client, &url, &mailbox.user.refresh_token).await?;
        site.known.mailbox = None;
        site.not_ours(MADE)?;
        Ok(Undone::Removed("Google takes the grant no more".to_owned()))
    }
}

fn wanted(site: &Site) -> Result<EmailAddress, Trouble> {
    let wanted = site.wishes.mailbox.clone();
    wanted.ok_or_else(|| Trouble::new(Wall::Unattended("--mailbox ADDRESS")))
}

/// Loads what opens the mailbox from the file, if that is where it is.
pub(super) fn load(site: &mut Site) -> Option<()> {
    if site.known.mailbox.is_some() {
        return Some(());
    }
    let address = site.wishes.mailbox.clone()?;
    let file = site.wishes.destination.as_ref()?.credentials()?;
    let credentials = Credentials::from_file(file, address.as_str()).ok()?;
    let Credentials::AuthorizedUser(user) = credentials else {
        return None;
    };
    let tokens = site.tokens_of(&user, None);
    site.known.mailbox = Some(KnownMailbox {
        address,
        tokens,
        user,
        is_stored: true,
    });
    Some(())
}

/// Whether the file opens the mailbox.
async fn look_at_file(site: &mut Site, address: &EmailAddress) -> Result<Look, Trouble> {
    let consent = |why: &str| {
        let why = if why.is_empty() {
            String::new()
        } else {
            format!(": {why}")
        };
        Ok(Look::ToDo(format!(
            "ask {} for consent{why}",
            address.as_str()
        )))
    };
    if load(site).is_none() {
        return consent("");
    }
    let mailbox = site.mailbox()?;
    let looked = examine(site, &mailbox).await;
    // What does not open it is no help to the steps that follow.
    if !matches!(looked, Ok(None)) {
        site.known.mailbox = None;
    }
    match looked {
        Ok(None) => Ok(Look::Done(address.as_str().to_owned())),
        Ok(Some(why)) => consent(why),
        Err(trouble) => Err(trouble),
    }
}

/// What is wrong with what opens the mailbox; nothing, where it is right.
async fn examine(site: &Site, mailbox: &KnownMailbox) -> Result<Option<&'static str>, Trouble> {
    if mailbox.user.client_id != site.oauth_client()?.id {
        return Ok(Some("the file is of another OAuth client"));
    }
    let profile = site.gmail(Arc::clone(&mailbox.tokens)).profile().await;
    let profile = match profile {
        Ok(profile) => profile,
        Err(CloudError::Token(TokenError::GrantRevoked)) => {
            return Ok(Some("the grant was taken back, or has ended"));
        }
        Err(error) if error.is(RefusalKind::ScopeMissing) => {
            return Ok(Some("the grant does not cover it"));
        }
        Err(error) => return Err(site.trouble(error)),
    };
    if !profile
        .email_address
        .eq_ignore_ascii_case(mailbox.address.as_str())
    {
        return Ok(Some("the file opens another mailbox"));
    }
    if !matches!(site.wishes.destination, Some(Destination::Pull { .. })) {
        return Ok(None);
    }
    let (url, tokens) = (
        site.tools.google.pubsub.clone(),
        Arc::clone(&mailbox.tokens),
    );
    let pubsub = PubSubAdmin::from(Api::new(site.tools.client.clone(), url, tokens));
    let subscription = pubsub.subscription(&site.subscription()?).await;
    let lacks = matches!(&subscription, Err(error) if error.is(RefusalKind::ScopeMissing));
    Ok(lacks.then_some("the grant does not cover fetching notifications"))
}

/// Whether the platform has what opens the mailbox.
async fn look_at_platform(site: &mut Site, address: &EmailAddress) -> Result<Look, Trouble> {
    let consent = format!("ask {} for consent", address.as_str());
    let Some(platform) = platform(site) else {
        return Ok(Look::ToDo(consent));
    };
    let connection = platform.connection().await?;
    let is_connected = super::credentials::is_connected(site, &connection)?;
    Ok(if is_connected {
        Look::Done(format!("{} (the platform has it)", address.as_str()))
    } else {
        Look::ToDo(consent)
    })
}

async fn ask(site: &Site, address: &EmailAddress) -> Result<Grant, Trouble> {
    let asked = Asked {
        step: StepId::Mailbox,
        why: &format!(
            "Now consent as {}, the owner of the mailbox, and tick every box. Google warns that the \
             app is not verified and asks for a restricted scope: it is your own app, and reads mail \
             for your bot alone. Choose Advanced, and go on.",
            address.as_str()
        ),
        client: site.oauth_client()?,
        scopes: site.wishes.scopes(),
        account: Some(address.as_str().to_owned()),
    };
    consent::ask(site, asked).await
}

/// Shows the way out of testing, and returns whether the owner has taken it.
async fn leave_testing(site: &Site) -> Result<bool, Trouble> {
    let page = match &site.known.project {
        Some(project) => format!(
            "https://console.cloud.google.com/auth/audience?project={}",
            project.id
        ),
        None => "https://console.cloud.google.com/auth/audience".to_owned(),
    };
    site.note(
        "The consent screen is in testing, so Google ends this grant after seven days, and mail with \
         it. On the page below, choose \"Publish app\" (In production), or Internal where \
         your organisation has Google Workspace. For yourself, nothing has to be verified. Then \
         consent once more: the old grant keeps its end.",
    );
    super::lead_to(site, &page);
    let question = Question::new(
        "Is it published now? (no: go on with a grant for seven days)",
        "--yes",
    );
    site.ask_whether(&question.or("no")).await
}

/// Checks whose mailbox it is, and keeps in memory what opens it.
async fn keep(
    site: &mut Site,
    address: EmailAddress,
    grant: &Grant,
    ends_in: Option<Duration>,
) -> Result<(), Trouble> {
    let client = site.oauth_client()?;
    // Desktop apps always get one.
    let refresh_token = grant.refresh_token.clone();
    let refresh_token = refresh_token.ok_or_else(|| Trouble::new(Wall::GrantRevoked))?;
    let user = AuthorizedUser {
        client_id: client.id,
        client_secret: client.secret,
        refresh_token,
    };
    let tokens = site.tokens_of(&user, Some(grant));
    let profile = patient_profile(site, Arc::clone(&tokens)).await?;
    if !profile.eq_ignore_ascii_case(address.as_str()) {
        let wanted = address.as_str().to_owned();
        return Err(Trouble::new(Wall::WrongAccount { wanted }));
    }
    let ends_at = ends_in.map(|ends_in| (site.tools.clock.now() + ends_in).as_millis());
    site.making(MADE)?;
    site.remember(|progress| progress.grant_ends_at = ends_at)?;
    site.known.mailbox = Some(KnownMailbox {
        address,
        tokens,
        user,
        is_stored: false,
    });
    Ok(())
}

/// Asks whose mailbox it is, and waits where Gmail's API was enabled a moment ago: the owner is not
/// asked again for that.
async fn patient_profile(
    site: &Site,
    tokens: Arc<postbell_google::TokenSource>,
) -> Result<String, Trouble> {
    let patience = site.tools.patience;
    let (mut left, mut wait) = (patience.total, patience.first);
    loop {
        let trouble = match site.gmail(Arc::clone(&tokens)).profile().await {
            Ok(profile) => return Ok(profile.email_address),
            Err(error) => site.trouble(error),
        };
        let Some(reason) = trouble.passing().filter(|_| !left.is_zero()) else {
            return Err(trouble);
        };
        let pause = wait.min(left);
        left -= pause;
        site.wait(StepId::Mailbox, reason, pause, left).await;
        wait = (wait + wait / 2).min(patience.longest);
    }
}
