//! What was made here, by its full name: that may be taken back, and nothing else.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use crate::step::StepId;

/// Something that was made here.
///
/// With its full name, because the next run may want others: what is taken back is what was made, and
/// not what is wished for by now.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Made {
    /// A project.
    Project {
        /// Its id.
        id: String,
    },
    /// An API was enabled.
    Service {
        /// The id of the project.
        project: String,
        /// The number of the project.
        number: String,
        /// Such as `gmail.googleapis.com`.
        name: String,
    },
    /// A topic, as `projects/P/topics/T`.
    Topic {
        /// Its name.
        name: String,
    },
    /// Gmail may publish.
    Publisher {
        /// To which topic.
        topic: String,
    },
    /// A service account.
    Account {
        /// The id of the project.
        project: String,
        /// Its address.
        email: String,
    },
    /// Pub/Sub may sign as a service account.
    Signer {
        /// The id of the project.
        project: String,
        /// The number of the project.
        number: String,
        /// The account's address.
        email: String,
    },
    /// A subscription, as `projects/P/subscriptions/S`.
    Subscription {
        /// Its name.
        name: String,
    },
    /// Somebody may fetch.
    Fetcher {
        /// From which subscription.
        subscription: String,
        /// Who.
        mailbox: String,
    },
    /// The owner's leave to read a mailbox.
    Grant(Key),
    /// A watch on a mailbox.
    Watch(Key),
    /// A local file of credentials.
    Credentials {
        /// Which.
        file: PathBuf,
    },
    /// A platform's connection.
    Connection {
        /// Base URL of the platform.
        platform: Url,
        /// The user there.
        user: String,
    },
}

/// What opens a mailbox.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Key {
    /// The mailbox's address.
    pub mailbox: String,
    /// The id of the OAuth client.
    pub client: String,
    /// Where the refresh token is, if it is here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

impl Made {
    /// The step that makes it, and takes it back.
    pub(crate) fn step(&self) -> StepId {
        match self {
            Self::Project { .. } => StepId::Project,
            Self::Service { .. } => StepId::Apis,
            Self::Topic { .. } => StepId::Topic,
            Self::Publisher { .. } => StepId::Publisher,
            Self::Account { .. } => StepId::Account,
            Self::Signer { .. } => StepId::Signer,
            Self::Subscription { .. } => StepId::Subscription,
            Self::Fetcher { .. } => StepId::Fetcher,
            Self::Grant(_) => StepId::Mailbox,
            Self::Watch(_) => StepId::Watch,
            Self::Credentials { .. } | Self::Connection { .. } => StepId::Credentials,
        }
    }

    /// What it is, in a word or two.
    pub(crate) fn in_words(&self) -> &'static str {
        match self {
            Self::Project { .. } => "project",
            Self::Service { .. } => "APIs",
            Self::Topic { .. } => "topic",
            Self::Publisher { .. } => "publisher role",
            Self::Account { .. } => "push account",
            Self::Signer { .. } => "signing role",
            Self::Subscription { .. } => "subscription",
            Self::Fetcher { .. } => "fetching role",
            Self::Grant(_) => "grant",
            Self::Watch(_) => "watch",
            Self::Credentials { .. } | Self::Connection { .. } => "credentials",
        }
    }

    /// The id of the project that it is in, or that it is; nothing, where it is in none.
    pub(crate) fn project(&self) -> Option<&str> {
        match self {
            Self::Project { id: project }
            | Self::Service { project, .. }
            | Self::Account { project, .. }
            | Self::Signer { project, .. } => Some(project),
            Self::Topic { name }
            | Self::Publisher { topic: name }
            | Self::Subscription { name }
            | Self::Fetcher {
                subscription: name, ..
            } => name.split('/').nth(1),
            Self::Grant(_)
            | Self::Watch(_)
            | Self::Credentials { .. }
            | Self::Connection { .. } => None,
        }
    }

    /// The same once a file holds something else than `key`: what another key opened cannot be opened
    /// from here any more.
    pub(crate) fn after_writing(self, file: &Path, key: &Key) -> Self {
        let opened = |old: Key| {
            let is_lost = old.file.as_deref() == Some(file) && old != *key;
            Key {
                file: old.file.filter(|_| !is_lost),
                ..old
            }
        };
        match self {
            Self::Grant(old) => Self::Grant(opened(old)),
            Self::Watch(old) => Self::Watch(opened(old)),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(mailbox: &str, file: Option<&str>) -> Key {
        Key {
            mailbox: mailbox.to_owned(),
            client: "client".to_owned(),
            file: file.map(PathBuf::from),
        }
    }

    #[test]
    fn what_is_made_in_a_project_says_in_which() {
        let topic = Made::Topic {
            name: "projects/p/topics/t".to_owned(),
        };
        assert_eq!(topic.project(), Some("p"));
        assert_eq!(Made::Grant(key("ann@example.com", None)).project(), None);
    }

    #[test]
    fn a_key_that_is_written_over_is_lost() {
        let (ann, bob) = (key("ann@x", Some("f")), key("bob@x", Some("f")));
        let file = Path::new("f");
        assert_eq!(
            Made::Watch(ann.clone()).after_writing(file, &bob),
            Made::Watch(key("ann@x", None))
        );
        assert_eq!(
            Made::Grant(bob.clone()).after_writing(file, &bob),
            Made::Grant(bob.clone())
        );
        assert_eq!(
            Made::Grant(ann.clone()).after_writing(Path::new("g"), &bob),
            Made::Grant(ann)
        );
    }
}
