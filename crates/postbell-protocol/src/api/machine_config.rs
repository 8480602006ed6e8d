//! The configuration that a machine fetches from the platform (protocol, section 2).

use postbell_core::HistoryId;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

/// What a machine needs to watch its mailboxes
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineConfig {
    /// The user's first Google account; null if it is not connected
    pub account: Option<MachineAccount>,
    /// Whether the user wants notifications of `account`. If not, the machine does not watch it
    pub gmail_notifications_enabled: bool,
    /// The user's further accounts, in the order in which they were connected. Only for a machine that has said that it
    /// watches several. Left out by a platform that does not know of them: the machine then keeps those that it has
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<FurtherAccount>, required = false)]
    pub further_accounts: Option<Vec<FurtherAccount>>,
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
    /// The credentials: base64 of a tar.gz with the folder `gogcli`. Left out if the platform cannot read them: the machine
    /// keeps those that it has. Only for a machine that has said that it watches several accounts
    #[serde(
        default,
        serialize_with = "expose",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = String, required = false)]
    pub gog_config_tarball: Option<SecretString>,
    /// The history id up to which its mail was delivered; null if it is not known
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub last_history_id: Option<HistoryId>,
}

/// A further account of the same user
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FurtherAccount {
    /// The account
    #[serde(flatten)]
    pub account: MachineAccount,
    /// Whether the user wants notifications of it. If not, the machine does not watch it
    pub gmail_notifications_enabled: bool,
}

fn expose<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret
        .as_ref()
        .map(ExposeSecret::expose_secret)
        .serialize(serializer)
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
            "furtherAccounts": [{
                "email": "team@example.com",
                "gogConfigTarball": "H4sJ",
                "lastHistoryId": null,
                "gmailNotificationsEnabled": false,
            }],
            "watcherArguments": ["--thread", "3"],
        });
        let read: MachineConfig = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        let shown = format!("{read:?}");
        assert!(!shown.contains("H4sI") && !shown.contains("H4sJ"));
        let least = json!({"account": null, "gmailNotificationsEnabled": false});
        let read: MachineConfig = serde_json::from_value(least).unwrap();
        assert!(read.account.is_none() && read.watcher_arguments.is_empty());
        assert!(read.further_accounts.is_none());
        for (written, known) in [
            (
                json!({ "account": null, "gmailNotificationsEnabled": false, "furtherAccounts": [] }),
                Some(0),
            ),
            (
                json!({
                    "account": { "email": "ann@example.com" }, "gmailNotificationsEnabled": true,
                    "furtherAccounts": null,
                }),
                None,
            ),
        ] {
            let read: MachineConfig = serde_json::from_value(written).unwrap();
            assert_eq!(read.further_accounts.map(|it| it.len()), known);
        }
    }
}
