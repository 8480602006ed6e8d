//! The progress of setup between runs: facts, never secrets. Google holds everything else.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::ledger::ResourceLedger;

/// The content of the progress file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Progress {
    /// The OAuth client file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_file: Option<PathBuf>,
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
    use crate::ledger::Resource;

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
