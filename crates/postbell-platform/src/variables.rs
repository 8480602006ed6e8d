//! The environment variables of a machine (protocol, section 4).

use postbell_core::UserRecord;
use postbell_protocol::env_crypto::{ENCRYPTED_NAME_PREFIX, EnvKey};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

const NOTIFICATIONS: &str = "GMAIL_NOTIFICATIONS_ENABLED";
const HISTORY_ID: &str = "KILOCLAW_GMAIL_LAST_HISTORY_ID";
const ACCOUNT: &str = "KILOCLAW_GOOGLE_ACCOUNT_EMAIL";
const TARBALL: &str = "KILOCLAW_GOG_CONFIG_TARBALL";

/// The platform that the machine fetches its configuration from. Its owner sets it.
const PLATFORM_URL: &str = "POSTBELL_CONTROLLER__PLATFORM_URL";

/// The variables of a machine, derived from its user's record.
pub struct Variables {
    notifications: bool,
    history_id: Option<String>,
    account: Option<String>,
    tarball: Tarball,
}

/// What to do with the variable that holds `gog`'s configuration.
pub enum Tarball {
    /// Set it to this base64 of a tar.gz.
    Set(SecretString),
    /// Remove it: no account is connected.
    Remove,
    /// Keep it: this platform cannot decrypt the credentials.
    Keep,
}

impl Variables {
    /// Derives the variables from a record.
    #[must_use]
    pub fn of(record: &UserRecord, tarball: Tarball) -> Self {
        let google = record.google.as_ref();
        let email = google.and_then(|google| google.email.as_ref());
        Self {
            notifications: record.notifications_enabled,
            history_id: record.last_history_id.map(|id| id.to_string()),
            account: email.map(|email| email.as_str().to_owned()),
            tarball,
        }
    }

    /// The variables of a machine without a user.
    #[must_use]
    pub fn cleared() -> Self {
        Self {
            notifications: false,
            history_id: None,
            account: None,
            tarball: Tarball::Remove,
        }
    }

    /// Removes the account and its credentials from the environment of a machine that fetches them. Returns whether
    /// there were any. A new value of the notifications alone requires no restart.
    pub(crate) fn remove_from(env: &mut Map<String, Value>) -> bool {
        let cleared = Self::cleared();
        let changed = put(env, ACCOUNT, None);
        put(env, HISTORY_ID, None);
        cleared.put_tarball(env, None) || changed
    }

    /// Replaces these variables in a machine's environment. Returns whether the machine has to
    /// restart: a new history id alone does not require it, because it changes with every mail.
    ///
    /// With a key, the credentials are encrypted.
    #[must_use]
    pub fn apply_to(&self, env: &mut Map<String, Value>, key: Option<&EnvKey>) -> bool {
        let notifications = if self.notifications { "true" } else { "false" };
        let mut changed = put(env, NOTIFICATIONS, Some(notifications.to_owned()));
        changed |= put(env, ACCOUNT, self.account.clone());
        changed |= self.put_tarball(env, key);
        put(env, HISTORY_ID, self.history_id.clone());
        changed
    }

    fn put_tarball(&self, env: &mut Map<String, Value>, key: Option<&EnvKey>) -> bool {
        let encrypted = format!("{ENCRYPTED_NAME_PREFIX}{TARBALL}");
        let text = match &self.tarball {
            Tarball::Keep => return false,
            Tarball::Remove => {
                let was_there = put(env, TARBALL, None);
                return put(env, &encrypted, None) || was_there;
            }
            Tarball::Set(text) => text.expose_secret(),
        };
        match key {
            None => {
                let was_encrypted = put(env, &encrypted, None);
                put(env, TARBALL, Some(text.to_owned())) || was_encrypted
            }
            Some(key) => {
                let was_plain = put(env, TARBALL, None);
                let has = env.get(&encrypted).and_then(Value::as_str);
                let is_equal =
                    has.is_some_and(|has| key.decrypt(has).as_deref() == Some(text.as_bytes()));
                // Each encryption differs, so an equal value is kept.
                if !is_equal {
                    env.insert(encrypted, key.encrypt(text).into());
                }
                was_plain || !is_equal
            }
        }
    }
}

/// Whether a machine with this environment fetches its configuration from a platform.
pub(crate) fn is_fetching(env: &Map<String, Value>) -> bool {
    let url = env.get(PLATFORM_URL).and_then(Value::as_str);
    url.is_some_and(|url| !url.is_empty())
}

/// Sets a variable, or removes it, and returns whether that changed anything.
fn put(env: &mut Map<String, Value>, name: &str, value: Option<String>) -> bool {
    let value = value.map(Value::from);
    if env.get(name) == value.as_ref() {
        return false;
    }
    match value {
        Some(value) => env.insert(name.to_owned(), value),
        None => env.remove(name),
    };
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn variables(tarball: Tarball) -> Variables {
        Variables {
            notifications: true,
            history_id: Some("18446744073709551615".to_owned()),
            account: Some("ann@example.com".to_owned()),
            tarball,
        }
    }

    fn env(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_machine_gets_the_variables_of_the_protocol_and_keeps_its_own() {
        let mut machine = env(json!({ "MINE": "1", "GMAIL_NOTIFICATIONS_ENABLED": "false" }));
        let set = variables(Tarball::Set("dGFy".into()));
        assert!(set.apply_to(&mut machine, None));
        let expected = json!({
            "MINE": "1",
            "GMAIL_NOTIFICATIONS_ENABLED": "true",
            "KILOCLAW_GMAIL_LAST_HISTORY_ID": "18446744073709551615",
            "KILOCLAW_GOOGLE_ACCOUNT_EMAIL": "ann@example.com",
            "KILOCLAW_GOG_CONFIG_TARBALL": "dGFy",
        });
        assert_eq!(machine, env(expected));
        assert!(!set.apply_to(&mut machine, None), "no change");

        let cleared = Variables::cleared();
        assert!(cleared.apply_to(&mut machine, None));
        let expected = json!({ "MINE": "1", "GMAIL_NOTIFICATIONS_ENABLED": "false" });
        assert_eq!(machine, env(expected));
    }

    #[test]
    fn a_history_id_alone_restarts_no_machine() {
        let mut machine = Map::new();
        let _ = variables(Tarball::Keep).apply_to(&mut machine, None);
        let later = Variables {
            history_id: None,
            ..variables(Tarball::Keep)
        };
        assert!(!later.apply_to(&mut machine, None));
        assert!(!machine.contains_key(HISTORY_ID));
    }

    #[test]
    fn a_machine_that_fetches_its_configuration_loses_what_its_environment_has_of_it() {
        let mut machine = Map::new();
        let _ = variables(Tarball::Set("dGFy".into())).apply_to(&mut machine, None);
        assert!(!is_fetching(&machine));
        machine.insert(PLATFORM_URL.to_owned(), "https://bell.example.com".into());
        assert!(is_fetching(&machine));
        assert!(Variables::remove_from(&mut machine));
        assert!(!Variables::remove_from(&mut machine));
        let expected = json!({
            "GMAIL_NOTIFICATIONS_ENABLED": "true",
            "POSTBELL_CONTROLLER__PLATFORM_URL": "https://bell.example.com",
        });
        assert_eq!(machine, env(expected));
    }

    #[test]
    fn with_a_key_the_credentials_are_encrypted_once() {
        let key = EnvKey::from_base64(&"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".into());
        let key = key.unwrap();
        let mut machine = env(json!({ "KILOCLAW_GOG_CONFIG_TARBALL": "dGFy" }));
        let set = variables(Tarball::Set("dGFy".into()));
        assert!(set.apply_to(&mut machine, Some(&key)), "it was plain");
        assert!(!machine.contains_key(TARBALL));
        let sealed = machine["KILOCLAW_ENC_KILOCLAW_GOG_CONFIG_TARBALL"].clone();
        assert_eq!(
            key.decrypt(sealed.as_str().unwrap()).as_deref(),
            Some("dGFy".as_bytes())
        );

        assert!(!set.apply_to(&mut machine, Some(&key)));
        assert_eq!(machine["KILOCLAW_ENC_KILOCLAW_GOG_CONFIG_TARBALL"], sealed);
        assert!(variables(Tarball::Remove).apply_to(&mut machine, Some(&key)));
        assert!(!machine.contains_key("KILOCLAW_ENC_KILOCLAW_GOG_CONFIG_TARBALL"));
    }
}
