//! The steps of setup by name, and the state of each: what a run reports.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::SecretString;
use serde::Serialize;

use crate::error::SetupError;

/// Whether a run changes anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Checks each step and reports what a run would change.
    Plan,
    /// Makes the changes.
    Apply,
}

/// The steps, in the order in which they are applied.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepId {
    /// The OAuth client exists.
    Client,
    /// The user is signed in to administer Google Cloud.
    SignIn,
    /// The Google Cloud project exists.
    Project,
    /// The project's APIs are enabled.
    Apis,
    /// The Pub/Sub topic exists.
    Topic,
    /// Gmail may publish to the topic.
    Publisher,
    /// The service account that signs pushes exists.
    Account,
    /// Pub/Sub may sign tokens as that service account.
    Signer,
    /// The Pub/Sub subscription exists.
    Subscription,
    /// The OAuth client with which a platform's users connect exists.
    WebClient,
    /// The configuration can name the secret of that client.
    ClientSecret,
    /// The mailbox's owner has granted access.
    Mailbox,
    /// The mailbox's owner may pull from the subscription.
    Fetcher,
    /// Gmail's watch is active.
    Watch,
    /// The watcher has the mailbox's credentials.
    Credentials,
    /// The bot's webhook accepts mail.
    Hook,
    /// A notification is delivered.
    Arrival,
}

impl StepId {
    /// The name that users see.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Client => "OAuth client",
            Self::SignIn => "Sign-in",
            Self::Project => "Project",
            Self::Apis => "APIs",
            Self::Topic => "Topic",
            Self::Publisher => "Publisher role",
            Self::Account => "Push account",
            Self::Signer => "Signing role",
            Self::Subscription => "Subscription",
            Self::WebClient => "Web client",
            Self::ClientSecret => "Client secret",
            Self::Mailbox => "Mailbox",
            Self::Fetcher => "Subscriber role",
            Self::Watch => "Gmail watch",
            Self::Credentials => "Credentials",
            Self::Hook => "Webhook",
            Self::Arrival => "Test notification",
        }
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// The state of a step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StepState {
    /// The step is complete.
    Done {
        /// The resource, for the user.
        detail: String,
        /// Whether this run changed it.
        changed: bool,
        /// A limitation that remains.
        warning: Option<String>,
    },
    /// The change to make.
    Pending(String),
    /// The step cannot be checked before this other step is done.
    Blocked(StepId),
    /// The step failed.
    Failed(SetupError),
    /// The step was not tried, because this other step failed.
    Skipped(StepId),
}

impl StepState {
    /// Whether dependent steps can run.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }

    /// Whether there is work left.
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        matches!(self, Self::Pending(_) | Self::Blocked(_))
    }

    /// Whether the step, or one that it needs, failed.
    #[must_use]
    pub const fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Skipped(_))
    }
}

/// The state of every step, in order.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The steps and their states.
    pub steps: Vec<(StepId, StepState)>,
    /// The commands to run next, once every step is done.
    pub next_commands: Vec<String>,
    /// The lines to add to the operator's configuration, once every step is done.
    pub configuration: Vec<String>,
    /// Keys of tables that the operator's configuration has already, and the values for which the project is set up, if they
    /// are others.
    pub settings: BTreeMap<&'static str, String>,
    /// The arguments of `postbell watch` that start the watcher on this machine, once every step is done; empty
    /// while the webhook is unknown.
    pub watcher: Vec<String>,
    /// The bearer token of the webhook, which the watcher needs, too.
    pub hook_token: Option<SecretString>,
}

impl Report {
    /// Whether every step is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.steps.iter().all(|(_, state)| state.is_done())
    }

    /// Whether a step failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.steps.iter().any(|(_, state)| state.is_failed())
    }

    /// The state of one step, if the report contains it.
    #[must_use]
    pub fn state(&self, step: StepId) -> Option<&StepState> {
        let found = self.steps.iter().find(|(id, _)| *id == step);
        found.map(|(_, state)| state)
    }
}
