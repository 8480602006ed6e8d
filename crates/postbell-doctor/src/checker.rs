//! What each check sees.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, EmailAddress, Timestamp, UserId};
use postbell_google::{
    Credentials, DEFAULT_OPERATOR_NAME, DEFAULT_PULL_SUBSCRIPTION, DEFAULT_PUSH_ACCOUNT,
    DEFAULT_PUSH_SUBSCRIPTION, DEFAULT_TOPIC, GoogleUrls, TokenSource, default_id_of_mailbox,
    default_user_subscription, push_account_email,
};
use reqwest::Client;
use tokio::time::timeout;

use crate::facts::{
    Account, Destination, Facts, OperatorProject, SetupState, shared_endpoint, user_endpoint,
};
use crate::report::CheckResult;

/// Why the subscription of a watcher that was started without setup is not checked.
pub(crate) const PUSHED: &str = "setup did not make the subscription that pushes to this watcher: `postbell watch test` tests it";

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

impl Checker<'_> {
    /// Awaits a check, at most for the time limit.
    pub(crate) async fn within(&self, check: impl Future<Output = CheckResult>) -> CheckResult {
        let limit = self.deps.time_limit;
        timeout(limit, check)
            .await
            .unwrap_or_else(|_| self.no_answer())
    }

    /// The result of a check that did not end within the time limit.
    pub(crate) fn no_answer(&self) -> CheckResult {
        CheckResult::failed(
            format!("no answer within {} s", self.deps.time_limit.as_secs_f64()),
            "Wait longer: `postbell doctor --wait 1m`.",
        )
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
        let is_shared = self.operator().is_some() || self.owner().is_some();
        Some(if is_shared {
            shared_endpoint(audience)
        } else {
            user_endpoint(audience, user)
        })
    }

    /// The user whose further account is checked.
    fn owner(&self) -> Option<&UserId> {
        self.account?.as_ref().ok()?.owner.as_ref()
    }

    /// The operator's project, if the account was connected with it.
    fn operator(&self) -> Option<&OperatorProject> {
        let push_account = self.account?.as_ref().ok()?.push_account.as_ref()?;
        let operator = self.facts.operator.as_ref()?;
        (operator.push_account == *push_account).then_some(operator)
    }

    /// The address of the further account that is checked.
    pub(crate) fn further_mailbox(&self) -> Option<&str> {
        let account = self.account?.as_ref().ok()?;
        account.email.as_deref().filter(|_| account.owner.is_some())
    }

    pub(crate) fn setup_endpoint(&self) -> Option<String> {
        self.setup.destination.as_ref()?.endpoint()
    }

    /// The user id for commands in hints, which name no further account.
    pub(crate) fn user_name(&self) -> String {
        let of_setup = match &self.setup.destination {
            Some(Destination::Platform { user, .. }) => Some(user),
            _ => None,
        };
        let user = self.owner().or(self.facts.user.as_ref()).or(of_setup);
        user.map_or_else(|| "USER".to_owned(), UserId::to_string)
    }

    /// The mailbox address, empty if it is not known.
    pub(crate) fn mailbox(&self) -> &str {
        let mailbox = self.setup.mailbox.as_ref();
        mailbox.map_or("", |address| address.as_str())
    }

    /// The name of the watcher's state: the mailbox, for a further webhook of it with a slash and its name.
    pub(crate) fn watcher(&self) -> String {
        let webhook = self.setup.webhook.as_ref();
        let ending = webhook.map_or_else(String::new, |name| format!("/{name}"));
        format!("{}{ending}", self.mailbox())
    }

    pub(crate) fn is_pulled(&self) -> bool {
        matches!(
            self.setup.destination,
            Some(Destination::Pull { .. } | Destination::Watcher { is_pulled: true })
        )
    }

    /// Whether a watcher on this machine reads the mailbox, and not one on a platform's machine.
    pub(crate) fn is_local(&self) -> bool {
        matches!(
            self.setup.destination,
            Some(
                Destination::Pull { .. } | Destination::Serve { .. } | Destination::Watcher { .. }
            )
        )
    }

    /// Whether the watcher was started without setup.
    pub(crate) fn is_standalone(&self) -> bool {
        matches!(self.setup.destination, Some(Destination::Watcher { .. }))
    }

    /// Whether pushes reach a watcher of whose subscription only Pub/Sub knows, because setup did not make it.
    pub(crate) fn is_push_unknown(&self) -> bool {
        matches!(
            self.setup.destination,
            Some(Destination::Watcher { is_pulled: false })
        )
    }

    /// The credentials of the mailbox: given ones, else those of the file that setup wrote.
    pub(crate) fn mailbox_credentials(&self) -> Option<(EmailAddress, Credentials)> {
        if let Ok(given) = &self.facts.mailbox {
            return Some(given.clone());
        }
        let address = self.setup.mailbox.clone()?;
        let file = self.setup.destination.as_ref()?.credentials()?;
        let credentials = Credentials::from_file(file, address.as_str()).ok()?;
        Some((address, credentials))
    }

    /// The default id of a resource of the mailbox.
    fn of_mailbox(&self, base: &str) -> String {
        match &self.setup.mailbox {
            Some(mailbox) => default_id_of_mailbox(base, mailbox),
            None => base.to_owned(),
        }
    }

    /// The topic, as `projects/P/topics/T`.
    pub(crate) fn topic(&self) -> Option<String> {
        if let Some(operator) = self.operator() {
            return Some(operator.topic.clone());
        }
        let project = &self.project.as_ref()?.id;
        let topic = match &self.setup.topic {
            Some(topic) => topic.clone(),
            None => self.of_mailbox(DEFAULT_TOPIC),
        };
        Some(format!("projects/{project}/topics/{topic}"))
    }

    /// The subscription, as `projects/P/subscriptions/S`.
    pub(crate) fn subscription(&self, project: &Project) -> String {
        if self.operator().is_some() {
            return format!(
                "projects/{}/subscriptions/{DEFAULT_OPERATOR_NAME}",
                project.id
            );
        }
        if self.is_pulled()
            && let Ok(Some(watch)) = &self.setup.watch
            && !watch.subscription.is_empty()
        {
            return watch.subscription.clone();
        }
        let name = match (&self.setup.subscription, &self.setup.destination) {
            (Some(name), _) => name.clone(),
            (
                None,
                Some(Destination::Platform {
                    user, is_further, ..
                }),
            ) => {
                let name = default_user_subscription(user);
                if *is_further {
                    self.of_mailbox(&name)
                } else {
                    name
                }
            }
            (None, Some(Destination::Serve { .. })) => self.of_mailbox(DEFAULT_PUSH_SUBSCRIPTION),
            (None, Some(Destination::Pull { .. } | Destination::Watcher { .. }) | None) => {
                self.of_mailbox(DEFAULT_PULL_SUBSCRIPTION)
            }
        };
        format!("projects/{}/subscriptions/{name}", project.id)
    }

    /// The address of the service account that signs pushes.
    pub(crate) fn push_account(&self, project: &Project) -> String {
        if let Some(operator) = self.operator() {
            return operator.push_account.clone();
        }
        let account = self.setup.service_account.as_deref();
        push_account_email(account.unwrap_or(DEFAULT_PUSH_ACCOUNT), &project.id)
    }
}
