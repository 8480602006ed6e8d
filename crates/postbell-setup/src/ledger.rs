//! The ledger of resources that setup created: undo removes these, and nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use crate::report::StepId;

/// Resources that setup created. Each is recorded before it is created, so that a process that dies
/// in between loses none.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct ResourceLedger(BTreeSet<Resource>);

impl ResourceLedger {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.0.iter()
    }

    pub(crate) fn contains(&self, resource: &Resource) -> bool {
        self.0.contains(resource)
    }

    pub(crate) fn created_by(&self, step: StepId) -> Vec<Resource> {
        let resources = self.0.iter();
        resources
            .filter(|resource| resource.step() == step)
            .cloned()
            .collect()
    }

    pub(crate) fn record(&mut self, resource: Resource) {
        self.0.insert(resource);
    }

    /// Removes a resource that existed before, or no longer exists.
    pub(crate) fn disown(&mut self, resource: &Resource) {
        self.0.remove(resource);
    }

    /// Removes a deleted project with its resources.
    pub(crate) fn disown_project(&mut self, project: &str) {
        self.0
            .retain(|resource| resource.project() != Some(project));
    }

    /// Records that a platform now has the account of `connected`: the user's former first account is replaced.
    pub(crate) fn record_first_account(&mut self, connected: &Resource) {
        self.0.retain(|resource| {
            resource == connected
                || !resource.is_first_account()
                || !resource.is_of_same_user(connected)
        });
        self.record(connected.clone());
    }

    /// Records that `file` now has the credentials `key`: other credentials that it had are lost.
    pub(crate) fn record_credentials(&mut self, file: &Path, key: &CredentialKey) {
        let resources = std::mem::take(&mut self.0).into_iter();
        self.0 = resources
            .map(|resource| resource.after_writing(file, key))
            .collect();
        self.record(Resource::Credentials {
            file: file.to_owned(),
        });
    }
}

/// A resource that setup created, by its full name: the next run may use other names.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub(crate) enum Resource {
    Project {
        id: String,
    },
    /// An enabled API.
    Service {
        /// Project id.
        project: String,
        /// Project number.
        number: String,
        /// Such as `gmail.googleapis.com`.
        name: String,
    },
    Topic {
        /// `projects/P/topics/T`.
        name: String,
    },
    /// Gmail's publisher role.
    Publisher {
        topic: String,
    },
    /// A service account.
    Account {
        project: String,
        email: String,
    },
    /// Pub/Sub's role to sign tokens as a service account.
    Signer {
        project: String,
        number: String,
        email: String,
    },
    Subscription {
        /// `projects/P/subscriptions/S`.
        name: String,
    },
    /// The subscriber role of a mailbox's owner.
    Fetcher {
        subscription: String,
        mailbox: String,
    },
    Grant(CredentialKey),
    Watch(CredentialKey),
    /// A local credentials file.
    Credentials {
        file: PathBuf,
    },
    /// A local file with the secret of the web client.
    SecretFile {
        file: PathBuf,
    },
    /// Credentials on a platform.
    #[serde(rename_all = "camelCase")]
    Connection {
        platform: Url,
        user: String,
        /// `None` for a first account that an earlier version connected.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mailbox: Option<String>,
        /// Whether the account is the user's first one. Earlier versions did not record it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_first: bool,
    },
}

/// Identifies the credentials of a mailbox.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct CredentialKey {
    pub(crate) mailbox: String,
    /// OAuth client id.
    pub(crate) client: String,
    /// The local file with the refresh token, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<PathBuf>,
}

impl Resource {
    /// The step that creates and removes it.
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
            Self::SecretFile { .. } => StepId::ClientSecret,
            Self::Credentials { .. } | Self::Connection { .. } => StepId::Credentials,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Project { .. } => "project",
            Self::Service { .. } => "APIs",
            Self::Topic { .. } => "topic",
            Self::Publisher { .. } => "publisher role",
            Self::Account { .. } => "push account",
            Self::Signer { .. } => "signing role",
            Self::Subscription { .. } => "subscription",
            Self::Fetcher { .. } => "subscriber role",
            Self::Grant(_) => "OAuth grant",
            Self::Watch(_) => "watch",
            Self::SecretFile { .. } => "client secret",
            Self::Credentials { .. } | Self::Connection { .. } => "credentials",
        }
    }

    /// The id of the resource's project, unless the resource is outside of Google Cloud.
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
            | Self::SecretFile { .. }
            | Self::Connection { .. } => None,
        }
    }

    /// Whether it is a connection of a user's first account.
    pub(crate) fn is_first_account(&self) -> bool {
        matches!(
            self,
            Self::Connection { mailbox, is_first, .. } if *is_first || mailbox.is_none()
        )
    }

    /// Whether both are connections of the same user of a platform.
    pub(crate) fn is_of_same_user(&self, other: &Self) -> bool {
        let user = |resource: &Self| match resource {
            Self::Connection { platform, user, .. } => Some((platform.clone(), user.clone())),
            _ => None,
        };
        user(self).is_some() && user(self) == user(other)
    }

    fn after_writing(self, file: &Path, key: &CredentialKey) -> Self {
        let updated = |old: CredentialKey| {
            let is_lost = old.file.as_deref() == Some(file) && old != *key;
            CredentialKey {
                file: old.file.filter(|_| !is_lost),
                ..old
            }
        };
        match self {
            Self::Grant(old) => Self::Grant(updated(old)),
            Self::Watch(old) => Self::Watch(updated(old)),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(mailbox: &str, file: Option<&str>) -> CredentialKey {
        CredentialKey {
            mailbox: mailbox.to_owned(),
            client: "client".to_owned(),
            file: file.map(PathBuf::from),
        }
    }

    #[test]
    fn a_topic_names_its_project() {
        let topic = Resource::Topic {
            name: "projects/p/topics/t".to_owned(),
        };
        assert_eq!(topic.project(), Some("p"));
        assert_eq!(
            Resource::Grant(key("ann@example.com", None)).project(),
            None
        );
    }

    #[test]
    fn a_first_account_replaces_the_users_former_one() {
        let connection = |user: &str, mailbox: Option<&str>, is_first| Resource::Connection {
            platform: "https://bell.example.com".parse().unwrap(),
            user: user.to_owned(),
            mailbox: mailbox.map(str::to_owned),
            is_first,
        };
        let kept = [
            connection("ada", Some("further@x"), false),
            connection("eve", Some("eve@x"), true),
            connection("eve", None, false),
        ];
        let replaced = [
            connection("ada", Some("ann@x"), true),
            connection("ada", None, false),
        ];
        let mut ledger = ResourceLedger::default();
        for resource in kept.iter().chain(&replaced) {
            ledger.record(resource.clone());
        }
        let bob = connection("ada", Some("bob@x"), true);
        ledger.record_first_account(&bob);
        let left: BTreeSet<_> = ledger.iter().cloned().collect();
        assert_eq!(left, kept.into_iter().chain([bob]).collect());
    }

    #[test]
    fn overwriting_a_file_loses_the_credentials_in_it() {
        let (ann, bob) = (key("ann@x", Some("f")), key("bob@x", Some("f")));
        let file = Path::new("f");
        assert_eq!(
            Resource::Watch(ann.clone()).after_writing(file, &bob),
            Resource::Watch(key("ann@x", None))
        );
        assert_eq!(
            Resource::Grant(bob.clone()).after_writing(file, &bob),
            Resource::Grant(bob.clone())
        );
        assert_eq!(
            Resource::Grant(ann.clone()).after_writing(Path::new("g"), &bob),
            Resource::Grant(ann)
        );
    }
}
