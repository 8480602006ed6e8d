//! Faults, on command.

mod answers;
mod layer;
mod reason;

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub(crate) use self::layer::inject;
pub use self::reason::Reason;
use crate::blockers::Blocker;
use crate::fault_point::FaultPoint;
use crate::rng::Rng;

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
    /// Answers an error status and names the time of the next call, as `Retry-After` does with a date
    /// (RFC 9110, section 10.2.3), or as Gmail does in the text of an error: "Retry after TIME".
    #[serde(rename_all = "camelCase")]
    RefuseUntil {
        /// The status.
        status: u16,
        /// Seconds from now.
        seconds: u64,
        /// Where the time is named.
        named: Named,
    },
    /// Answers an error status with another of Google's reasons than the usual one of the status.
    #[serde(rename_all = "camelCase")]
    RefuseFor {
        /// The status.
        status: u16,
        /// The reason.
        reason: Reason,
    },
    /// Answers 200 with JSON of another form than the documented one.
    Unreadable,
    /// Answers a status and a body without an end.
    Endless {
        /// The status.
        status: u16,
    },
    /// Answers with a `nextPageToken` that leads to the same page, again and again.
    RepeatPage,
    /// Answers with a new `nextPageToken` each time, without an end.
    EndlessPages,
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
    #[serde(rename = "wall")]
    Blocked {
        /// The condition.
        #[serde(rename = "wall")]
        blocker: Blocker,
    },
}

/// Where an answer names the time of the next call.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Named {
    /// In the header `Retry-After`, as a date.
    Header,
    /// In the error's text.
    Text,
}

/// How often a fault occurs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Frequency {
    /// The next N times.
    Times(u32),
    /// Each time with this probability, from 0 to 1.
    Chance(f64),
    /// Until it is cleared.
    Always,
}

/// A fault at a point.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Fault {
    /// Where it occurs.
    pub at: FaultPoint,
    /// The resource that it concerns, such as a message's id; all if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The fault.
    #[serde(flatten)]
    pub kind: Kind,
    /// Its frequency.
    #[serde(rename = "often")]
    pub frequency: Frequency,
}

/// The active faults.
#[derive(Debug)]
pub struct Faults {
    set: Mutex<Vec<Fault>>,
    /// How often a fault has occurred at each point.
    occurred: Mutex<HashMap<FaultPoint, usize>>,
    rng: Rng,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self {
            set: Mutex::default(),
            occurred: Mutex::default(),
            rng: Rng::seeded(0x5eed),
        }
    }

    /// Activates a fault.
    pub fn add(&self, at: FaultPoint, kind: Kind, frequency: Frequency) {
        self.set.lock().push(Fault {
            at,
            id: None,
            kind,
            frequency,
        });
    }

    /// Activates a fault for one resource: at `gmail.messages.get` the message with this id.
    pub fn add_for(&self, at: FaultPoint, id: &str, kind: Kind, frequency: Frequency) {
        self.set.lock().push(Fault {
            at,
            id: Some(id.to_owned()),
            kind,
            frequency,
        });
    }

    pub(crate) fn put(&self, fault: Fault) {
        self.set.lock().push(fault);
    }

    /// How often a fault has occurred at a point.
    #[must_use]
    pub fn occurred(&self, at: FaultPoint) -> usize {
        self.occurred.lock().get(&at).copied().unwrap_or(0)
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

    /// The fault that applies now to a resource, if any. `path` ends with the resource's id.
    pub(crate) fn take(&self, at: FaultPoint, path: &str) -> Option<Kind> {
        let mut set = self.set.lock();
        let id = path.rsplit('/').next().unwrap_or_default();
        let struck = set.iter().position(|fault| {
            fault.at == at
                && fault.id.as_deref().is_none_or(|of| of == id)
                && self.happens(fault.frequency)
        })?;
        *self.occurred.lock().entry(at).or_default() += 1;
        let kind = set[struck].kind;
        if let Frequency::Times(times) = &mut set[struck].frequency {
            *times -= 1;
            if *times == 0 {
                set.remove(struck);
            }
        }
        Some(kind)
    }

    fn happens(&self, frequency: Frequency) -> bool {
        const STEPS: u32 = 1_000_000;
        match frequency {
            Frequency::Times(times) => times > 0,
            Frequency::Always => true,
            Frequency::Chance(probability) => {
                let rolled = u32::try_from(self.rng.below(u64::from(STEPS))).unwrap_or(0);
                f64::from(rolled) < probability * f64::from(STEPS)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_happens_as_often_as_it_was_set() {
        let faults = Faults::new();
        faults.add(FaultPoint::Hook, Kind::refuse(500), Frequency::Times(2));
        let struck: Vec<_> = (0..3)
            .map(|_| faults.take(FaultPoint::Hook, "/bot").is_some())
            .collect();
        assert_eq!(struck, [true, true, false]);
        assert_eq!(faults.take(FaultPoint::Push, ""), None);

        faults.add(FaultPoint::Push, Kind::Duplicate, Frequency::Chance(0.25));
        let struck = (0..4000)
            .filter(|_| faults.take(FaultPoint::Push, "").is_some())
            .count();
        assert!((800..1200).contains(&struck), "{struck}");
        faults.clear();
        assert_eq!(faults.take(FaultPoint::Push, ""), None);
    }

    #[test]
    fn a_fault_can_concern_one_message() {
        let faults = Faults::new();
        let at = FaultPoint::GmailMessage;
        let text = r#"{"at":"gmail.messages.get","id":"18c","kind":"refuseFor","status":400,"reason":"failedPrecondition","often":"always"}"#;
        faults.put(serde_json::from_str(text).unwrap());
        assert_eq!(faults.take(at, "/gmail/v1/users/me/messages/18d"), None);
        let kind = faults.take(at, "/gmail/v1/users/me/messages/18c");
        let reason = Reason::FailedPrecondition;
        assert_eq!(
            kind,
            Some(Kind::RefuseFor {
                status: 400,
                reason
            })
        );
        assert_eq!(faults.occurred(at), 1);
    }

    #[test]
    fn a_condition_that_blocks_setup_is_called_wall_on_the_wire() {
        let text =
            r#"{"at":"topics.setIamPolicy","kind":"wall","wall":"billing","often":"always"}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        let blocker = Blocker::Billing;
        assert_eq!(fault.kind, Kind::Blocked { blocker });
        assert_eq!(serde_json::to_string(&fault).unwrap(), text);
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
                at: FaultPoint::GmailMessage,
                id: None,
                kind,
                frequency: Frequency::Times(2)
            }
        );
        assert!(serde_json::from_str::<Fault>(&text.replace("gmail.", "gmial.")).is_err());
    }
}
