//! Faults, on command.

mod layer;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub(crate) use self::layer::inject;
use crate::blockers::Blocker;
use crate::rng::Rng;

/// A place where a fault can be injected.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
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
    /// Fly: stop a machine.
    FlyStop,
    /// Fly: restart a machine.
    FlyRestart,
    /// Fly: wait for a machine's state.
    FlyWait,
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

const PLACES: [(Place, &str); 32] = [
    (Place::OAuthToken, "oauth.token"),
    (Place::OAuthRevoke, "oauth.revoke"),
    (Place::OAuthCerts, "oauth.certs"),
    (Place::GmailProfile, "gmail.profile"),
    (Place::GmailWatch, "gmail.watch"),
    (Place::GmailHistory, "gmail.history.list"),
    (Place::GmailMessages, "gmail.messages.list"),
    (Place::GmailMessage, "gmail.messages.get"),
    (Place::Push, "pubsub.push"),
    (Place::Pull, "pubsub.pull"),
    (Place::Hook, "bot.hook"),
    (Place::Platform, "platform"),
    (Place::FlyGet, "fly.get"),
    (Place::FlyStart, "fly.start"),
    (Place::FlyStop, "fly.stop"),
    (Place::FlyRestart, "fly.restart"),
    (Place::FlyWait, "fly.wait"),
    (Place::FlyUpdate, "fly.update"),
    (Place::ProjectCreate, "projects.create"),
    (Place::ProjectGet, "projects.get"),
    (Place::ProjectSearch, "projects.search"),
    (Place::ServicesGet, "services.get"),
    (Place::ServicesEnable, "services.enable"),
    (Place::ServiceIdentity, "services.identity"),
    (Place::AccountCreate, "serviceAccounts.create"),
    (Place::AccountGet, "serviceAccounts.get"),
    (Place::AccountSetPolicy, "serviceAccounts.setIamPolicy"),
    (Place::TopicCreate, "topics.create"),
    (Place::TopicGet, "topics.get"),
    (Place::TopicSetPolicy, "topics.setIamPolicy"),
    (Place::SubscriptionCreate, "subscriptions.create"),
    (Place::SubscriptionSetPolicy, "subscriptions.setIamPolicy"),
];

/// The faults.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Kind {
    /// Delays the answer.
    #[serde(rename_all = "camelCase")]
    Delay {
        /// Milliseconds.
        millis: u64,
    },
    /// Answers an error status with Google's reason. 404 at `gmail.history.list` is expired history. For a
    /// push: the endpoint's answer, without calling it.
    #[serde(rename_all = "camelCase")]
    Refuse {
        /// The status: 401, 403, 404, 429, 500, 503 …
        status: u16,
        /// Seconds for a `Retry-After` header.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// Closes the connection before the request is processed.
    DropBefore,
    /// Closes the connection after the request is processed, without an answer. For a push: the endpoint's
    /// answer is lost.
    DropAfter,
    /// Sends a push twice.
    Duplicate,
    /// Delays a push until others have overtaken it.
    Reorder,
    /// Answers with a condition that blocks setup.
    Wall {
        /// The condition.
        wall: Blocker,
    },
}

/// How often a fault occurs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Often {
    /// The next N times.
    Times(u32),
    /// Each time with this probability, from 0 to 1.
    Chance(f64),
    /// Until it is cleared.
    Always,
}

/// A fault at a place.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Fault {
    /// The place.
    pub at: Place,
    /// The fault.
    #[serde(flatten)]
    pub kind: Kind,
    /// Its frequency.
    pub often: Often,
}

/// The active faults.
#[derive(Debug)]
pub struct Faults {
    set: Mutex<Vec<Fault>>,
    rng: Rng,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self {
            set: Mutex::default(),
            rng: Rng::seeded(0x5eed),
        }
    }

    /// Activates a fault.
    pub fn add(&self, at: Place, kind: Kind, often: Often) {
        self.set.lock().push(Fault { at, kind, often });
    }

    /// Clears all faults.
    pub fn clear(&self) {
        self.set.lock().clear();
    }

    /// The active faults with their remaining counts.
    #[must_use]
    pub fn list(&self) -> Vec<Fault> {
        self.set.lock().clone()
    }

    /// The fault that applies now, if any.
    pub(crate) fn take(&self, at: Place) -> Option<Kind> {
        let mut set = self.set.lock();
        let struck = set
            .iter()
            .position(|fault| fault.at == at && self.happens(fault.often))?;
        let kind = set[struck].kind;
        if let Often::Times(times) = &mut set[struck].often {
            *times -= 1;
            if *times == 0 {
                set.remove(struck);
            }
        }
        Some(kind)
    }

    fn happens(&self, often: Often) -> bool {
        const STEPS: u32 = 1_000_000;
        match often {
            Often::Times(times) => times > 0,
            Often::Always => true,
            Often::Chance(chance) => {
                let rolled = u32::try_from(self.rng.below(u64::from(STEPS))).unwrap_or(0);
                f64::from(rolled) < chance * f64::from(STEPS)
            }
        }
    }
}

impl Kind {
    /// Delays the answer.
    #[must_use]
    pub fn delay(time: Duration) -> Self {
        Self::Delay {
            millis: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Answers an error status.
    #[must_use]
    pub fn refuse(status: u16) -> Self {
        Self::Refuse {
            status,
            retry_after: None,
        }
    }
}

impl Place {
    /// The API of a place.
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
            | Self::GmailMessage => "gmail.googleapis.com",
            _ => "pubsub.googleapis.com",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = PLACES
            .iter()
            .find(|(place, _)| place == self)
            .map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = PLACES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(place, _)| *place);
        found.ok_or_else(|| {
            let names: Vec<_> = PLACES.iter().map(|(_, name)| *name).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

impl TryFrom<String> for Place {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_happens_as_often_as_it_was_set() {
        let faults = Faults::new();
        faults.add(Place::Hook, Kind::refuse(500), Often::Times(2));
        let struck: Vec<_> = (0..3).map(|_| faults.take(Place::Hook).is_some()).collect();
        assert_eq!(struck, [true, true, false]);
        assert_eq!(faults.take(Place::Push), None);

        faults.add(Place::Push, Kind::Duplicate, Often::Chance(0.25));
        let struck = (0..4000)
            .filter(|_| faults.take(Place::Push).is_some())
            .count();
        assert!((800..1200).contains(&struck), "{struck}");
        faults.clear();
        assert_eq!(faults.take(Place::Push), None);
    }

    #[test]
    fn a_fault_is_written_as_the_control_interface_documents_it() {
        let text = r#"{"at":"gmail.messages.get","kind":"refuse","status":429,"retryAfter":3,"often":{"times":2}}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        let kind = Kind::Refuse {
            status: 429,
            retry_after: Some(3),
        };
        assert_eq!(
            fault,
            Fault {
                at: Place::GmailMessage,
                kind,
                often: Often::Times(2)
            }
        );
        assert!(serde_json::from_str::<Fault>(&text.replace("gmail.", "gmial.")).is_err());
    }
}
