//! What an undo of one mailbox keeps for the others.

use std::collections::BTreeSet;
use std::path::PathBuf;

use postbell_core::EmailAddress;
use postbell_google::{default_id_of_mailbox, default_user_subscription};

use crate::ledger::{Resource, ResourceLedger};
use crate::progress::{Progress, SavedDestination};
use crate::report::StepId;

/// The resources that an undo keeps because other mailboxes need them. Empty if it removes all.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptResources {
    /// Those of other mailboxes.
    of_others: BTreeSet<Resource>,
    /// Those of no mailbox alone, such as APIs.
    shared: BTreeSet<Resource>,
    /// The other mailboxes.
    mailboxes: Vec<String>,
}

impl KeptResources {
    /// The resources of `progress` that mailboxes other than `mailbox` need.
    pub(super) fn for_others_than(mailbox: &EmailAddress, progress: &Progress) -> Self {
        let all = mailboxes(progress).into_iter();
        let others: Vec<_> = all
            .filter(|other| !mailbox.is_same_mailbox(other))
            .collect();
        let mut kept = Self::default();
        if others.is_empty() {
            return kept;
        }
        for resource in progress.ledger.iter() {
            let owners = owners(resource, progress);
            let is_own = owners.iter().any(|owner| mailbox.is_same_mailbox(owner));
            let is_of_others = owners.iter().any(|owner| !mailbox.is_same_mailbox(owner));
            match (is_own, is_of_others) {
                (true, false) => continue,
                // The platform knows whose it is.
                (true, true) if resource.is_first_account() => continue,
                (false, true) => kept.of_others.insert(resource.clone()),
                _ => kept.shared.insert(resource.clone()),
            };
        }
        kept.mailboxes = others;
        kept
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.mailboxes.is_empty()
    }

    /// Whether a mailbox is one of those that keep their resources.
    pub(crate) fn has_mailbox(&self, mailbox: &str) -> bool {
        self.mailboxes.iter().any(|kept| kept == mailbox)
    }

    /// A mailbox that keeps its resources, if there is one.
    pub(super) fn another(&self) -> Option<&String> {
        self.mailboxes.first()
    }

    pub(crate) fn contains(&self, resource: &Resource) -> bool {
        self.of_others.contains(resource) || self.shared.contains(resource)
    }

    /// Why a step keeps resources that it would remove with the last mailbox.
    pub(crate) fn reason(&self, step: StepId) -> Option<String> {
        let mut shared = self.shared.iter();
        shared
            .any(|resource| resource.step() == step)
            .then(|| self.users())
    }

    /// Why something that setup did not create is kept: `None` if no other mailbox uses it.
    pub(crate) fn reason_of_client(&self) -> Option<String> {
        (!self.mailboxes.is_empty()).then(|| self.users())
    }

    fn users(&self) -> String {
        format!("in use for {}", listed(&self.mailboxes))
    }
}

/// The mailboxes of which setup has created anything, or which it was run for last.
pub(super) fn mailboxes(progress: &Progress) -> BTreeSet<String> {
    let named = progress.ledger.iter().filter_map(mailbox_of);
    named.chain(progress.mailbox.clone()).collect()
}

fn mailbox_of(resource: &Resource) -> Option<String> {
    match resource {
        Resource::Fetcher { mailbox, .. }
        | Resource::Connection {
            mailbox: Some(mailbox),
            ..
        } => Some(mailbox.clone()),
        Resource::Grant(key) | Resource::Watch(key) => Some(key.mailbox.clone()),
        _ => None,
    }
}

/// The mailboxes for which a resource may have been created. Empty if others may use it, too.
fn owners(resource: &Resource, progress: &Progress) -> BTreeSet<String> {
    let owner = match resource {
        Resource::Credentials { file } => file_owner(file, &progress.ledger),
        Resource::Topic { name } | Resource::Publisher { topic: name } => {
            owner_by_id(name, progress)
        }
        Resource::Subscription { name } => {
            let puller = progress.ledger.iter().find_map(|resource| match resource {
                Resource::Fetcher {
                    subscription,
                    mailbox,
                } if subscription == name => Some(mailbox.clone()),
                _ => None,
            });
            match puller.or_else(|| owner_by_id(name, progress)) {
                None => return user_subscription_owners(name, progress),
                owner => owner,
            }
        }
        Resource::Connection { mailbox: None, .. } => {
            return possible_first_accounts(resource, &progress.ledger);
        }
        other => mailbox_of(other),
    };
    owner.into_iter().collect()
}

/// The mailboxes that an earlier version may have connected as a user's first account, whose address it did not record:
/// those with a grant that is in no file, and that is not the one of another connection of the user.
fn possible_first_accounts(connection: &Resource, ledger: &ResourceLedger) -> BTreeSet<String> {
    let others = ledger
        .iter()
        .filter(|resource| resource.is_of_same_user(connection));
    let others: BTreeSet<_> = others.filter_map(mailbox_of).collect();
    let grants = ledger.iter().filter_map(|resource| match resource {
        Resource::Grant(key) if key.file.is_none() => Some(key.mailbox.clone()),
        _ => None,
    });
    grants.filter(|mailbox| !others.contains(mailbox)).collect()
}

fn file_owner(file: &PathBuf, ledger: &ResourceLedger) -> Option<String> {
    ledger.iter().find_map(|resource| match resource {
        Resource::Grant(key) if key.file.as_ref() == Some(file) => Some(key.mailbox.clone()),
        _ => None,
    })
}

/// The mailbox whose hash ends the name, as default names do.
fn owner_by_id(name: &str, progress: &Progress) -> Option<String> {
    mailboxes(progress).into_iter().find(|mailbox| {
        let address: Option<EmailAddress> = mailbox.parse().ok();
        address.is_some_and(|address| name.ends_with(&default_id_of_mailbox("", &address)))
    })
}

/// The subscription of a platform's user is that of the user's first account. Before any account is connected, it is that
/// of the mailbox for which setup was run last.
fn user_subscription_owners(name: &str, progress: &Progress) -> BTreeSet<String> {
    let id = name.rsplit('/').next().unwrap_or_default();
    let is_of = |user: &str| {
        let user = user.parse().ok();
        user.is_some_and(|user| default_user_subscription(&user) == id)
    };
    let connections = progress.ledger.iter();
    let mut first = connections
        .filter(|resource| {
            resource.is_first_account()
                && matches!(resource, Resource::Connection { user, .. } if is_of(user))
        })
        .peekable();
    if first.peek().is_some() {
        return first
            .flat_map(|connection| owners(connection, progress))
            .collect();
    }
    match &progress.destination {
        Some(SavedDestination::Platform {
            user,
            is_further: false,
            ..
        }) if is_of(user) => progress.mailbox.iter().cloned().collect(),
        _ => BTreeSet::new(),
    }
}

/// Makes the progress that of another mailbox, once the last one's resources are removed.
pub(super) fn turn_to(other: &str, progress: &mut Progress) {
    let grant = progress.ledger.iter().find_map(|resource| match resource {
        Resource::Grant(key) if key.mailbox == other => key.file.clone(),
        _ => None,
    });
    let mut resources = progress.ledger.iter();
    let is_pulled = resources
        .any(|resource| matches!(resource, Resource::Fetcher { mailbox, .. } if mailbox == other));
    // Where another kind of watcher is reached is not known.
    progress.destination = grant
        .filter(|_| is_pulled)
        .map(|credentials| SavedDestination::Pull { credentials });
    progress.mailbox = Some(other.to_owned());
}

/// `a, b and c`
pub(super) fn listed(mailboxes: &[String]) -> String {
    match mailboxes {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::CredentialKey;

    fn id(base: &str, mailbox: &str) -> String {
        default_id_of_mailbox(base, &mailbox.parse().unwrap())
    }

    fn of_the_platform_and_shared() -> [Resource; 4] {
        [
            Resource::Connection {
                platform: "https://bell.example.com".parse().unwrap(),
                user: "carl".to_owned(),
                mailbox: Some("carl@example.com".to_owned()),
                is_first: true,
            },
            Resource::Subscription {
                name: "projects/p/subscriptions/postbell-carl".to_owned(),
            },
            Resource::Topic {
                name: "projects/p/topics/chosen".to_owned(),
            },
            Resource::Service {
                project: "p".to_owned(),
                number: "1".to_owned(),
                name: "gmail.googleapis.com".to_owned(),
            },
        ]
    }

    /// Two mailboxes on this machine and one on a platform, with one of each kind that they share.
    fn progress() -> Progress {
        let mut progress = Progress {
            mailbox: Some("carl@example.com".to_owned()),
            destination: Some(SavedDestination::Platform {
                platform: "https://bell.example.com".parse().unwrap(),
                relay: "https://push.example.com".parse().unwrap(),
                user: "carl".to_owned(),
                is_further: false,
            }),
            ..Progress::default()
        };
        let resources = ["ann", "bob", "carl"].into_iter().flat_map(|name| {
            let mailbox = format!("{name}@example.com");
            let topic = format!("projects/p/topics/{}", id("postbell-gmail", &mailbox));
            let file = (name != "carl").then(|| PathBuf::from(format!("{name}.json")));
            let key = CredentialKey {
                mailbox,
                client: "client".to_owned(),
                file,
            };
            [
                Resource::Topic {
                    name: topic.clone(),
                },
                Resource::Publisher { topic },
                Resource::Grant(key.clone()),
                Resource::Watch(key),
            ]
        });
        let pulled = ["ann", "bob"].into_iter().flat_map(|name| {
            let subscription = format!("projects/p/subscriptions/of-{name}");
            [
                Resource::Credentials {
                    file: format!("{name}.json").into(),
                },
                Resource::Subscription {
                    name: subscription.clone(),
                },
                Resource::Fetcher {
                    subscription,
                    mailbox: format!("{name}@example.com"),
                },
            ]
        });
        for resource in resources.chain(pulled).chain(of_the_platform_and_shared()) {
            progress.ledger.record(resource);
        }
        progress
    }

    #[test]
    fn each_mailbox_has_its_own_resources_and_the_rest_is_kept_for_the_others() {
        let progress = progress();
        for (mailbox, own) in [
            ("ann@example.com", 7),
            ("bob@example.com", 7),
            ("carl@example.com", 6),
        ] {
            let kept = KeptResources::for_others_than(&mailbox.parse().unwrap(), &progress);
            let mut all = progress.ledger.iter();
            let removed = all.by_ref().filter(|resource| !kept.contains(resource));
            assert_eq!(removed.count(), own, "{mailbox}");
            assert_eq!(kept.shared.len(), 2, "{mailbox}: {kept:?}");
            assert!(kept.reason(StepId::Apis).is_some() && kept.reason(StepId::Fetcher).is_none());
        }
    }

    /// A user's connection and subscription, and the grants of these mailboxes, which are in no file.
    fn at_the_platform(first: Option<&str>, granted: &[&str]) -> (Progress, [Resource; 2]) {
        let mut progress = Progress::default();
        let of_user = [
            Resource::Connection {
                platform: "https://bell.example.com".parse().unwrap(),
                user: "ada".to_owned(),
                mailbox: first.map(str::to_owned),
                is_first: first.is_some(),
            },
            Resource::Subscription {
                name: "projects/p/subscriptions/postbell-ada".to_owned(),
            },
        ];
        let grants = granted.iter().map(|mailbox| {
            Resource::Grant(CredentialKey {
                mailbox: (*mailbox).to_owned(),
                client: "client".to_owned(),
                file: None,
            })
        });
        for resource in grants.chain(of_user.clone()) {
            progress.ledger.record(resource);
        }
        (progress, of_user)
    }

    #[test]
    fn the_first_account_is_not_that_of_the_last_run() {
        let (ann, bob) = ("ann@example.com", "bob@example.com");
        let kept = |mailbox: &str, progress: &Progress, resources: &[Resource; 2]| {
            let kept = KeptResources::for_others_than(&mailbox.parse().unwrap(), progress);
            resources.each_ref().map(|resource| kept.contains(resource))
        };
        let destinations = [false, true].map(|is_further| SavedDestination::Platform {
            platform: "https://bell.example.com".parse().unwrap(),
            relay: "https://push.example.com".parse().unwrap(),
            user: "ada".to_owned(),
            is_further,
        });
        let pull = SavedDestination::Pull {
            credentials: "bob.json".into(),
        };
        for destination in destinations.into_iter().chain([pull]) {
            // Also of an earlier version, with one mailbox that can be the account's.
            for first in [Some(ann), None] {
                let (mut progress, of_ada) = at_the_platform(first, &[ann]);
                progress.mailbox = Some(bob.to_owned());
                progress.destination = Some(destination.clone());
                assert_eq!(kept(bob, &progress, &of_ada), [true, true], "{progress:?}");
                assert_eq!(kept(ann, &progress, &of_ada), [false, false]);
            }
            // With several, the platform knows whose it is, and the subscription stays.
            let (mut progress, of_ada) = at_the_platform(None, &[ann, bob]);
            progress.mailbox = Some(bob.to_owned());
            progress.destination = Some(destination);
            for mailbox in [ann, bob] {
                assert_eq!(kept(mailbox, &progress, &of_ada), [false, true]);
            }
        }
    }

    #[test]
    fn the_only_mailbox_keeps_nothing() {
        let mut progress = progress();
        let all: Vec<_> = progress.ledger.iter().cloned().collect();
        for resource in all {
            let owners = owners(&resource, &progress);
            if !owners.is_empty() && !owners.contains("ann@example.com") {
                progress.ledger.disown(&resource);
            }
        }
        turn_to("ann@example.com", &mut progress);
        let file = PathBuf::from("ann.json");
        assert_eq!(
            progress.destination,
            Some(SavedDestination::Pull { credentials: file })
        );
        let kept = KeptResources::for_others_than(&"ann@example.com".parse().unwrap(), &progress);
        assert!(
            progress
                .ledger
                .iter()
                .all(|resource| !kept.contains(resource))
        );
    }
}
