//! Why a step cannot be done: what it is, what Google said of it, and what to do next.

mod words;

use std::fmt;

use postbell_google::{CloudError, RefusalKind, TokenError};

/// Why a step cannot be done, in terms of who acts on it: the person, or nobody for a while.
///
/// Holds no secret, and nothing that came from outside but one sentence of Google's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trouble {
    /// What stands in the way.
    pub wall: Wall,
    /// What Google said of it, in one sentence.
    pub said: Option<String>,
    /// The project that it is about, for the pages where it can be mended.
    project: Option<String>,
}

/// What stands in the way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wall {
    /// The account has never accepted Google Cloud's terms.
    TermsOfService,
    /// The organisation lets nobody in from outside (`iam.allowedPolicyMemberDomains`).
    OutsidersForbidden,
    /// An API is not enabled, or not yet everywhere.
    ServiceDisabled,
    /// The account that signed in may not.
    NoPermission,
    /// The project needs a billing account.
    Billing,
    /// The account has as many projects as it may have.
    ProjectQuota,
    /// Somebody has a project of this name, anywhere.
    ProjectTaken,
    /// The project is being deleted.
    ProjectGone,
    /// The file of the OAuth client cannot be used: what was expected of it.
    ClientFile(String),
    /// The OAuth client belongs to another project.
    ClientElsewhere {
        /// The number of its project.
        number: String,
    },
    /// The person, or Google for them, said no: OAuth's word for it.
    ConsentRefused(String),
    /// Nobody consented in time.
    NobodyConsented,
    /// Not everything that was asked for was ticked: what is missing, in words.
    NotTicked(Vec<&'static str>),
    /// Another account consented than the one that was wanted.
    WrongAccount {
        /// The one that was wanted.
        wanted: String,
    },
    /// The grant was taken back, or has ended.
    GrantRevoked,
    /// Google refuses the OAuth client: its word for it.
    ClientRefused(String),
    /// The token that was given is not good, or not any more.
    TokenRefused,
    /// The grant does not cover what is needed.
    ScopeMissing,
    /// Gmail may not publish to the topic, or not yet.
    PublisherRefused,
    /// An account that was just made is not seen yet.
    MemberMissing,
    /// The topic is not in the OAuth client's project.
    TopicElsewhere,
    /// The mailbox tells another topic already.
    OtherWatch,
    /// The subscription is there, for another topic, which cannot be changed.
    OtherTopic,
    /// What was done does not show yet.
    NotSeen,
    /// Google is busy or out of reach.
    Unavailable,
    /// Somebody else keeps changing the same policy.
    Conflict,
    /// Nobody is there to ask: what answers the question.
    Unattended(&'static str),
    /// The person has stopped.
    Stopped,
    /// The platform refused: what it answered, and what that means.
    Platform(String),
    /// The platform is out of reach.
    PlatformAway,
    /// The bot's hook did not take a mail: what it did.
    Hook(String),
    /// The notification did not come through in time.
    NotArrived,
    /// A file cannot be read or written: which, and why.
    File(String),
    /// Google refused for a reason that has no words here.
    Refused,
}

impl Trouble {
    /// This wall, without a word from Google.
    #[must_use]
    pub fn new(wall: Wall) -> Self {
        Self {
            wall,
            said: None,
            project: None,
        }
    }

    /// The same, about a project.
    #[must_use]
    pub fn in_project(self, project: Option<&str>) -> Self {
        Self {
            project: project.map(str::to_owned),
            ..self
        }
    }

    /// Why waiting may help, if it may.
    #[must_use]
    pub fn passing(&self) -> Option<&'static str> {
        match self.wall {
            Wall::ServiceDisabled => {
                Some("an API takes some minutes to come up once it is enabled")
            }
            Wall::PublisherRefused => {
                Some("Google takes up to 7 minutes to carry a new role everywhere")
            }
            Wall::MemberMissing | Wall::NotSeen => {
                Some("Google takes a moment to show what was just made")
            }
            Wall::Unavailable => Some("Google is busy or out of reach"),
            Wall::PlatformAway => Some("the platform is out of reach"),
            Wall::Conflict => Some("somebody else is changing the same policy"),
            _ => None,
        }
    }
}

impl From<CloudError> for Trouble {
    fn from(error: CloudError) -> Self {
        match error {
            CloudError::Token(error) => error.into(),
            CloudError::Unauthorized => Self::new(Wall::TokenRefused),
            CloudError::Unavailable(_) => Self::new(Wall::Unavailable),
            CloudError::Refused(refusal) => Self {
                wall: wall(refusal.kind),
                said: Some(refusal.said),
                project: None,
            },
        }
    }
}

fn wall(kind: RefusalKind) -> Wall {
    match kind {
        RefusalKind::TermsOfService => Wall::TermsOfService,
        RefusalKind::OutsidersForbidden => Wall::OutsidersForbidden,
        RefusalKind::ServiceDisabled => Wall::ServiceDisabled,
        RefusalKind::PermissionDenied => Wall::NoPermission,
        RefusalKind::Billing => Wall::Billing,
        RefusalKind::ProjectQuota => Wall::ProjectQuota,
        RefusalKind::ScopeMissing => Wall::ScopeMissing,
        RefusalKind::PublisherRefused => Wall::PublisherRefused,
        RefusalKind::MemberMissing => Wall::MemberMissing,
        RefusalKind::TopicElsewhere => Wall::TopicElsewhere,
        RefusalKind::OtherWatch => Wall::OtherWatch,
        RefusalKind::Conflict => Wall::Conflict,
        // What was just made is not seen everywhere at once.
        RefusalKind::NotFound => Wall::NotSeen,
        RefusalKind::AlreadyExists | RefusalKind::Other => Wall::Refused,
    }
}

impl From<TokenError> for Trouble {
    fn from(error: TokenError) -> Self {
        Self::new(match error {
            TokenError::GrantRevoked => Wall::GrantRevoked,
            TokenError::NotDelegated => Wall::ClientRefused("not delegated".to_owned()),
            TokenError::Refused { reason } => Wall::ClientRefused(reason),
            TokenError::Unavailable(_) => Wall::Unavailable,
        })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())?;
        if let Some(said) = &self.said {
            write!(f, " (Google said: {said})")?;
        }
        Ok(())
    }
}
