//! Runs all checks.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, Timestamp, UserId};
use postbell_google::{
    Api, DEFAULT_PULL_SUBSCRIPTION, DEFAULT_PUSH_ACCOUNT, DEFAULT_PUSH_SUBSCRIPTION, DEFAULT_TOPIC,
    GoogleUrls, Projects, TokenSource, default_user_subscription, push_account_email,
};
use reqwest::Client;
use tokio::time::timeout;

use crate::checks;
use crate::facts::{Account, Destination, Facts, SetupState, user_endpoint};
use crate::platform;
use crate::report::{CheckResult, HopId, Report};

/// What the checks use.
pub struct Deps {
    /// HTTP client. Must not follow redirects, and must report TLS certificates.
    pub client: Client,
    /// Base URLs of Google's services.
    pub google: GoogleUrls,
    /// Time source.
    pub clock: Arc<dyn Clock>,
    /// Access tokens for the administration of Google Cloud, if the user has signed in.
    pub admin: Option<Arc<TokenSource>>,
    /// Time limit of each check.
    pub time_limit: Duration,
}

/// A Google Cloud project.
pub(crate) struct Project {
    pub(crate) id: String,
    /// Empty if it cannot be read.
    pub(crate) number: String,
}

/// What each check sees.
pub(crate) struct Checker<'a> {
    pub(crate) deps: &'a Deps,
    pub(crate) facts: &'a Facts,
    /// The state of setup, as far as it concerns this path.
    pub(crate) setup: SetupState,
    pub(crate) account: Option<&'a Result<Account, CheckResult>>,
    pub(crate) project: Option<Project>,
}

/// Checks every hop of the path.
pub async fn run_checks(deps: &Deps, facts: &Facts) -> Report {
    let setup = relevant_setup(facts);
    let remote = match (&facts.account, &setup.destination) {
        (None, Some(Destination::Platform { platform, user, .. })) => {
            Some(platform::account(deps, facts.user_token.as_ref(), platform, user).await)
        }
        _ => None,
    };
    let account = facts.account.as_ref().or(remote.as_ref());
    let project = project(deps, &setup, account).await;
    let checker = Checker {
        deps,
        facts,
        setup,
        account,
        project,
    };
    checker.run().await
}

impl Checker<'_> {
    async fn run(&self) -> Report {
        let (keys, clock, address, google, grant, machine, webhook) = tokio::join!(
            checks::keys::check(self),
            checks::clock::check(self),
            checks::endpoint::check(self),
            checks::google::check(self),
            checks::grant::check(self),
            checks::machine::check(self),
            checks::webhook::check(self),
        );
        let mut hops = vec![
            (HopId::Configuration, self.facts.configuration.clone()),
            (HopId::Keys, keys),
            (HopId::Clock, clock),
            (HopId::Address, address),
            (HopId::Audience, checks::endpoint::audience(self)),
            (HopId::Watch, checks::watch::check(self)),
            (HopId::Grant, grant),
            (HopId::User, checks::user::check(self)),
        ];
        hops.extend(google);
        let has_webhook = webhook.is_some();
        hops.extend(
            machine
                .into_iter()
                .filter(|(hop, _)| *hop != HopId::Hook || !has_webhook),
        );
        hops.extend(webhook.map(|webhook| (HopId::Hook, webhook)));
        hops.extend(checks::history::check(self));
        hops.sort_by_key(|(hop, _)| *hop);
        Report { hops }
    }

    /// Awaits a check, at most for the time limit.
    pub(crate) async fn within(&self, check: impl Future<Output = CheckResult>) -> CheckResult {
        let limit = self.deps.time_limit;
        timeout(limit, check).await.unwrap_or_else(|_| {
            CheckResult::failed(
                format!("no answer within {} s", limit.as_secs_f64()),
                "Wait longer: `postbell doctor --wait 1m`.",
            )
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.deps.clock.now()
    }

    /// The push endpoint: the one that the configured relay expects, else the one that setup used.
    pub(crate) fn endpoint(&self) -> Option<String> {
        self.expected_endpoint().or_else(|| self.setup_endpoint())
    }

    pub(crate) fn expected_endpoint(&self) -> Option<String> {
        let (audience, user) = (self.facts.audience.as_ref()?, self.facts.user.as_ref()?);
        Some(user_endpoint(audience, user))
    }

    pub(crate) fn setup_endpoint(&self) -> Option<String> {
        self.setup.destination.as_ref()?.endpoint()
    }

    /// The user id for commands in hints.
    pub(crate) fn user_name(&self) -> String {
        let of_setup = match &self.setup.destination {
            Some(Destination::Platform { user, .. }) => Some(user),
            _ => None,
        };
        let user = self.facts.user.as_ref().or(of_setup);
        user.map_or_else(|| "USER".to_owned(), UserId::to_string)
    }

    /// The mailbox address, empty if it is not known.
    pub(crate) fn mailbox(&self) -> &str {
        let mailbox = self.setup.mailbox.as_ref();
        mailbox.map_or("", |address| address.as_str())
    }

    pub(crate) fn is_pulled(&self) -> bool {
        matches!(self.setup.destination, Some(Destination::Pull { .. }))
    }

    /// Whether a watcher on this machine reads the mailbox, and not one on a platform's machine.
    pub(crate) fn is_local(&self) -> bool {
        matches!(
            self.setup.destination,
            Some(Destination::Pull { .. } | Destination::Serve { .. })
        )
    }

    /// The topic, as `projects/P/topics/T`.
    pub(crate) fn topic(&self) -> Option<String> {
        let project = &self.project.as_ref()?.id;
        let topic = self.setup.topic.as_deref().unwrap_or(DEFAULT_TOPIC);
        Some(format!("projects/{project}/topics/{topic}"))
    }

    /// The subscription, as `projects/P/subscriptions/S`.
    pub(crate) fn subscription(&self, project: &Project) -> String {
        let name = match (&self.setup.subscription, &self.setup.destination) {
            (Some(name), _) => name.clone(),
            (None, Some(Destination::Platform { user, .. })) => default_user_subscription(user),
            (None, Some(Destination::Serve { .. })) => DEFAULT_PUSH_SUBSCRIPTION.to_owned(),
            (None, Some(Destination::Pull { .. }) | None) => DEFAULT_PULL_SUBSCRIPTION.to_owned(),
        };
        format!("projects/{}/subscriptions/{name}", project.id)
    }

    /// The address of the service account that signs pushes.
    pub(crate) fn push_account(&self, project: &Project) -> String {
        let account = self.setup.service_account.as_deref();
        push_account_email(account.unwrap_or(DEFAULT_PUSH_ACCOUNT), &project.id)
    }
}

/// The state of setup if it is about the checked user. Otherwise only the destination is known, from
/// the configuration.
fn relevant_setup(facts: &Facts) -> SetupState {
    let is_relevant = match (&facts.setup.destination, &facts.user) {
        (Some(Destination::Platform { user, .. }), Some(wanted)) => user == wanted,
        (_, wanted) => wanted.is_none(),
    };
    if is_relevant {
        return facts.setup.clone();
    }
    let configured = facts.user.clone().zip(facts.audience.clone());
    SetupState {
        destination: configured.map(|(user, relay)| Destination::Platform {
            platform: relay.clone(),
            relay,
            user,
        }),
        ..SetupState::empty()
    }
}

/// The project that setup used, else the one in the push account's address.
async fn project(
    deps: &Deps,
    setup: &SetupState,
    account: Option<&Result<Account, CheckResult>>,
) -> Option<Project> {
    let account = account.and_then(|account| account.as_ref().ok());
    let push_account = account.and_then(|account| account.push_account.as_deref());
    let of_account = push_account.and_then(|email| {
        let (_, domain) = email.split_once('@')?;
        domain.strip_suffix(".iam.gserviceaccount.com")
    });
    let id = setup.project.as_deref().or(of_account)?.to_owned();
    let number = match &setup.project_number {
        Some(number) => number.clone(),
        None => project_number(deps, &id).await.unwrap_or_default(),
    };
    Some(Project { id, number })
}

async fn project_number(deps: &Deps, id: &str) -> Option<String> {
    let url = deps.google.resource_manager.clone();
    let projects = Projects::new(Api::new(deps.client.clone(), url, deps.admin.clone()?));
    let found = timeout(deps.time_limit, projects.get(id))
        .await
        .ok()?
        .ok()?;
    Some(found.number().to_owned())
}
