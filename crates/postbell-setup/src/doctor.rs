//! What is wrong with the path of a mail, hop by hop, and what mends it.
//!
//! It looks, and changes nothing: what it sends is a mail to the bot's hook that says of itself that
//! it is none, and pushes that cannot be taken. Hops that do not depend on each other are looked at
//! at the same time, each for so long and no longer, and nothing that answers is trusted.

mod clock;
mod endpoint;
mod finding;
mod google;
mod history;
mod hook;

mod keys;
mod machine;
mod mailbox;
mod probe;

use std::time::Duration;

use postbell_core::{
    DeliveryRecord, EmailAddress, InstanceStatus, MachineLocation, Timestamp, UserId,
};
use postbell_google::{Credentials, OAuthClient};
use secrecy::SecretString;
use tokio::time::timeout;
use url::Url;

pub use self::finding::{Diagnosis, Finding, Health, HopId};
use crate::site::{KnownProject, Site};
use crate::steps;
use crate::trouble::Trouble;
use crate::wishes::Destination;

/// What the services of this configuration know, as far as they could be asked: handed in, because
/// only they know how they keep it. Where something is not known, a finding says why.
pub struct Facts {
    /// Whether the configuration is right.
    pub configuration: Finding,
    /// Whether the platform's keys open what they are for, where there is one here.
    pub keys: Option<Finding>,
    /// Who is looked at, where a platform knows them.
    pub user: Option<UserId>,
    /// The public base URL that the relay of this configuration expects in audiences.
    pub audience: Option<Url>,
    /// Whether that relay answers everybody with success.
    pub acknowledges_strangers: bool,
    /// What the platform knows of the user. Nobody is asked where it is `None`: it is elsewhere.
    pub account: Option<Result<Account, Finding>>,
    /// The last deliveries, the latest first.
    pub deliveries: Result<Vec<DeliveryRecord>, Finding>,
    /// What the bot's hook expects, where that is known.
    pub hook_token: Option<SecretString>,
    /// What opens the mailbox, where that is at hand.
    pub mailbox: Result<(EmailAddress, Credentials), Finding>,
}

/// What a platform knows of a user.
#[derive(Clone, Debug)]
pub struct Account {
    /// Whether a Google account is connected.
    pub google_connected: bool,
    /// Whether the user wants to be told of mail.
    pub notifications_enabled: bool,
    /// The account's address.
    pub email: Option<String>,
    /// Who signs its pushes.
    pub push_account: Option<String>,
    /// Until when Gmail's watch holds, where the machine has said it.
    pub watch_ends_at: Option<Timestamp>,
    /// The machine, where that may be seen.
    pub machine: Result<MachineFacts, Finding>,
}

/// What is known of a user's machine.
#[derive(Clone, Debug)]
pub struct MachineFacts {
    /// Where it is.
    pub place: MachineLocation,
    /// What it does, as far as the platform was told: mail goes only to one that runs.
    pub status: InstanceStatus,
    /// What its host says that it does, where that could be asked.
    pub seen: Option<Result<InstanceStatus, Finding>>,
    /// Whether mail starts it.
    pub wakes: bool,
    /// Where its controller is.
    pub controller: Result<Url, Finding>,
    /// What its controller expects of the relay.
    pub token: Option<SecretString>,
}

/// One examination.
pub(crate) struct Exam<'a> {
    site: &'a Site,
    facts: &'a Facts,
    patience: Duration,
}

impl Exam<'_> {
    /// Looks, but no longer than patience lasts.
    async fn within(&self, look: impl Future<Output = Finding>) -> Finding {
        timeout(self.patience, look).await.unwrap_or_else(|_| {
            Finding::failed(
                format!("no answer within {} s", self.patience.as_secs_f64()),
                "Look longer: `postbell doctor --wait 1m`.",
            )
        })
    }

    /// Where notifications are to go, where they are pushed: as the relay of this configuration
    /// expects it, else as setup remembers it.
    fn endpoint(&self) -> Option<String> {
        self.expected_endpoint()
            .or_else(|| self.remembered_endpoint())
    }

    fn expected_endpoint(&self) -> Option<String> {
        let (audience, user) = (self.facts.audience.as_ref()?, self.facts.user.as_ref()?);
        let base = audience.as_str().trim_end_matches('/');
        Some(format!("{base}/push/user/{}", user.url_segment()))
    }

    fn remembered_endpoint(&self) -> Option<String> {
        let destination = self.site.wishes.destination.as_ref();
        destination.and_then(Destination::endpoint)
    }

    fn is_pulled(&self) -> bool {
        matches!(self.site.wishes.destination, Some(Destination::Pull { .. }))
    }

    /// Whether a watcher of this machine reads the mailbox, and not one of a platform's machine.
    fn is_local(&self) -> bool {
        is_local(self.site)
    }
}

/// Signs in for Google Cloud's administration, as setup does: with the token that was given, else
/// with a person before a browser.
///
/// # Errors
///
/// [`Trouble`] where that does not succeed.
pub async fn sign_in(site: &mut Site) -> Result<(), Trouble> {
    steps::sign_in(site).await
}

/// Looks at each hop of the path, for no longer than `patience` at one of them.
pub async fn examine(site: &mut Site, facts: &Facts, patience: Duration) -> Diagnosis {
    prepare(site, facts, patience).await;
    let told = match facts.account {
        None if !is_local(site) => machine::ask_platform(site, patience).await,
        _ => None,
    };
    let exam = Exam {
        site,
        facts,
        patience,
    };
    let account = facts.account.as_ref().or(told.as_ref());
    let (keys, clock, endpoint, google, mailbox, machine, hook) = tokio::join!(
        keys::look(&exam),
        clock::look(&exam),
        endpoint::look(&exam),
        google::look(&exam, account),
        mailbox::look(&exam),
        machine::look(&exam, account),
        hook::look(&exam),
    );
    let mut hops = vec![(HopId::Configuration, facts.configuration.clone())];
    hops.extend([
        (HopId::Keys, keys),
        (HopId::Clock, clock),
        (HopId::Address, endpoint),
    ]);
    hops.push((HopId::Audience, endpoint::audience(&exam)));
    hops.extend(google);
    hops.extend(mailbox);
    hops.extend(
        machine
            .into_iter()
            .filter(|(hop, _)| *hop != HopId::Hook || hook.is_none()),
    );
    hops.extend(hook.map(|hook| (HopId::Hook, hook)));
    hops.extend(history::look(&exam));
    hops.sort_by_key(|(hop, _)| *hop);
    Diagnosis { hops }
}

fn is_local(site: &Site) -> bool {
    matches!(
        site.wishes.destination,
        Some(Destination::Pull { .. } | Destination::Serve { .. })
    )
}

/// Recalls what setup remembers, as far as it is about the one who is looked at.
async fn prepare(site: &mut Site, facts: &Facts, patience: Duration) {
    let remembered = site.progress.destination.clone();
    let remembered = remembered.and_then(Destination::remembered);
    let is_theirs = match (&remembered, &facts.user) {
        (Some(Destination::Platform { user, .. }), Some(wanted)) => user == wanted,
        (_, Some(_)) => false,
        (_, None) => true,
    };
    if is_theirs {
        site.wishes.destination = remembered;
        let mailbox = site.progress.mailbox.as_ref();
        site.wishes.mailbox = mailbox.and_then(|address| address.parse().ok());
    } else {
        site.progress = crate::progress::Progress {
            client_file: site.progress.client_file.take(),
            ..crate::progress::Progress::default()
        };
        let user = facts.user.clone();
        site.wishes.destination =
            user.zip(facts.audience.clone())
                .map(|(user, relay)| Destination::Platform {
                    platform: relay.clone(),
                    relay,
                    user,
                    token: None,
                });
    }
    if let Some(Destination::Platform { token, .. }) = &mut site.wishes.destination {
        *token = site.wishes.user_token.clone();
    }
    site.known.project = project(site, facts, patience).await;
}

/// The project: setup remembers its id, or it shows in the push account's address.
async fn project(site: &Site, facts: &Facts, patience: Duration) -> Option<KnownProject> {
    let account = facts.account.as_ref().and_then(|known| known.as_ref().ok());
    let push_account = account.and_then(|account| account.push_account.as_deref());
    let of_account = push_account.and_then(|email| {
        let (_, domain) = email.split_once('@')?;
        domain.strip_suffix(".iam.gserviceaccount.com")
    });
    let remembered = site.progress.project.as_deref();
    let id = remembered.or(of_account)?.to_owned();
    if let Some(number) = number_of_client(site) {
        return Some(KnownProject { id, number });
    }
    let projects = site.projects().ok();
    let found = match &projects {
        Some(projects) => timeout(patience, projects.get(&id)).await.ok(),
        None => None,
    };
    let number = found.and_then(Result::ok);
    let number = number.map_or_else(String::new, |found| found.number().to_owned());
    Some(KnownProject { id, number })
}

/// The number of the OAuth client's project, which is the project that setup uses.
fn number_of_client(site: &Site) -> Option<String> {
    site.progress.project.as_ref()?;
    let client = OAuthClient::from_file(site.progress.client_file.as_ref()?).ok()?;
    client.project_number().map(str::to_owned)
}
