//! The progress of setup between runs: facts, never secrets. Google holds everything else.

use std::path::{Path, PathBuf};

use postbell_core::EmailAddress;
use postbell_google::{DEFAULT_PULL_SUBSCRIPTION, DEFAULT_PUSH_SUBSCRIPTION};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::ledger::{Resource, ResourceLedger};

/// The content of the progress file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Progress {
    /// The OAuth client file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_file: Option<PathBuf>,
    /// The file of the OAuth client with which a platform's users connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) web_client_file: Option<PathBuf>,
    /// The file with the secret of that client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Project id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The id of a project that is being created and is not visible yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) new_project: Option<String>,
    /// Mailbox address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
    /// Where notifications are delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<SavedDestination>,
    /// Resource names that replace the defaults.
    #[serde(skip_serializing_if = "ResourceNames::is_default")]
    pub names: ResourceNames,
    /// The resources that setup created.
    #[serde(rename = "made", skip_serializing_if = "ResourceLedger::is_empty")]
    pub(crate) ledger: ResourceLedger,
    /// When the grant expires, in milliseconds since the epoch, if the app was in testing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_ends_at: Option<i64>,
    /// The watch that setup started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchRecord>,
    /// The id of the OAuth client whose grant the platform has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connected_client: Option<String>,
    /// The webhook that was named, tested or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Url>,
    /// The webhook that accepted the test mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<Url>,
    /// The last test notification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) arrived: Option<ArrivalRecord>,
}

/// Where notifications are delivered.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum SavedDestination {
    /// A platform's relay.
    #[serde(rename_all = "camelCase")]
    Platform {
        /// Base URL of the platform.
        platform: Url,
        /// Public base URL of its relay.
        relay: Url,
        /// User id on the platform.
        user: String,
        /// Whether the account is connected beside the user's others.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_further: bool,
    },
    /// A platform's relay, for all users who connect in the browser.
    #[serde(rename_all = "camelCase")]
    Operator {
        /// Public base URL of the platform's pages.
        pages: Url,
        /// Public base URL of its relay.
        relay: Url,
    },
    /// `postbell watch pull`.
    #[serde(rename_all = "camelCase")]
    Pull {
        /// Credentials file.
        credentials: PathBuf,
    },
    /// `postbell watch serve`.
    #[serde(rename_all = "camelCase")]
    Serve {
        /// Credentials file.
        credentials: PathBuf,
        /// Public URL.
        endpoint: Url,
    },
}

impl Progress {
    /// Keeps the subscription's name of an earlier version, which was not the mailbox's own: commands
    /// that run use it. Only the mailbox for which it was created keeps it.
    pub(crate) fn keep_older_subscription(&mut self, older: &str, mailbox: Option<&EmailAddress>) {
        let is_same = mailbox.zip(self.mailbox.as_deref());
        let is_same = is_same.is_some_and(|(new, old)| new.is_same_mailbox(old));
        if !is_same && self.names.subscription.as_deref() == Some(older) {
            self.names.subscription = None;
        }
        if is_same && self.names.subscription.is_none() && self.has_subscription(older) {
            self.names.subscription = Some(older.to_owned());
        }
    }

    /// Whether a test notification has arrived once, which ends setup.
    #[must_use]
    pub const fn has_arrived(&self) -> bool {
        self.arrived.is_some()
    }

    /// The file with the credentials of a mailbox for which setup was run, last or earlier.
    #[must_use]
    pub fn credentials_of(&self, mailbox: &EmailAddress) -> Option<&Path> {
        let last = self.mailbox.as_deref();
        let is_last = last.is_some_and(|last| mailbox.is_same_mailbox(last));
        match &self.destination {
            Some(
                SavedDestination::Pull { credentials }
                | SavedDestination::Serve { credentials, .. },
            ) if is_last => Some(credentials),
            _ => self.ledger.iter().find_map(|resource| match resource {
                Resource::Grant(key) if mailbox.is_same_mailbox(&key.mailbox) => {
                    key.file.as_deref()
                }
                _ => None,
            }),
        }
    }

    fn has_subscription(&self, name: &str) -> bool {
        let project = self.project.as_deref().unwrap_or_default();
        let name = format!("projects/{project}/subscriptions/{name}");
        self.ledger.contains(&Resource::Subscription { name })
    }

    /// The id of the topic in use: the chosen one, or that of the watch.
    #[must_use]
    pub fn topic_id(&self) -> Option<String> {
        let of_watch = self.watch.as_ref().map(|watch| watch.topic.as_str());
        let of_watch = of_watch.and_then(|topic| Some(topic.rsplit_once('/')?.1.to_owned()));
        self.names.topic.clone().or(of_watch)
    }

    /// The id of the subscription in use, unless it is the default one of the mailbox.
    #[must_use]
    pub fn subscription_id(&self) -> Option<String> {
        let older = match self.destination.as_ref()? {
            SavedDestination::Platform { .. } | SavedDestination::Operator { .. } => None,
            SavedDestination::Serve { .. } => Some(DEFAULT_PUSH_SUBSCRIPTION),
            SavedDestination::Pull { .. } => Some(DEFAULT_PULL_SUBSCRIPTION),
        };
        let older = older.filter(|name| self.has_subscription(name));
        self.names.subscription.clone().or(older.map(str::to_owned))
    }
}

/// Names of Google Cloud resources that replace the defaults.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResourceNames {
    /// Topic name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Subscription name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Service account id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

impl ResourceNames {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Replaces the names that `chosen` has.
    pub(crate) fn update(&mut self, chosen: Self) {
        self.topic = chosen.topic.or(self.topic.take());
        self.subscription = chosen.subscription.or(self.subscription.take());
        self.account = chosen.account.or(self.account.take());
    }
}

/// A watch that setup started.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchRecord {
    /// The topic, as `projects/P/topics/T`.
    pub topic: String,
    /// The history id at the start.
    pub history_id: String,
    /// When the watch expires unless renewed, in milliseconds since the epoch.
    pub ends_at: i64,
}

/// A test notification.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ArrivalRecord {
    /// The subscription, and its push endpoint.
    pub(crate) path: String,
    /// Why setup cannot observe the delivery; `None` if it was observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unseen: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{CredentialKey, Resource};

    /// Written by version 0.1.0, before the restructuring.
    const FILE_OF_0_1_0: &str = include_str!("../fixtures/setup-0.1.0.json");

    #[test]
    fn a_progress_file_of_an_earlier_version_is_read_and_written_unchanged() {
        let progress: Progress = serde_json::from_str(FILE_OF_0_1_0).unwrap();
        assert_eq!(progress.project.as_deref(), Some("my-project"));
        let topic = Resource::Topic {
            name: "projects/my-project/topics/postbell-gmail".to_owned(),
        };
        assert!(progress.ledger.contains(&topic));
        let written = serde_json::to_string_pretty(&progress).unwrap();
        assert_eq!(written, FILE_OF_0_1_0.trim_end());
    }

    #[test]
    fn the_credentials_of_each_mailbox_are_found() {
        let mut progress = Progress {
            mailbox: Some("bob@example.com".to_owned()),
            destination: Some(SavedDestination::Pull {
                credentials: "bob.json".into(),
            }),
            ..Progress::default()
        };
        progress.ledger.record(Resource::Grant(CredentialKey {
            mailbox: "first.last@gmail.com".to_owned(),
            client: "client".to_owned(),
            file: Some("ann.json".into()),
        }));
        for (mailbox, file) in [
            ("Bob@example.com", Some("bob.json")),
            ("firstlast@gmail.com", Some("ann.json")),
            ("eve@example.com", None),
        ] {
            let found = progress.credentials_of(&mailbox.parse().unwrap());
            assert_eq!(found, file.map(Path::new), "{mailbox}");
        }
    }

    #[test]
    fn only_facts_that_are_known_are_written() {
        let mut progress = Progress {
            project: Some("p".to_owned()),
            ..Progress::default()
        };
        progress
            .ledger
            .record(Resource::Project { id: "p".to_owned() });
        assert_eq!(
            serde_json::to_string(&progress).unwrap(),
            r#"{"project":"p","made":[{"kind":"project","id":"p"}]}"#
        );
    }
}
