//! What the watcher is to run with.

use std::slice::{self, Iter};

use postbell_core::{BoxError, EmailAddress};
use postbell_protocol::api::{MachineAccount, MachineConfig};
use postbell_protocol::gateway_token::GatewayToken;
use postbell_protocol::watched_accounts::WatchedAccount;

use crate::installation::Committed;
use crate::settings::{GmailSettings, is_account, is_same_mailbox};

/// The name of the first account.
pub(crate) const FIRST: &str = "1";

/// What the watcher is to run with.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct MailSettings {
    /// The first account, if it is connected.
    pub(crate) first: Option<AccountSettings>,
    /// The further accounts of the user.
    pub(crate) further: Vec<AccountSettings>,
    /// Whether these are all. If not, what there is of others on disk stays.
    pub(crate) has_all: bool,
    /// Further arguments of the watcher, if it is Postbell's.
    pub(crate) watcher_arguments: Vec<String>,
}

/// A connected account.
#[derive(Clone, PartialEq)]
pub(crate) struct AccountSettings {
    /// Its name in the metrics, which no change of another account changes.
    pub(crate) name: String,
    pub(crate) gmail: GmailSettings,
    /// Whether its owner wants notifications.
    pub(crate) is_on: bool,
}

impl MailSettings {
    /// The settings that a platform gives.
    ///
    /// # Errors
    ///
    /// An address is none, or two are of the same mailbox.
    pub(crate) fn new(
        config: &MachineConfig,
        watcher_arguments: Vec<String>,
        token: &GatewayToken,
    ) -> Result<Self, BoxError> {
        let account = |name, account: &MachineAccount, is_on| AccountSettings {
            name,
            gmail: GmailSettings {
                account: account.email.clone(),
                tarball: account.gog_config_tarball.clone(),
                last_history_id: Ok(account.last_history_id),
            },
            is_on,
        };
        let first = config.account.as_ref();
        let first =
            first.map(|first| account(FIRST.to_owned(), first, config.gmail_notifications_enabled));
        let further = config.further_accounts.iter().flatten();
        let further = further.map(|it| {
            let name = token.mailbox_name(&it.account.email);
            account(name, &it.account, it.gmail_notifications_enabled)
        });
        let settings = Self {
            first,
            further: further.collect(),
            has_all: config.further_accounts.is_some(),
            watcher_arguments,
        };
        let mut known: Vec<EmailAddress> = Vec::new();
        for account in settings.accounts() {
            let address = &account.gmail.account;
            if !is_account(address) {
                return Err("its account has no address".into());
            }
            if known.iter().any(|known| known.is_same_mailbox(address)) {
                return Err("it has an account twice".into());
            }
            known.extend(address.parse().ok());
        }
        Ok(settings)
    }

    fn accounts(&self) -> impl Iterator<Item = &AccountSettings> {
        self.first.iter().chain(&self.further)
    }

    /// The accounts that are to be watched.
    pub(crate) fn watched(&self) -> impl Iterator<Item = &AccountSettings> {
        self.accounts().filter(|account| account.is_on)
    }

    /// Whether the watcher does the same with both.
    pub(crate) fn is_same_watch(&self, other: &Self) -> bool {
        self.watched().eq(other.watched()) && self.watcher_arguments == other.watcher_arguments
    }

    /// Whether an account is to be watched.
    pub(crate) fn is_watching(&self) -> bool {
        self.watched().next().is_some()
    }

    /// The first account's credentials.
    pub(crate) fn gmail(&self) -> Option<&GmailSettings> {
        self.first.as_ref().map(|first| &first.gmail)
    }

    /// The same settings, but the former credentials of the accounts with these addresses, because the present ones could not
    /// be installed. An account that has none in its place is left out.
    pub(crate) fn without(&self, failed: &[String], former: Option<&Self>) -> Self {
        let possible = |account: &AccountSettings, mut former: Iter<'_, AccountSettings>| {
            if !failed.contains(&account.gmail.account) {
                return Some(account.clone());
            }
            let known = former
                .find(|known| is_same_mailbox(&known.gmail.account, &account.gmail.account))?;
            Some(AccountSettings {
                name: account.name.clone(),
                is_on: account.is_on,
                ..known.clone()
            })
        };
        let former_first = former.and_then(|former| former.first.as_ref());
        let former_first = former_first.map_or(&[][..], slice::from_ref);
        let former_further = former.map_or(&[][..], |former| &former.further);
        let first = self.first.as_ref();
        let further = self.further.iter();
        Self {
            first: first.and_then(|first| possible(first, former_first.iter())),
            further: further
                .filter_map(|account| possible(account, former_further.iter()))
                .collect(),
            has_all: self.has_all,
            watcher_arguments: self.watcher_arguments.clone(),
        }
    }

    /// What these settings have become. Folders that could not be removed are those of accounts that are not known, so they are
    /// removed by the next attempt.
    pub(crate) fn reached(&self, committed: &Committed, former: Option<&Self>) -> Self {
        let mut reached = self.without(&committed.failed, former);
        reached.has_all &= committed.has_removed;
        reached
    }

    /// The accounts that are to be watched and that `reached` does not watch.
    pub(crate) fn missing_in<'a>(
        &'a self,
        reached: Option<&'a Self>,
    ) -> impl Iterator<Item = &'a AccountSettings> {
        self.watched().filter(move |wanted| {
            let watched = reached.into_iter().flat_map(Self::watched);
            let mut addresses = watched.map(|account| &account.gmail.account);
            !addresses.any(|address| is_same_mailbox(address, &wanted.gmail.account))
        })
    }

    /// The watched accounts as the watcher gets them, those with these addresses as paused.
    pub(crate) fn for_watcher(&self, paused: &[String]) -> Vec<WatchedAccount> {
        let watched = self.watched();
        let watched = watched.map(|account| {
            let email = account.gmail.account.clone();
            WatchedAccount {
                is_paused: paused.contains(&email),
                email,
                name: account.name.clone(),
            }
        });
        watched.collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn account(email: &str, tarball: &str, is_on: bool) -> Value {
        json!({
            "email": email, "gogConfigTarball": tarball, "gmailNotificationsEnabled": is_on,
        })
    }

    fn token() -> GatewayToken {
        GatewayToken::try_from("of-the-gateway").unwrap()
    }

    fn settings(first: Value, further: &[Value]) -> Result<MailSettings, BoxError> {
        let config = json!({
            "account": first, "gmailNotificationsEnabled": true, "furtherAccounts": further,
        });
        let config = serde_json::from_value(config).unwrap();
        MailSettings::new(&config, Vec::new(), &token())
    }

    fn names(settings: &MailSettings) -> Vec<String> {
        let watched = settings.for_watcher(&["cid@example.com".to_owned()]);
        let text = |it: WatchedAccount| format!("{} {} {}", it.name, it.email, it.is_paused);
        watched.into_iter().map(text).collect()
    }

    #[test]
    fn each_account_that_is_on_is_watched_also_without_the_first_one() {
        let further = [
            account("bob@example.com", "b", false),
            account("cid@example.com", "c", true),
        ];
        let all = settings(account("ann@example.com", "a", true), &further).unwrap();
        let name = token().mailbox_name("cid@example.com");
        let cid = &*format!("{name} cid@example.com true");
        assert_eq!(names(&all), ["1 ann@example.com false", cid]);
        let rest = settings(Value::Null, &further).unwrap();
        assert_eq!(names(&rest), [cid]);
        let without_bob = settings(Value::Null, &further[1..]).unwrap();
        assert_eq!(names(&without_bob), [cid]);
        assert!(rest.is_watching() && rest.gmail().is_none());
        let off = settings(Value::Null, &further[..1]).unwrap();
        assert!(!off.is_watching());
    }

    #[test]
    fn an_account_that_cannot_be_installed_keeps_its_former_settings_and_a_new_one_has_none() {
        let of = |[a, b]: [&str; 2], further: &[Value]| {
            let further = [&[account("bob@example.com", b, true)], further].concat();
            settings(account("ann@example.com", a, true), &further).unwrap()
        };
        let former = of(["a1", "b1"], &[]);
        let wanted = of(["a2", "b2"], &[account("cid@example.com", "c2", true)]);
        let without = |names: &[&str]| {
            let failed = names.iter().map(|name| format!("{name}@example.com"));
            wanted.without(&failed.collect::<Vec<_>>(), Some(&former))
        };
        assert!(without(&["ann", "bob", "cid"]) == former);
        assert!(without(&["cid"]) == of(["a2", "b2"], &[]));
        assert!(without(&[]) == wanted);
        assert!(
            wanted
                .without(&["ann@example.com".to_owned()], None)
                .first
                .is_none()
        );
    }

    #[test]
    fn no_former_settings_watch_what_is_disconnected_or_off() {
        let ann = "ann@example.com";
        let former = settings(account(ann, "a", true), &[]).unwrap();
        let cases = [
            (
                "another account in its place",
                "bob@example.com",
                true,
                None,
            ),
            ("off", ann, false, Some(false)),
            (
                "the same in another spelling",
                "Ann@Example.com",
                true,
                Some(true),
            ),
        ];
        for (case, email, is_on, expected) in cases {
            let mut wanted = settings(account(email, "b", true), &[]).unwrap();
            wanted.first.as_mut().unwrap().is_on = is_on;
            let possible = wanted.without(&[email.to_owned()], Some(&former));
            let first = possible.first.as_ref();
            assert_eq!(first.map(|first| first.is_on), expected, "{case}");
        }
    }

    #[test]
    fn a_configuration_with_a_mailbox_twice_or_without_an_address_is_refused() {
        let ann = account("ann@example.com", "a", true);
        assert!(settings(ann.clone(), &[account("ANN@example.com", "b", true)]).is_err());
        assert!(settings(ann, &[account("--account", "b", true)]).is_err());
    }
}
