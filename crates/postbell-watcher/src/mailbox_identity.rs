//! The mailbox that a watcher reads: the configured address, and the one that Gmail names.

use std::sync::{Arc, OnceLock};

use postbell_core::EmailAddress;
use postbell_google::{Gmail, GmailError};
use tracing::{info, warn};

use crate::error::SyncError;

/// The address of the mailbox, as configured and as Gmail names it. Cheap to clone.
///
/// People configure another spelling (`First.Last@gmail.com`), the older domain (`googlemail.com`), an
/// alias, or the credentials of another mailbox. Gmail's profile says which mailbox it is; its
/// notifications name that address.
#[derive(Clone, Debug)]
pub struct MailboxIdentity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    configured: String,
    /// The mailbox's own address. Empty until Gmail has named it.
    confirmed: OnceLock<String>,
}

/// How the configured address relates to the mailbox of the credentials.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddressMatch {
    /// It is the mailbox's address, up to letter case.
    Same,
    /// It is another spelling or an alias of the mailbox's address.
    Alias,
}

/// The credentials belong to another mailbox than the configured one.
///
/// Its text shows both addresses masked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the credentials belong to {found}, not to {configured}: use the credentials of {configured}, or \
     name the other mailbox with --account"
)]
pub struct WrongAccount {
    configured: String,
    found: String,
}

/// Why the mailbox is not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The credentials belong to another mailbox.
    #[error(transparent)]
    WrongAccount(#[from] WrongAccount),

    /// Gmail did not answer. The mailbox may be the right one.
    #[error(transparent)]
    Gmail(#[from] GmailError),
}

impl MailboxIdentity {
    /// The address is known to be right, for example because a platform has checked it.
    #[must_use]
    pub fn trusted(configured: &str) -> Self {
        Self(Arc::new(Inner {
            configured: configured.to_owned(),
            confirmed: OnceLock::from(configured.to_owned()),
        }))
    }

    /// The address is compared with Gmail's before it is relied upon.
    #[must_use]
    pub fn unconfirmed(configured: &str) -> Self {
        Self(Arc::new(Inner {
            configured: configured.to_owned(),
            confirmed: OnceLock::new(),
        }))
    }

    /// The mailbox's own address if Gmail has named it, else the configured one.
    #[must_use]
    pub fn address(&self) -> &str {
        let confirmed = self.0.confirmed.get();
        confirmed.unwrap_or(&self.0.configured)
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.0.confirmed.get().is_some()
    }

    /// Whether a notification names this mailbox.
    pub(crate) fn is_named(&self, address: &str) -> bool {
        is_same(&self.0.configured, address) || is_same(self.address(), address)
    }

    /// Asks Gmail whose mailbox the credentials open, once.
    ///
    /// # Errors
    ///
    /// [`IdentityError`]; the next call asks again.
    pub async fn confirm(&self, gmail: &Gmail) -> Result<AddressMatch, IdentityError> {
        if self.is_confirmed() {
            return Ok(AddressMatch::Same);
        }
        self.ask(gmail).await
    }

    async fn ask(&self, gmail: &Gmail) -> Result<AddressMatch, IdentityError> {
        let found = gmail.profile().await?.email_address;
        let configured = &self.0.configured;
        let kind = match self.0.confirmed.get() {
            // Its own address is known: another one is of another mailbox, whatever aliases that has.
            Some(confirmed) => compare(confirmed, &found),
            None => match compare(configured, &found) {
                None if is_alias(gmail, configured).await? => Some(AddressMatch::Alias),
                kind => kind,
            },
        };
        let kind = kind.ok_or_else(|| WrongAccount {
            configured: masked(configured),
            found: masked(&found),
        })?;
        let _ = self.0.confirmed.set(found);
        Ok(kind)
    }

    /// Takes the credentials that were stored since Google has refused the present ones, if they open this mailbox.
    async fn take_stored(&self, gmail: &Gmail) -> Result<(), WrongAccount> {
        let Some(stored) = gmail.of_stored().await else {
            return Ok(());
        };
        match self.ask(&stored).await {
            Ok(_) => {
                gmail.tokens().adopt(stored.tokens()).await;
                Ok(())
            }
            Err(IdentityError::WrongAccount(wrong)) => Err(wrong),
            Err(IdentityError::Gmail(error)) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, "Could not try the credentials that are stored now");
                Ok(())
            }
        }
    }

    /// Says that the configured address is not the one that is used. Empty unless it differs.
    #[must_use]
    pub fn notice(&self) -> String {
        let [configured, used] = [self.0.configured.as_str(), self.address()].map(masked);
        if self.0.configured.eq_ignore_ascii_case(self.address()) {
            String::new()
        } else {
            format!(
                "{configured} is another spelling or an alias of {used}, the mailbox's own address, \
                 which is used"
            )
        }
    }

    /// Confirms before a sync. An answer that does not come keeps no mail back: only the credentials of
    /// another mailbox do.
    pub(crate) async fn confirm_before_sync(&self, gmail: &Gmail) -> Result<(), SyncError> {
        self.take_stored(gmail).await?;
        match self.confirm(gmail).await {
            Ok(AddressMatch::Same) => Ok(()),
            Ok(AddressMatch::Alias) => {
                info!("{}", self.notice());
                Ok(())
            }
            Err(IdentityError::WrongAccount(wrong)) => Err(wrong.into()),
            Err(IdentityError::Gmail(error)) => {
                let error = &error as &dyn std::error::Error;
                warn!(
                    error,
                    "Could not compare the configured address with the mailbox's"
                );
                Ok(())
            }
        }
    }
}

/// Compares two addresses without asking Gmail. `None` if they may still be of one mailbox.
fn compare(configured: &str, found: &str) -> Option<AddressMatch> {
    if configured.eq_ignore_ascii_case(found) {
        Some(AddressMatch::Same)
    } else if is_same(configured, found) || is_same(&without_tag(configured), found) {
        Some(AddressMatch::Alias)
    } else {
        None
    }
}

fn is_same(one: &str, other: &str) -> bool {
    let one = one.parse::<EmailAddress>();
    one.is_ok_and(|one| one.is_same_mailbox(other))
}

/// Removes what follows a `+`: such mail comes to the same mailbox
/// (<https://support.google.com/mail/answer/22370>).
fn without_tag(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => {
            let (name, _) = local.split_once('+').unwrap_or((local, ""));
            format!("{name}@{domain}")
        }
        None => address.to_owned(),
    }
}

/// Whether the mailbox's settings name the address as an alias. A grant that does not cover the settings
/// cannot show it.
async fn is_alias(gmail: &Gmail, address: &str) -> Result<bool, GmailError> {
    match gmail.aliases().await {
        Ok(aliases) => Ok(aliases.iter().any(|alias| is_same(address, alias))),
        Err(GmailError::Refused { .. } | GmailError::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

fn masked(address: &str) -> String {
    match address.parse::<EmailAddress>() {
        Ok(address) => address.masked().to_string(),
        Err(_) => "an address that is not valid".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_spelling_and_a_tag_are_the_same_mailbox() {
        for (configured, found, expected) in [
            (
                "ann@example.com",
                "Ann@Example.com",
                Some(AddressMatch::Same),
            ),
            (
                "First.Last@gmail.com",
                "firstlast@gmail.com",
                Some(AddressMatch::Alias),
            ),
            (
                "ann@googlemail.com",
                "ann@gmail.com",
                Some(AddressMatch::Alias),
            ),
            (
                "a.nn+bot@gmail.com",
                "ann@gmail.com",
                Some(AddressMatch::Alias),
            ),
            (
                "ann+bot@example.com",
                "ann@example.com",
                Some(AddressMatch::Alias),
            ),
            ("ann.b@example.com", "annb@example.com", None),
            ("ann@example.com", "bob@example.com", None),
            ("not an address", "bob@example.com", None),
        ] {
            assert_eq!(compare(configured, found), expected, "{configured}");
        }
    }

    #[test]
    fn an_address_is_never_shown_whole() {
        let wrong = WrongAccount {
            configured: masked("ann@example.com"),
            found: masked("bob@example.org"),
        };
        let text = wrong.to_string();
        assert!(text.contains("b…@example.org") && text.contains("a…@example.com"));
        assert!(!text.contains("ann@") && !text.contains("bob@"), "{text}");
    }

    #[test]
    fn a_notification_may_name_either_address() {
        let identity = MailboxIdentity::unconfirmed("alias@example.com");
        assert!(identity.is_named("Alias@example.com"));
        assert!(!identity.is_named("ann@example.com"));
        identity.0.confirmed.set("ann@example.com".into()).unwrap();
        assert!(identity.is_named("ann@example.com"));
        assert!(identity.is_named("alias@example.com"));
        assert!(!identity.is_named("bob@example.com"));
    }
}
