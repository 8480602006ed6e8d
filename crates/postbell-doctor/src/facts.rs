//! What the caller knows before any hop is checked.

use std::path::PathBuf;

use postbell_core::{
    DatabaseState, DeliveryRecord, EmailAddress, InstanceStatus, MachineLocation, MailProblem,
    Timestamp, UserId,
};
use postbell_google::Credentials;
use postbell_protocol::webhook::SigningKeys;
use secrecy::SecretString;
use url::Url;

use crate::report::{CheckResult, HopId};

/// What configuration, stores, platform and setup say about the path. Where a fact is not available,
/// a [`CheckResult`] says why.
pub struct Facts {
    /// Result of the configuration check.
    pub configuration: CheckResult,
    /// The database servers of relay and platform. Files are not among them.
    pub databases: Vec<DatabaseFacts>,
    /// Whether the platform's keys decrypt the stored credentials. `None` if no platform is
    /// configured here.
    pub keys: Option<CheckResult>,
    /// The platform user whose path is checked.
    pub user: Option<UserId>,
    /// Public base URL that the configured relay expects in audiences.
    pub audience: Option<Url>,
    /// What the operator has set up for users who connect in the browser.
    pub operator: Option<OperatorProject>,
    /// Whether that relay answers 2xx to pushes that it rejects.
    pub acknowledges_rejected: bool,
    /// What the platform knows about the user. `None` if no platform or directory is configured here.
    pub account: Option<Result<Account, CheckResult>>,
    /// The user's latest deliveries.
    pub deliveries: Result<Vec<DeliveryRecord>, CheckResult>,
    /// Credentials of the mailbox, from the platform or the caller.
    pub mailbox: MailboxCredentials,
    /// Webhook URL given by the caller.
    pub hook_url: Option<Url>,
    /// Result of the test that the running watcher on this machine made of its own webhook: the problem, if
    /// there is one. `None` if it was not asked.
    pub watcher_test: Option<Result<(), String>>,
    /// Bearer token of the webhook.
    pub hook_token: Option<SecretString>,
    /// Signs requests to the webhook.
    pub hook_signing: Option<SigningKeys>,
    /// The user's token for a remote platform.
    pub user_token: Option<SecretString>,
    /// What `postbell setup` or a watcher has stored on this machine.
    pub setup: SetupState,
}

/// The project with which users connect in the browser.
#[derive(Clone, Debug)]
pub struct OperatorProject {
    /// Its topic, as `projects/P/topics/T`.
    pub topic: String,
    /// The service account that signs the pushes of its one subscription.
    pub push_account: String,
}

/// A database server of relay or platform, or a file whose disk is full.
#[derive(Clone, Debug)]
pub struct DatabaseFacts {
    /// The keys of the configuration that name it.
    pub keys: &'static str,
    /// Its URL for messages.
    pub shown: String,
    /// Its own answer, or why it cannot be used.
    pub state: Result<DatabaseState, DatabaseProblem>,
}

/// Why a database cannot be used.
#[derive(Clone, Debug)]
pub enum DatabaseProblem {
    /// The server is away, or not as it must be.
    Server(String),
    /// There is no space for what is written.
    DiskFull(String),
}

impl Facts {
    /// Whether a database server cannot be used.
    #[must_use]
    pub fn is_database_down(&self) -> bool {
        self.databases
            .iter()
            .any(|database| matches!(database.state, Err(DatabaseProblem::Server(_))))
    }

    /// Nothing is read from the stores while their server cannot be used, which is reported once.
    #[must_use]
    pub fn without_database(self) -> Self {
        let required = CheckResult::requires(HopId::Database);
        Self {
            keys: Some(required.clone()),
            account: Some(Err(required.clone())),
            deliveries: Err(required),
            ..self
        }
    }

    /// Whether the state of setup is about the checked user, and about the checked account if the platform's records are
    /// known here.
    pub(crate) fn is_setup_relevant(&self) -> bool {
        let (destination, wanted) = (&self.setup.destination, &self.user);
        let (
            Some(Destination::Platform {
                user, is_further, ..
            }),
            Some(wanted),
        ) = (destination, wanted)
        else {
            return wanted.is_none();
        };
        match &self.account {
            Some(Ok(account)) if *is_further => {
                let mailbox = self.setup.mailbox.as_ref().zip(account.email.as_ref());
                account.owner.as_ref() == Some(user)
                    && mailbox.is_some_and(|(mailbox, email)| mailbox.is_same_mailbox(email))
            }
            _ => user == wanted,
        }
    }
}

/// Address and credentials of a mailbox, or why they are not available.
pub type MailboxCredentials = Result<(EmailAddress, Credentials), CheckResult>;

/// What `postbell setup` has stored, or what the state of a watcher shows that was started without it.
#[derive(Clone, Debug)]
pub struct SetupState {
    /// Project id.
    pub project: Option<String>,
    /// Number of that project, as far as the OAuth client shows it.
    pub project_number: Option<String>,
    /// Address of the mailbox.
    pub mailbox: Option<EmailAddress>,
    /// Name of the checked webhook, if it is not the first one of the mailbox.
    pub webhook: Option<String>,
    /// Where notifications go.
    pub destination: Option<Destination>,
    /// Topic id, if not the default.
    pub topic: Option<String>,
    /// Subscription id, if not the default.
    pub subscription: Option<String>,
    /// Service account id, if not the default.
    pub service_account: Option<String>,
    /// When the grant expires because the consent screen is in testing.
    pub grant_ends_at: Option<Timestamp>,
    /// When the watch that setup started ends unless it is renewed.
    pub watch_ends_at: Option<Timestamp>,
    /// Webhook that setup has tested.
    pub hook: Option<Url>,
    /// State of the watcher on this machine. `None` if it has none for the mailbox.
    pub watch: Result<Option<LocalWatch>, CheckResult>,
}

impl SetupState {
    /// Nothing is known.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            project: None,
            project_number: None,
            mailbox: None,
            webhook: None,
            destination: None,
            topic: None,
            subscription: None,
            service_account: None,
            grant_ends_at: None,
            watch_ends_at: None,
            hook: None,
            watch: Ok(None),
        }
    }
}

/// Where notifications go.
#[derive(Clone, Debug)]
pub enum Destination {
    /// To the relay of a platform, for one of its users.
    Platform {
        /// Base URL of the platform.
        platform: Url,
        /// Public base URL of the relay.
        relay: Url,
        /// The user.
        user: UserId,
        /// Whether the account is connected beside the user's first one.
        is_further: bool,
    },
    /// `postbell watch pull` pulls them.
    Pull {
        /// Credentials file.
        credentials: PathBuf,
    },
    /// They are pushed to `postbell watch serve`.
    Serve {
        /// Credentials file.
        credentials: PathBuf,
        /// Its public URL.
        endpoint: Url,
    },
    /// To a watcher of this machine that was started without setup.
    Watcher {
        /// Whether it pulls them.
        is_pulled: bool,
    },
}

impl Destination {
    /// Returns the push endpoint, unless notifications are pulled.
    pub(crate) fn endpoint(&self) -> Option<String> {
        match self {
            Self::Pull { .. } | Self::Watcher { .. } => None,
            Self::Serve { endpoint, .. } => Some(endpoint.as_str().to_owned()),
            Self::Platform {
                relay,
                is_further: true,
                ..
            } => Some(shared_endpoint(relay)),
            Self::Platform { relay, user, .. } => Some(user_endpoint(relay, user)),
        }
    }

    /// Returns the local credentials file.
    pub(crate) fn credentials(&self) -> Option<&PathBuf> {
        match self {
            Self::Platform { .. } | Self::Watcher { .. } => None,
            Self::Pull { credentials } | Self::Serve { credentials, .. } => Some(credentials),
        }
    }
}

/// Returns a platform user's push endpoint (protocol, section 1).
pub(crate) fn user_endpoint(relay: &Url, user: &UserId) -> String {
    let base = relay.as_str().trim_end_matches('/');
    format!("{base}/push/user/{}", user.url_segment())
}

/// Returns the push endpoint of the operator's one subscription, and of those of further accounts: the relay finds the record
/// by the address.
pub(crate) fn shared_endpoint(relay: &Url) -> String {
    let base = relay.as_str().trim_end_matches('/');
    format!("{base}/push/gmail")
}

/// State of the watcher on this machine.
#[derive(Clone, Debug, Default)]
pub struct LocalWatch {
    /// Topic that Gmail publishes to.
    pub topic: String,
    /// When the watch ends.
    pub ends_at: Timestamp,
    /// Whether a watcher process holds the state file.
    pub is_running: bool,
    /// What keeps mail from getting through.
    pub problem: Option<WatchProblem>,
    /// Subscription that the watcher pulls from, as `projects/P/subscriptions/S`. Empty if unknown.
    pub subscription: String,
    /// How many mails were set aside, and the reason of the last one.
    pub dead_letters: Option<(usize, String)>,
    /// Why the last renewal failed. Empty if it did not.
    pub renewal_problem: String,
    /// Outcome of the last webhook call: `ok` or `error`. Empty if there was none.
    pub last_delivery: String,
    /// Time of the last webhook call.
    pub last_delivery_at: Timestamp,
    /// Why that call failed. Empty if it did not.
    pub last_delivery_note: String,
    /// When Pub/Sub last delivered a notification. Zero if unknown.
    pub last_notified_at: Timestamp,
    /// Whether a running watcher of this state carries out requests, such as a test of its webhook.
    pub takes_requests: bool,
    /// The webhook.
    pub hook: Option<Webhook>,
}

/// What keeps mail from getting through, according to the watcher.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WatchProblem {
    /// Cause and beginning.
    pub problem: MailProblem,
    /// What the watcher observed, as a clause.
    pub detail: String,
}

/// A bot's webhook.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its URL.
    pub url: Url,
    /// Bearer token that it expects.
    pub token: Option<SecretString>,
}

/// What a platform knows about a user.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user whose further account it is; `None` for the first one.
    pub owner: Option<UserId>,
    /// Whether a Google account is connected.
    pub google_connected: bool,
    /// Whether notifications are turned on.
    pub notifications_enabled: bool,
    /// Address of the Google account.
    pub email: Option<String>,
    /// Service account that signs the pushes.
    pub push_account: Option<String>,
    /// When the Gmail watch ends, if the machine has reported it.
    pub watch_ends_at: Option<Timestamp>,
    /// What keeps mail from the bot, according to the machine's last check-in.
    pub problem: Option<MailProblem>,
    /// The machine, if the caller may see it.
    pub machine: Result<MachineFacts, CheckResult>,
}

/// Facts about a user's machine.
#[derive(Clone, Debug)]
pub struct MachineFacts {
    /// Location of the machine.
    pub location: MachineLocation,
    /// Status that the platform has stored. Mail is sent only to a running machine.
    pub status: InstanceStatus,
    /// Status that its host reports. `None` if the host cannot be asked.
    pub host_status: Option<Result<InstanceStatus, CheckResult>>,
    /// Whether mail starts the machine.
    pub starts_on_mail: bool,
    /// URL of its controller.
    pub controller: Result<Url, CheckResult>,
    /// Gateway token that its controller expects.
    pub token: Option<SecretString>,
    /// Token of pushes for the account, if it is another one.
    pub push_token: Option<SecretString>,
}
