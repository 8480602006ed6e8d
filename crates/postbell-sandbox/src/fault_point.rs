//! The points at which a fault can be injected.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A point at which a fault can be injected.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum FaultPoint {
    /// The OAuth token endpoint.
    OAuthToken,
    /// The OAuth revocation endpoint.
    OAuthRevoke,
    /// Google's keys.
    OAuthCerts,
    /// `users.getProfile`
    GmailProfile,
    /// `users.watch`
    GmailWatch,
    /// `users.history.list`
    GmailHistory,
    /// `users.messages.list`
    GmailMessages,
    /// `users.messages.get`
    GmailMessage,
    /// `users.messages.get` with `format=raw`
    GmailRaw,
    /// `users.messages.attachments.get`
    GmailAttachment,
    /// `users.threads.get`
    GmailThread,
    /// A push from Pub/Sub to its endpoint.
    Push,
    /// A streaming pull.
    Pull,
    /// The bot's webhook.
    Hook,
    /// The user directory.
    Platform,
    /// Fly: get a machine.
    FlyGet,
    /// Fly: start a machine.
    FlyStart,
    /// Fly: update a machine.
    FlyUpdate,
    /// `projects.create` of Resource Manager
    ProjectCreate,
    /// `projects.get` of Resource Manager
    ProjectGet,
    /// `projects.search` of Resource Manager
    ProjectSearch,
    /// `services.batchGet` of Service Usage
    ServicesGet,
    /// `services.enable` and `services.batchEnable` of Service Usage
    ServicesEnable,
    /// `services.generateServiceIdentity` of Service Usage
    ServiceIdentity,
    /// `projects.serviceAccounts.create` of IAM
    AccountCreate,
    /// `projects.serviceAccounts.get` of IAM
    AccountGet,
    /// `projects.serviceAccounts.setIamPolicy` of IAM
    AccountSetPolicy,
    /// `projects.topics.create` of Pub/Sub
    TopicCreate,
    /// `projects.topics.get` of Pub/Sub
    TopicGet,
    /// `projects.topics.setIamPolicy` of Pub/Sub
    TopicSetPolicy,
    /// `projects.subscriptions.create` of Pub/Sub
    SubscriptionCreate,
    /// `projects.subscriptions.setIamPolicy` of Pub/Sub
    SubscriptionSetPolicy,
}

const POINTS: [(FaultPoint, &str); 32] = [
    (FaultPoint::OAuthToken, "oauth.token"),
    (FaultPoint::OAuthRevoke, "oauth.revoke"),
    (FaultPoint::OAuthCerts, "oauth.certs"),
    (FaultPoint::GmailProfile, "gmail.profile"),
    (FaultPoint::GmailWatch, "gmail.watch"),
    (FaultPoint::GmailHistory, "gmail.history.list"),
    (FaultPoint::GmailMessages, "gmail.messages.list"),
    (FaultPoint::GmailMessage, "gmail.messages.get"),
    (FaultPoint::GmailRaw, "gmail.messages.get.raw"),
    (FaultPoint::GmailAttachment, "gmail.attachments.get"),
    (FaultPoint::GmailThread, "gmail.threads.get"),
    (FaultPoint::Push, "pubsub.push"),
    (FaultPoint::Pull, "pubsub.pull"),
    (FaultPoint::Hook, "bot.hook"),
    (FaultPoint::Platform, "platform"),
    (FaultPoint::FlyGet, "fly.get"),
    (FaultPoint::FlyStart, "fly.start"),
    (FaultPoint::FlyUpdate, "fly.update"),
    (FaultPoint::ProjectCreate, "projects.create"),
    (FaultPoint::ProjectGet, "projects.get"),
    (FaultPoint::ProjectSearch, "projects.search"),
    (FaultPoint::ServicesGet, "services.get"),
    (FaultPoint::ServicesEnable, "services.enable"),
    (FaultPoint::ServiceIdentity, "services.identity"),
    (FaultPoint::AccountCreate, "serviceAccounts.create"),
    (FaultPoint::AccountGet, "serviceAccounts.get"),
    (FaultPoint::AccountSetPolicy, "serviceAccounts.setIamPolicy"),
    (FaultPoint::TopicCreate, "topics.create"),
    (FaultPoint::TopicGet, "topics.get"),
    (FaultPoint::TopicSetPolicy, "topics.setIamPolicy"),
    (FaultPoint::SubscriptionCreate, "subscriptions.create"),
    (
        FaultPoint::SubscriptionSetPolicy,
        "subscriptions.setIamPolicy",
    ),
];

impl FaultPoint {
    /// The API of the call.
    pub(crate) fn service(self) -> &'static str {
        match self {
            Self::ProjectCreate | Self::ProjectGet | Self::ProjectSearch => {
                "cloudresourcemanager.googleapis.com"
            }
            Self::ServicesGet | Self::ServicesEnable | Self::ServiceIdentity => {
                "serviceusage.googleapis.com"
            }
            Self::AccountCreate | Self::AccountGet | Self::AccountSetPolicy => "iam.googleapis.com",
            Self::GmailProfile
            | Self::GmailWatch
            | Self::GmailHistory
            | Self::GmailMessages
            | Self::GmailMessage
            | Self::GmailRaw
            | Self::GmailAttachment
            | Self::GmailThread => "gmail.googleapis.com",
            _ => "pubsub.googleapis.com",
        }
    }
}

impl fmt::Display for FaultPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = POINTS
            .iter()
            .find(|(point, _)| point == self)
            .map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for FaultPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = POINTS
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(point, _)| *point);
        found.ok_or_else(|| {
            let names: Vec<_> = POINTS.iter().map(|(_, name)| *name).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

impl TryFrom<String> for FaultPoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<FaultPoint> for String {
    fn from(point: FaultPoint) -> Self {
        point.to_string()
    }
}
