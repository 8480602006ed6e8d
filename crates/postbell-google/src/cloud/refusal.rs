//! Classifies refusals of Google Cloud (<https://cloud.google.com/apis/design/errors>), and
//! shortens Google's message to one sentence.

use std::time::Duration;

use postbell_core::BoxError;
use serde_json::Value;

use crate::oauth::TokenError;
use crate::problem::{Problem, is_limit};

/// The common part of both constraints that exclude external members:
/// `iam.managed.allowedPolicyMembers`, and the older `iam.allowedPolicyMemberDomains`.
const OUTSIDERS: &str = "allowedPolicyMember";

/// The longest repeated part of Google's message, in characters.
const SENTENCE: usize = 240;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// There is no access token.
    #[error(transparent)]
    Token(#[from] TokenError),

    /// The token was refused. It is dropped, so a repeat uses another.
    #[error("google refused the access token")]
    Unauthorized,

    /// Google is unavailable. A repeat may succeed.
    #[error("google is unavailable")]
    Unavailable {
        /// How long Google asks to wait, if it says so.
        retry_after: Option<Duration>,
        /// What happened.
        source: BoxError,
    },

    /// Google refuses the call.
    #[error("google refused: {}", .0.said)]
    Refused(Refusal),
}

/// A refusal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Its kind.
    pub kind: RefusalKind,
    /// The first sentence of Google's message, without control characters, at most 240 characters.
    pub said: String,
}

/// The kind of a refusal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefusalKind {
    /// It exists already.
    AlreadyExists,
    /// It does not exist or is not visible.
    NotFound,
    /// The policy was changed concurrently.
    Conflict,
    /// Permission is denied.
    PermissionDenied,
    /// The API is not enabled in the project, or not yet effective.
    ServiceDisabled,
    /// The token's scopes do not suffice.
    ScopeMissing,
    /// The account has not accepted Google Cloud's terms.
    TermsOfService,
    /// The organisation excludes external members (`iam.managed.allowedPolicyMembers` or
    /// `iam.allowedPolicyMemberDomains`).
    OutsidersForbidden,
    /// The project needs a billing account.
    Billing,
    /// The account has reached its project limit.
    ProjectQuota,
    /// A service account in a policy does not exist, or not yet everywhere.
    MemberMissing,
    /// Gmail may not publish to the topic, or not yet.
    PublisherRefused,
    /// The topic is not in the project of the OAuth client.
    TopicElsewhere,
    /// The mailbox has a watch with another topic.
    OtherWatch,
    /// Any other refusal.
    Other,
}

impl CloudError {
    /// Classifies an unsuccessful response.
    pub(super) fn of(status: u16, body: &[u8], retry_after: Option<Duration>) -> Self {
        let problem = Problem::of(body);
        let passes = match status {
            429 | 500..=599 => true,
            403 => problem.reasons().any(is_limit),
            _ => false,
        };
        match status {
            401 => Self::Unauthorized,
            _ if passes => Self::Unavailable {
                retry_after,
                source: format!("it answered {status}").into(),
            },
            _ => Self::Refused(problem.refusal(Some(status))),
        }
    }

    /// Reads the error of an operation.
    pub(super) fn of_operation(error: Value) -> Self {
        let problem: Problem = serde_json::from_value(error).unwrap_or_default();
        match problem.code {
            // UNAVAILABLE and INTERNAL.
            13 | 14 => Self::unavailable("the operation failed for now"),
            _ => Self::Refused(problem.refusal(None)),
        }
    }

    /// Google did not answer as expected; it named no time for a repeat.
    pub fn unavailable(source: impl Into<BoxError>) -> Self {
        Self::Unavailable {
            retry_after: None,
            source: source.into(),
        }
    }

    /// How long Google asks to wait, if it says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. }
            | Self::Token(TokenError::Unavailable { retry_after, .. }) => *retry_after,
            _ => None,
        }
    }

    /// Whether it is a refusal of this kind.
    #[must_use]
    pub fn is(&self, kind: RefusalKind) -> bool {
        self.kind() == Some(kind)
    }

    /// The kind of the refusal, if it is one.
    #[must_use]
    pub fn kind(&self) -> Option<RefusalKind> {
        match self {
            Self::Refused(refusal) => Some(refusal.kind),
            _ => None,
        }
    }
}

impl Problem {
    fn refusal(&self, status: Option<u16>) -> Refusal {
        let said = if self.message.is_empty() {
            match status {
                Some(status) => format!("it answered {status}"),
                None => "it did not say why".to_owned(),
            }
        } else {
            sentence(&self.message)
        };
        Refusal {
            kind: self.kind(status),
            said,
        }
    }

    /// Uses the reason in the details, then known texts, then the status.
    fn kind(&self, status: Option<u16>) -> RefusalKind {
        self.kind_of_details()
            .or_else(|| self.kind_of_words(status))
            .unwrap_or_else(|| self.kind_of_status(status))
    }

    fn kind_of_details(&self) -> Option<RefusalKind> {
        let violations = self.details.iter().flat_map(|detail| {
            let violations = detail["violations"].as_array().map(Vec::as_slice);
            violations.unwrap_or_default()
        });
        let mut types = violations.filter_map(|one| one["type"].as_str());
        let violated = types.find_map(|kind| match kind {
            "TOS" => Some(RefusalKind::TermsOfService),
            kind if kind.contains(OUTSIDERS) => Some(RefusalKind::OutsidersForbidden),
            _ => None,
        });
        violated.or_else(|| {
            self.reasons().find_map(|reason| match reason {
                "SERVICE_DISABLED" | "accessNotConfigured" => Some(RefusalKind::ServiceDisabled),
                "ACCESS_TOKEN_SCOPE_INSUFFICIENT" | "insufficientPermissions" => {
                    Some(RefusalKind::ScopeMissing)
                }
                "UREQ_TOS_NOT_ACCEPTED" => Some(RefusalKind::TermsOfService),
                billing if billing.contains("BILLING") => Some(RefusalKind::Billing),
                _ => None,
            })
        })
    }

    fn kind_of_words(&self, status: Option<u16>) -> Option<RefusalKind> {
        const WORDS: [(&str, RefusalKind); 9] = [
            ("accept Terms of Service", RefusalKind::TermsOfService),
            ("permitted customer", RefusalKind::OutsidersForbidden),
            (OUTSIDERS, RefusalKind::OutsidersForbidden),
            ("project quota", RefusalKind::ProjectQuota),
            ("concurrent policy changes", RefusalKind::Conflict),
            ("Invalid topicName", RefusalKind::TopicElsewhere),
            (
                "Only one user push notification client",
                RefusalKind::OtherWatch,
            ),
            ("Billing must be enabled", RefusalKind::Billing),
            ("billing to be enabled", RefusalKind::Billing),
        ];
        let says = |words: &str| self.message.contains(words);
        if says("sending test message") && says("not authorized") {
            return Some(RefusalKind::PublisherRefused);
        }
        // A missing account itself is a 404 with the same text.
        let is_of_account = says("Service account") || says("service account");
        if status == Some(400) && is_of_account && says("does not exist") {
            return Some(RefusalKind::MemberMissing);
        }
        let found = WORDS.iter().find(|(words, _)| says(words));
        found.map(|(_, kind)| *kind)
    }

    fn kind_of_status(&self, status: Option<u16>) -> RefusalKind {
        match (self.status.as_str(), status, self.code) {
            ("ABORTED", ..) => RefusalKind::Conflict,
            ("ALREADY_EXISTS", ..) | (_, Some(409), _) | (_, None, 6) => RefusalKind::AlreadyExists,
            ("NOT_FOUND", ..) | (_, Some(404), _) | (_, None, 5) => RefusalKind::NotFound,
            ("PERMISSION_DENIED", ..) | (_, Some(403), _) | (_, None, 7) => {
                RefusalKind::PermissionDenied
            }
            _ => RefusalKind::Other,
        }
    }
}

/// The first sentence of Google's message on one line.
fn sentence(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let plain = line.chars().map(|character| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    });
    let text: String = plain.take(SENTENCE).collect();
    let end = text.find(". ").map_or(text.len(), |stop| stop + 1);
    text[..end].trim().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(status: u16, error: &Value) -> Option<RefusalKind> {
        let body = json!({ "error": error }).to_string();
        CloudError::of(status, body.as_bytes(), None).kind()
    }

    #[test]
    fn each_known_refusal_is_classified() {
        let to_topic = "Error sending test message to Cloud PubSub projects/p/topics/t : ";
        for (status, message, word, expected) in [
            (
                409,
                "Resource already exists in the project.",
                "ALREADY_EXISTS",
                RefusalKind::AlreadyExists,
            ),
            (
                409,
                "There were concurrent policy changes. Please retry",
                "ABORTED",
                RefusalKind::Conflict,
            ),
            (
                404,
                "Resource not found (resource=t).",
                "NOT_FOUND",
                RefusalKind::NotFound,
            ),
            (
                403,
                "The caller does not have permission",
                "PERMISSION_DENIED",
                RefusalKind::PermissionDenied,
            ),
            (
                400,
                "One or more users named in the policy do not belong to a permitted customer, perhaps due to an organization policy.",
                "FAILED_PRECONDITION",
                RefusalKind::OutsidersForbidden,
            ),
            (
                400,
                "Service account service-1@gcp-sa-pubsub.iam.gserviceaccount.com does not exist.",
                "INVALID_ARGUMENT",
                RefusalKind::MemberMissing,
            ),
            (
                400,
                "Billing account for project '1' is not found. Billing must be enabled for activation",
                "FAILED_PRECONDITION",
                RefusalKind::Billing,
            ),
            (
                403,
                &format!("{to_topic}User not authorized to perform this action."),
                "PERMISSION_DENIED",
                RefusalKind::PublisherRefused,
            ),
            (
                400,
                "Invalid topicName does not match projects/p/topics/*",
                "INVALID_ARGUMENT",
                RefusalKind::TopicElsewhere,
            ),
            (
                400,
                "Only one user push notification client allowed per developer (call /stop then try again)",
                "INVALID_ARGUMENT",
                RefusalKind::OtherWatch,
            ),
            (400, "Something new", "INVALID_ARGUMENT", RefusalKind::Other),
        ] {
            let error = json!({ "code": status, "message": message, "status": word });
            assert_eq!(kind(status, &error), Some(expected), "{message}");
        }
    }

    #[test]
    fn the_same_text_is_classified_by_its_status() {
        let name = "projects/p/serviceAccounts/a@p.iam.gserviceaccount.com";
        let gone = json!({ "message": format!("Service account {name} does not exist.") });
        assert_eq!(kind(404, &gone), Some(RefusalKind::NotFound));
        assert_eq!(kind(400, &gone), Some(RefusalKind::MemberMissing));
    }

    #[test]
    fn both_constraints_are_recognised() {
        for name in ["managed.allowedPolicyMembers", "allowedPolicyMemberDomains"] {
            let constraint = format!("constraints/iam.{name}");
            let said =
                json!({ "message": format!("Operation denied by org policy: [{constraint}]") });
            assert_eq!(kind(400, &said), Some(RefusalKind::OutsidersForbidden));
            let violated = json!({ "details": [{ "violations": [{ "type": constraint }] }] });
            assert_eq!(kind(400, &violated), Some(RefusalKind::OutsidersForbidden));
        }
    }

    #[test]
    fn details_take_precedence_over_the_status() {
        let with = |detail: Value| json!({ "message": "m", "status": "PERMISSION_DENIED", "details": [detail] });
        for (detail, expected) in [
            (
                json!({ "reason": "SERVICE_DISABLED" }),
                RefusalKind::ServiceDisabled,
            ),
            (
                json!({ "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT" }),
                RefusalKind::ScopeMissing,
            ),
            (
                json!({ "reason": "UREQ_PROJECT_BILLING_NOT_FOUND" }),
                RefusalKind::Billing,
            ),
            (
                json!({ "violations": [{ "type": "TOS" }] }),
                RefusalKind::TermsOfService,
            ),
            (
                json!({ "reason": "AUTH_PERMISSION_DENIED" }),
                RefusalKind::PermissionDenied,
            ),
        ] {
            assert_eq!(kind(403, &with(detail)), Some(expected));
        }
        let errors = json!({ "message": "m", "errors": [{ "reason": "accessNotConfigured" }] });
        assert_eq!(kind(403, &errors), Some(RefusalKind::ServiceDisabled));
    }

    #[test]
    fn an_operations_error_has_a_number_as_its_status() {
        for (error, expected) in [
            (
                json!({ "code": 6, "message": "exists" }),
                Some(RefusalKind::AlreadyExists),
            ),
            (
                json!({ "code": 9, "details": [{ "violations": [{ "type": "TOS" }] }] }),
                Some(RefusalKind::TermsOfService),
            ),
            (
                json!({ "code": 8, "message": "exceeded your allotted project quota." }),
                Some(RefusalKind::ProjectQuota),
            ),
            (json!({ "code": 14 }), None),
        ] {
            assert_eq!(CloudError::of_operation(error).kind(), expected);
        }
    }

    #[test]
    fn googles_message_is_shortened_to_one_sentence() {
        let body =
            json!({ "error": { "message": "Not\u{1b}[2J enabled. Enable it.\nHelp Token: AXY" } });
        let message = CloudError::of(400, body.to_string().as_bytes(), None).to_string();
        assert_eq!(message, "google refused: Not [2J enabled.");
        let message = CloudError::of(418, b"<html>", None).to_string();
        assert_eq!(message, "google refused: it answered 418");
        let long = json!({ "error": { "message": "x".repeat(1000) } });
        let CloudError::Refused(refusal) = CloudError::of(400, long.to_string().as_bytes(), None)
        else {
            panic!("expected a refusal");
        };
        assert_eq!(refusal.said.len(), SENTENCE);
    }

    #[test]
    fn a_transient_error_is_not_a_refusal() {
        let wait = Some(Duration::from_secs(7));
        for status in [503, 429] {
            let error = CloudError::of(status, b"", wait);
            assert!(matches!(error, CloudError::Unavailable { .. }), "{status}");
            assert_eq!(error.retry_after(), wait);
        }
        let refused = CloudError::of(401, b"", None);
        assert!(matches!(refused, CloudError::Unauthorized));
        for reason in ["rateLimitExceeded", "userRateLimitExceeded"] {
            let body = json!({ "error": { "errors": [{ "reason": reason }] } }).to_string();
            let limited = CloudError::of(403, body.as_bytes(), None);
            assert!(
                matches!(limited, CloudError::Unavailable { .. }),
                "{reason}"
            );
        }
    }
}
