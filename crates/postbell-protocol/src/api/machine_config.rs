//! The configuration that a machine fetches from the platform (protocol, section 2).

use postbell_core::HistoryId;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

/// What a machine needs to watch its mailbox
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineConfig {
    /// The connected Google account; null if none is connected
    pub account: Option<MachineAccount>,
    /// Whether the user wants notifications. If not, the machine watches no mailbox
    pub gmail_notifications_enabled: bool,
    /// Further arguments of the watcher, unless the machine has its own
    #[serde(default)]
    pub watcher_arguments: Vec<String>,
}

/// A connected Google account with its credentials
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineAccount {
    /// Its address
    pub email: String,
    /// The credentials: base64 of a tar.gz with the folder `gogcli`
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String)]
    pub gog_config_tarball: SecretString,
    /// The history id up to which its mail was delivered; null if it is not known
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub last_history_id: Option<HistoryId>,
}

fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_machine_reads_what_the_platform_writes_and_debug_output_has_no_credentials() {
        let written = json!({
            "account": {
                "email": "ann@example.com",
                "gogConfigTarball": "H4sI",
                "lastHistoryId": "18446744073709551615",
            },
            "gmailNotificationsEnabled": true,
            "watcherArguments": ["--thread", "3"],
        });
        let read: MachineConfig = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        assert!(!format!("{read:?}").contains("H4sI"));
        let least = json!({"account": null, "gmailNotificationsEnabled": false});
        let read: MachineConfig = serde_json::from_value(least).unwrap();
        assert!(read.account.is_none() && read.watcher_arguments.is_empty());
    }
}
