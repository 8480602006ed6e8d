//! The accounts that a controller has its watcher watch, if the machine has several (protocol, section 5).

use serde::{Deserialize, Serialize};

/// The variable that has the accounts at the watcher's start: JSON, as the body of a change.
pub const WATCHED_ACCOUNTS_VARIABLE: &str = "POSTBELL_WATCH_ACCOUNTS";

/// The problem in the answer to a push for a mailbox that is not watched here: it is to be repeated.
pub const NOT_WATCHED: &str = "not_watched";

/// An account that a watcher is to watch. All accounts have the same webhook.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchedAccount {
    /// Its address
    pub email: String,
    /// Its name for monitoring, which is public
    pub name: String,
    /// Whether its credentials are being replaced: it is not watched until then, and its pushes wait
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_paused: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_watcher_reads_what_the_controller_writes() {
        let account = |email: &str, is_paused| WatchedAccount {
            email: email.to_owned(),
            name: "1".to_owned(),
            is_paused,
        };
        let accounts = [account("ann@example.com", false), account("b@c", true)];
        let written = json!([
            {"email": "ann@example.com", "name": "1"},
            {"email": "b@c", "name": "1", "isPaused": true},
        ]);
        assert_eq!(serde_json::to_value(&accounts).unwrap(), written);
        let read: Vec<WatchedAccount> = serde_json::from_value(written).unwrap();
        assert_eq!(read, accounts);
    }
}
