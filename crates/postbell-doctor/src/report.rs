//! Results of the checks.

use std::fmt;

use serde::Serialize;

/// State of a hop.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The hop works.
    Ok,
    /// The hop works, but will stop working or is not configured as recommended.
    Warning,
    /// No mail passes this hop.
    Failed,
    /// The hop was not checked, or its state cannot be read.
    Unknown,
}

/// Result of a check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckResult {
    /// State of the hop.
    pub status: Status,
    /// The observation, as a clause without a full stop.
    pub detail: String,
    /// What to do: a sentence or two, with a command to type.
    pub hint: Option<String>,
}

impl CheckResult {
    /// The hop works.
    pub fn ok(detail: impl Into<String>) -> Self {
        Self::new(Status::Ok, detail, None)
    }

    /// The hop works, with a reservation.
    pub fn warning(detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Status::Warning, detail, Some(hint.into()))
    }

    /// No mail passes this hop.
    pub fn failed(detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Status::Failed, detail, Some(hint.into()))
    }

    /// The hop was not checked, for this reason.
    pub fn unknown(detail: impl Into<String>) -> Self {
        Self::new(Status::Unknown, detail, None)
    }

    /// The hop was not checked, for this reason, which can be removed.
    pub fn unknown_with_hint(detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Status::Unknown, detail, Some(hint.into()))
    }

    /// The hop was not checked because another hop failed.
    pub(crate) fn requires(hop: HopId) -> Self {
        Self::unknown(format!("not checked, because it requires: {hop}"))
    }

    /// The path has no such hop, for this reason.
    pub(crate) fn not_on_path(reason: &str) -> Self {
        Self::unknown(format!("not part of this path: {reason}"))
    }

    fn new(status: Status, detail: impl Into<String>, hint: Option<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            hint,
        }
    }

    /// Whether hops that require this one can be checked.
    pub(crate) fn is_passable(&self) -> bool {
        matches!(self.status, Status::Ok | Status::Warning)
    }
}

/// A hop, in the order of the path.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HopId {
    /// The configuration is valid.
    Configuration,
    /// Credentials can be read or decrypted.
    Keys,
    /// The database servers of relay and platform.
    Database,
    /// The clock agrees with Google's.
    Clock,
    /// The push endpoint is reachable.
    Address,
    /// Relay and subscription agree on the audience.
    Audience,
    /// The topic that Gmail publishes to.
    Topic,
    /// Gmail may publish to the topic.
    Publisher,
    /// The subscription.
    Subscription,
    /// Pub/Sub may sign pushes.
    Signer,
    /// Gmail watches the mailbox.
    Watch,
    /// The OAuth grant to read mail.
    Grant,
    /// The platform's user.
    User,
    /// The bot's machine.
    Machine,
    /// The controller on it.
    Controller,
    /// The watcher.
    Watcher,
    /// The bot's webhook.
    Hook,
    /// The last push.
    LastPush,
    /// The last delivery.
    LastDelivery,
}

impl HopId {
    /// Without [`Self::Database`], which only some paths have.
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

    /// Returns the name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::Keys => "Keys",
            Self::Database => "Database",
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
            Self::Hook => "Bot's webhook",
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

/// The result of each hop, in the order of the path.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The hops.
    pub hops: Vec<(HopId, CheckResult)>,
}

impl Report {
    /// Reports one hop that every other hop requires.
    #[must_use]
    pub fn only(first: HopId, result: CheckResult) -> Self {
        let others = HopId::ALL.into_iter().filter(|hop| *hop != first);
        let others = others.map(|hop| (hop, CheckResult::requires(first)));
        Self {
            hops: [(first, result)].into_iter().chain(others).collect(),
        }
    }

    /// Counts the hops with a status.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        let hops = self.hops.iter();
        hops.filter(|(_, result)| result.status == status).count()
    }

    /// Whether a hop has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.count(Status::Failed) > 0
    }

    /// Returns the report as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let hops = self.hops.iter().map(|(hop, result)| JsonHop {
            hop: *hop,
            title: hop.title(),
            state: result.status,
            detail: &result.detail,
            next: result.hint.as_deref(),
        });
        let hops: Vec<_> = hops.collect();
        serde_json::json!({
            "ok": !self.has_failed(),
            "failed": self.count(Status::Failed),
            "warnings": self.count(Status::Warning),
            "unknown": self.count(Status::Unknown),
            "hops": hops,
        })
    }
}

#[derive(Serialize)]
struct JsonHop<'a> {
    hop: HopId,
    title: &'static str,
    state: Status,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a str>,
}
