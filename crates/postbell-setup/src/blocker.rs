//! The reasons why a step can fail, as types.

use postbell_google::{RefusalKind, TokenError};

/// The flag field of questions that only a user with a browser can answer.
pub(crate) const BROWSER: &str = "a browser";

/// Why a step failed. Contains no secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Blocker {
    /// The account has not accepted Google Cloud's terms of service.
    TermsOfService,
    /// An organization policy forbids members from outside (`iam.managed.allowedPolicyMembers` or
    /// `iam.allowedPolicyMemberDomains`).
    OrgPolicy,
    /// A required API is disabled, or was enabled too recently.
    ApiDisabled,
    /// The signed-in account lacks a permission.
    PermissionDenied,
    /// The project needs a billing account.
    BillingRequired,
    /// The account has reached its project quota.
    ProjectQuota,
    /// The project id is in use. Project ids are global.
    ProjectIdTaken,
    /// The project is scheduled for deletion.
    ProjectDeleted,
    /// The OAuth client file is invalid: what was expected.
    InvalidClientFile(String),
    /// The file of the web client is invalid: what was expected.
    InvalidWebClient(String),
    /// The OAuth client belongs to another project.
    ClientInOtherProject {
        /// The number of the client's project.
        number: String,
    },
    /// Google or the user refused consent: the OAuth error code.
    ConsentRefused(String),
    /// The user did not consent in time.
    ConsentTimeout,
    /// The user did not grant every scope: descriptions of the missing ones.
    ScopesNotGranted(Vec<&'static str>),
    /// Another account consented.
    WrongAccount {
        /// The account that was requested.
        wanted: String,
    },
    /// The grant was revoked or has expired.
    GrantRevoked,
    /// Google rejected the OAuth client: the error code.
    ClientRejected(String),
    /// Google rejected the access token.
    TokenRejected,
    /// The grant lacks a scope.
    ScopeMissing,
    /// Gmail may not publish to the topic, or the role was granted too recently.
    PublisherDenied,
    /// A service account was created too recently.
    MemberNotFound,
    /// The topic and the OAuth client belong to different projects.
    TopicInOtherProject,
    /// The mailbox has a watch on another topic.
    WatchOnOtherTopic,
    /// The subscription exists on another topic, which cannot be changed.
    SubscriptionOnOtherTopic,
    /// A change is not visible yet.
    NotVisibleYet,
    /// Google is unavailable.
    Unavailable,
    /// The same IAM policy was changed concurrently.
    PolicyConflict,
    /// A value is missing and cannot be asked for: the flag or variable that provides it.
    MissingInput(&'static str),
    /// The user cancelled.
    Cancelled,
    /// The platform rejected the user token.
    PlatformToken,
    /// The user token is that of another user.
    OtherUsersToken {
        /// The user that it names.
        actual: String,
        /// The user that was requested.
        wanted: String,
    },
    /// The server at the platform's address is none.
    NoPlatform,
    /// The platform does not know the user.
    PlatformUser,
    /// The platform's public key is missing or invalid: the problem.
    PlatformKey(&'static str),
    /// The platform refused the request otherwise: its answer.
    Platform(String),
    /// The platform is unavailable.
    PlatformUnavailable,
    /// The bot's webhook did not accept a mail: the problem.
    Webhook(String),
    /// The public address of `postbell watch serve` does not behave like a watcher: its answer.
    Endpoint(String),
    /// The test notification was not delivered in time.
    NotificationTimeout,
    /// A file cannot be read or written: which, and why.
    File(String),
    /// No loopback port could be opened for the browser: why.
    LoopbackPort(String),
    /// A bug in setup: the problem.
    Internal(String),
    /// Google refused for a reason that has no variant here.
    Refused,
}

impl Blocker {
    /// Why a retry may succeed, if it may.
    pub(crate) fn retry_reason(&self) -> Option<&'static str> {
        Some(match self {
            Self::ApiDisabled => "a newly enabled API takes some minutes to become available",
            Self::PublisherDenied => "Google takes up to 7 minutes to apply a new role",
            Self::MemberNotFound | Self::NotVisibleYet => {
                "Google takes a moment to show a new resource"
            }
            Self::Unavailable => "Google is unavailable",
            Self::PlatformUnavailable => "the platform is unavailable",
            Self::PolicyConflict => "another process is changing the same IAM policy",
            _ => return None,
        })
    }

    /// The problem, as a sentence without a full stop.
    pub(crate) fn problem(&self) -> String {
        match self {
            Self::ClientInOtherProject { number } => format!(
                "the OAuth client belongs to project number {number}, and Gmail publishes only to \
                 topics of the client's own project"
            ),
            Self::ConsentRefused(code) if code == "access_denied" => {
                "consent was refused on Google's page".to_owned()
            }
            Self::ConsentRefused(code) => format!("Google's consent page returned `{code}`"),
            Self::ScopesNotGranted(scopes) => {
                format!(
                    "permissions not granted on Google's page: {}",
                    scopes.join("; ")
                )
            }
            Self::WrongAccount { wanted } => format!("an account other than {wanted} consented"),
            Self::OtherUsersToken { actual, wanted } => {
                format!("the user token is for {actual}, and not for {wanted}")
            }
            Self::ClientRejected(code) => format!("Google rejected the OAuth client ({code})"),
            Self::MissingInput(flag) => format!("missing input: expected {flag}"),
            Self::PlatformKey(problem) => (*problem).to_owned(),
            Self::InvalidClientFile(problem)
            | Self::InvalidWebClient(problem)
            | Self::Platform(problem)
            | Self::Webhook(problem)
            | Self::Endpoint(problem)
            | Self::File(problem)
            | Self::LoopbackPort(problem)
            | Self::Internal(problem) => problem.clone(),
            other => other.fixed_problem().to_owned(),
        }
    }

    fn fixed_problem(&self) -> &'static str {
        match self {
            Self::TermsOfService => "this account has not accepted Google Cloud's terms of service",
            Self::OrgPolicy => {
                "an organization policy forbids members from outside \
                 (iam.managed.allowedPolicyMembers, or the older iam.allowedPolicyMemberDomains), \
                 and Gmail's publisher is a Google account"
            }
            Self::ApiDisabled => "a required API is disabled, or was enabled too recently",
            Self::PermissionDenied => "the signed-in account lacks a permission",
            Self::BillingRequired => "the project has no billing account, and Google requires one",
            Self::ProjectQuota => "this account has reached its project quota",
            Self::ProjectIdTaken => "this project id is already in use",
            Self::ProjectDeleted => "the project is scheduled for deletion",
            Self::ConsentTimeout => "timed out waiting for consent in the browser",
            Self::GrantRevoked => "the grant was revoked or has expired",
            Self::TokenRejected => "Google rejected the access token; it may have expired",
            Self::ScopeMissing => "the grant lacks a required scope",
            Self::PublisherDenied => "Gmail may not publish to the topic yet",
            Self::MemberNotFound => "a new service account is not visible everywhere yet",
            Self::TopicInOtherProject => "the topic is not in the OAuth client's project",
            Self::WatchOnOtherTopic => {
                "this mailbox already has a watch on another topic of the same project"
            }
            Self::SubscriptionOnOtherTopic => "a subscription of this name exists on another topic",
            Self::NotVisibleYet => "a new resource is not visible yet, or its project is missing",
            Self::Unavailable => "Google is unavailable",
            Self::PolicyConflict => "another process keeps changing the same IAM policy",
            Self::Cancelled => "cancelled",
            Self::PlatformToken => "the platform rejected the user token: it is wrong or expired",
            Self::NoPlatform => "the server at the platform's address is not a platform",
            Self::PlatformUser => {
                "the platform does not know the user, or the address is not a platform's"
            }
            Self::PlatformUnavailable => "the platform is unavailable",
            Self::NotificationTimeout => "the test notification was not delivered in time",
            _ => "Google refused the request",
        }
    }
}

impl From<RefusalKind> for Blocker {
    fn from(kind: RefusalKind) -> Self {
        match kind {
            RefusalKind::TermsOfService => Self::TermsOfService,
            RefusalKind::OutsidersForbidden => Self::OrgPolicy,
            RefusalKind::ServiceDisabled => Self::ApiDisabled,
            RefusalKind::PermissionDenied => Self::PermissionDenied,
            RefusalKind::Billing => Self::BillingRequired,
            RefusalKind::ProjectQuota => Self::ProjectQuota,
            RefusalKind::ScopeMissing => Self::ScopeMissing,
            RefusalKind::PublisherRefused => Self::PublisherDenied,
            RefusalKind::MemberMissing => Self::MemberNotFound,
            RefusalKind::TopicElsewhere => Self::TopicInOtherProject,
            RefusalKind::OtherWatch => Self::WatchOnOtherTopic,
            RefusalKind::Conflict => Self::PolicyConflict,
            // A new resource is not visible everywhere at once.
            RefusalKind::NotFound => Self::NotVisibleYet,
            RefusalKind::AlreadyExists | RefusalKind::Other => Self::Refused,
        }
    }
}

impl From<TokenError> for Blocker {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::GrantRevoked => Self::GrantRevoked,
            TokenError::NotDelegated => Self::ClientRejected("not delegated".to_owned()),
            TokenError::Refused { reason } => Self::ClientRejected(reason),
            TokenError::Unavailable { .. } => Self::Unavailable,
        }
    }
}
