//! What was found at a hop.

use std::fmt;

use serde::Serialize;

use crate::trouble::{Trouble, Wall};

/// How a hop is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It does what it should.
    Ok,
    /// It does, but not for good, or not as it should.
    Warning,
    /// No mail comes past it.
    Failed,
    /// It was not looked at, or does not show.
    Unknown,
}

/// What was found at a hop.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// How it is.
    pub health: Health,
    /// How that shows, or why it is so: a sentence without a full stop.
    pub detail: String,
    /// What to do about it: a sentence or two, with a command that can be typed.
    pub next: Option<String>,
}

impl Finding {
    /// It does what it should.
    pub fn ok(detail: impl Into<String>) -> Self {
        Self::new(Health::Ok, detail, None)
    }

    /// It does, but that is not all that is to be said.
    pub fn warning(detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Health::Warning, detail, Some(next.into()))
    }

    /// No mail comes past it.
    pub fn failed(detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Health::Failed, detail, Some(next.into()))
    }

    /// It was not looked at, for this reason.
    pub fn unknown(detail: impl Into<String>) -> Self {
        Self::new(Health::Unknown, detail, None)
    }

    /// It was not looked at, for this reason, and what lets it be.
    pub fn unless(detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Health::Unknown, detail, Some(next.into()))
    }

    /// It was not looked at, for it needs another hop.
    #[must_use]
    pub(crate) fn needs(hop: HopId) -> Self {
        Self::unknown(format!("not looked at, for it needs: {hop}"))
    }

    /// It is no part of this path, for this reason.
    #[must_use]
    pub(crate) fn elsewhere(reason: &str) -> Self {
        Self::unknown(format!("no part of this path: {reason}"))
    }

    fn new(health: Health, detail: impl Into<String>, next: Option<String>) -> Self {
        let detail = detail.into();
        Self {
            health,
            detail,
            next,
        }
    }

    /// Whether what needs it can be looked at.
    #[must_use]
    pub(crate) fn is_passable(&self) -> bool {
        matches!(self.health, Health::Ok | Health::Warning)
    }
}

/// What setup would say of it. Where Google only does not let us look, nothing is known of the hop.
impl From<Trouble> for Finding {
    fn from(trouble: Trouble) -> Self {
        let health = match trouble.wall {
            Wall::NoPermission
            | Wall::TokenRefused
            | Wall::ScopeMissing
            | Wall::Unavailable
            | Wall::PlatformAway => Health::Unknown,
            _ => Health::Failed,
        };
        let next = match trouble.wall {
            Wall::Unavailable => "Run `postbell doctor` again in some minutes.".to_owned(),
            _ => trouble.next(),
        };
        Self::new(health, trouble.to_string(), Some(next))
    }
}

/// Which hop, in the order of the path.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HopId {
    /// The configuration is right.
    Configuration,
    /// What opens the mailbox opens.
    Keys,
    /// The time of day is Google's.
    Clock,
    /// Google reaches whoever takes pushes.
    Address,
    /// What pushes' tokens are for is what is expected of them.
    Audience,
    /// The topic that Gmail tells.
    Topic,
    /// Gmail may publish there.
    Publisher,
    /// What hands notifications out.
    Subscription,
    /// Pub/Sub may sign pushes.
    Signer,
    /// Gmail tells of new mail.
    Watch,
    /// The owner's leave to read mail.
    Grant,
    /// What the platform knows of the user.
    User,
    /// The bot's machine is up.
    Machine,
    /// The controller answers, and which it is.
    Controller,
    /// The watcher runs.
    Watcher,
    /// The bot takes mail.
    Hook,
    /// When a notification came last.
    LastPush,
    /// What became of it.
    LastDelivery,
}

impl HopId {
    /// All hops.
    const ALL: [Self; 18] = [
        Self::Configuration,
        Self::Keys,
        Self::Clock,
        Self::Address,
        Self::Audience,
        Self::Topic,
        Self::Publisher,
        Self::Subscription,
        Self::Signer,
        Self::Watch,
        Self::Grant,
        Self::User,
        Self::Machine,
        Self::Controller,
        Self::Watcher,
        Self::Hook,
        Self::LastPush,
        Self::LastDelivery,
    ];

    /// What it is called.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::Keys => "Keys",
            Self::Clock => "Clock",
            Self::Address => "Public address",
            Self::Audience => "Audience",
            Self::Topic => "Topic",
            Self::Publisher => "Publisher role",
            Self::Subscription => "Subscription",
            Self::Signer => "Signing role",
            Self::Watch => "Gmail watch",
            Self::Grant => "Grant",
            Self::User => "User",
            Self::Machine => "Machine",
            Self::Controller => "Controller",
            Self::Watcher => "Watcher",
            Self::Hook => "Bot's hook",
            Self::LastPush => "Last push",
            Self::LastDelivery => "Last delivery",
        }
    }
}

impl fmt::Display for HopId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// What was found at each hop, in the order of the path.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// The hops.
    pub hops: Vec<(HopId, Finding)>,
}

impl Diagnosis {
    /// The hop without which no other can be looked at, and all others.
    #[must_use]
    pub fn without(first: HopId, finding: Finding) -> Self {
        let others = HopId::ALL.into_iter().filter(|hop| *hop != first);
        let others = others.map(|hop| (hop, Finding::needs(first)));
        Self {
            hops: [(first, finding)].into_iter().chain(others).collect(),
        }
    }

    /// How many hops are so.
    #[must_use]
    pub fn count(&self, health: Health) -> usize {
        let hops = self.hops.iter();
        hops.filter(|(_, finding)| finding.health == health).count()
    }

    /// Whether no mail comes through.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.count(Health::Failed) > 0
    }
}
