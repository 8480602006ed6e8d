//! What a step is: it knows whether it is done, how to do it, and how to undo it.

use std::fmt;

use async_trait::async_trait;
use serde::Serialize;

use crate::site::Site;
use crate::trouble::Trouble;

/// One thing that has to be so for mail to arrive.
///
/// A step that was done by anybody is done. To do it twice changes nothing; a process that was killed
/// in it leaves what the next one finds.
#[async_trait]
pub(crate) trait Step: Send + Sync {
    /// Which it is.
    fn id(&self) -> StepId;

    /// What has to be done before it can be looked at.
    fn needs(&self) -> &'static [StepId];

    /// Whether it has to be done before anything else can be looked at: to sign in, say.
    fn is_first(&self) -> bool {
        false
    }

    /// Looks whether it is done. Changes nothing.
    async fn look(&self, site: &mut Site) -> Result<Look, Trouble>;

    /// Does it. Whether it is done then is looked at.
    async fn apply(&self, site: &mut Site) -> Result<(), Trouble>;

    /// Takes back what was done here, and nothing else.
    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble>;
}

/// Whether a step is done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Look {
    /// It is, and how that shows.
    Done(String),
    /// It is, but not for good: how that shows, and what will be.
    Uncertain(String, String),
    /// It is not: what will be done.
    ToDo(String),
}

/// What has been taken back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Undone {
    /// There was nothing of ours.
    Nothing,
    /// This.
    Removed(String),
    /// It stays, for this reason.
    Left(String),
}

/// Which step, in the order in which they are done.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepId {
    /// The OAuth client.
    Client,
    /// Who sets things up.
    SignIn,
    /// The project in Google Cloud.
    Project,
    /// The APIs that it uses.
    Apis,
    /// Where Gmail publishes.
    Topic,
    /// Gmail may publish there.
    Publisher,
    /// The service account that pushes are signed as.
    Account,
    /// Pub/Sub may sign as it.
    Signer,
    /// What hands notifications out.
    Subscription,
    /// The owner's leave to read the mailbox.
    Mailbox,
    /// The owner may fetch notifications.
    Fetcher,
    /// Gmail tells the topic of new mail.
    Watch,
    /// What opens the mailbox is where the watcher looks.
    Credentials,
    /// The bot takes mail.
    Hook,
    /// A notification comes through.
    Arrival,
}

impl StepId {
    /// What it is called.
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
            Self::Mailbox => "Mailbox",
            Self::Fetcher => "Fetching role",
            Self::Watch => "Gmail watch",
            Self::Credentials => "Credentials",
            Self::Hook => "Bot's hook",
            Self::Arrival => "Test notification",
        }
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// What has become of a step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// It is done: how that shows, and whether it was done just now.
    Done {
        /// How it shows.
        detail: String,
        /// Whether it was done just now.
        changed: bool,
        /// What will be all the same.
        warning: Option<String>,
    },
    /// What will be done.
    ToDo(String),
    /// It can be looked at once this is done.
    After(StepId),
    /// It cannot be done.
    Failed(Trouble),
    /// It was not tried, for this has failed.
    Skipped(StepId),
}

impl State {
    /// Whether what needs it can be done.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }

    /// Whether there is something to do.
    #[must_use]
    pub const fn is_to_do(&self) -> bool {
        matches!(self, Self::ToDo(_) | Self::After(_))
    }
}

/// All steps, in their order, and what has become of each.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The steps.
    pub steps: Vec<(StepId, State)>,
    /// What to do next, where everything is done: commands.
    pub then: Vec<String>,
}

impl Report {
    /// Whether everything is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.steps.iter().all(|(_, state)| state.is_done())
    }

    /// Whether something could not be done.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        let is_bad = |state: &State| matches!(state, State::Failed(_) | State::Skipped(_));
        self.steps.iter().any(|(_, state)| is_bad(state))
    }

    /// What has become of a step.
    #[must_use]
    pub fn state(&self, step: StepId) -> Option<&State> {
        let found = self.steps.iter().find(|(id, _)| *id == step);
        found.map(|(_, state)| state)
    }
}
