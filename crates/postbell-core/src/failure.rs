//! Why a delivery failed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{InvalidId, ProblemCode};

/// Prefix of the word of [`FailureKind::Problem`].
const PROBLEM: &str = "problem_";

/// A failed delivery attempt: a kind that pages act on, and a sentence for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The kind.
    pub kind: FailureKind,
    /// The failure in a sentence. Holds nothing secret.
    pub detail: String,
}

/// The kind of a failed delivery attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailureKind {
    /// The machine is not running.
    NotRunning {
        /// Whether it is starting.
        starting: bool,
    },
    /// The controller could not be reached.
    Unreachable,
    /// The controller did not answer in time.
    Timeout,
    /// The controller answered with this status.
    Status(u16),
    /// The directory did not answer, or does not know the machine.
    Directory,
    /// The machine has reported this problem of its mailbox.
    Problem(ProblemCode),
    /// Another failure, which only its detail describes.
    Other,
}

impl Failure {
    /// Returns a failure with its sentence.
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    /// The machine is not running.
    #[must_use]
    pub fn not_running() -> Self {
        let kind = FailureKind::NotRunning { starting: false };
        Self::new(kind, "the machine is not running")
    }

    /// The controller could not be reached.
    #[must_use]
    pub fn unreachable() -> Self {
        Self::new(FailureKind::Unreachable, "the controller cannot be reached")
    }

    /// The controller did not answer in time.
    #[must_use]
    pub fn timeout() -> Self {
        let detail = "the controller did not answer in time";
        Self::new(FailureKind::Timeout, detail)
    }

    /// The controller answered with a status that is not a success.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let detail = format!("the controller answered {status}");
        Self::new(FailureKind::Status(status), detail)
    }

    /// Returns the same failure of a mailbox with a known problem, which explains it.
    #[must_use]
    pub fn because_of(self, problem: ProblemCode) -> Self {
        let detail = format!("{}; {}", problem.summary(), self.detail);
        Self::new(FailureKind::Problem(problem), detail)
    }

    /// Returns the same failure of a machine that is starting now.
    #[must_use]
    pub fn while_starting(self) -> Self {
        let kind = FailureKind::NotRunning { starting: true };
        Self::new(kind, self.detail + "; the machine is being started")
    }
}

impl FailureKind {
    /// The problem that the machine had reported, if that is the kind.
    #[must_use]
    pub const fn problem(self) -> Option<ProblemCode> {
        match self {
            Self::Problem(code) => Some(code),
            _ => None,
        }
    }
}

impl fmt::Display for FailureKind {
    /// Writes the word that is stored and shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning { starting: false } => f.write_str("not_running"),
            Self::NotRunning { starting: true } => f.write_str("starting"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Timeout => f.write_str("timeout"),
            Self::Status(status) => write!(f, "status_{status}"),
            Self::Directory => f.write_str("directory"),
            Self::Problem(code) => write!(f, "{PROBLEM}{code}"),
            Self::Other => f.write_str("other"),
        }
    }
}

impl FromStr for FailureKind {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Ok(match text {
            "not_running" => Self::NotRunning { starting: false },
            "starting" => Self::NotRunning { starting: true },
            "unreachable" => Self::Unreachable,
            "timeout" => Self::Timeout,
            "directory" => Self::Directory,
            "other" => Self::Other,
            _ if text.starts_with(PROBLEM) => {
                Self::Problem(ProblemCode::from(text.trim_start_matches(PROBLEM)))
            }
            _ => {
                let status = text.strip_prefix("status_").and_then(|it| it.parse().ok());
                Self::Status(status.ok_or(InvalidId {
                    expected: "a kind of failure",
                })?)
            }
        })
    }
}

impl Serialize for FailureKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FailureKind {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        let text = String::deserialize(text)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_back_from_its_word() {
        for kind in [
            FailureKind::NotRunning { starting: false },
            FailureKind::NotRunning { starting: true },
            FailureKind::Unreachable,
            FailureKind::Timeout,
            FailureKind::Status(503),
            FailureKind::Directory,
            FailureKind::Problem(ProblemCode::GrantRevoked),
            FailureKind::Problem(ProblemCode::Unknown),
            FailureKind::Other,
        ] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("status_".parse::<FailureKind>().is_err());
        assert!("a sentence".parse::<FailureKind>().is_err());
    }
}
