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
            match owner(resource, progress) {
                Some(owner) if mailbox.is_same_mailbox(&owner) => continue,
                Some(_) => kept.of_others.insert(resource.clone()),
                None => kept.shared.insert(resource.clone()),
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

/// The mailbox for which a resource was created; `None` if others may use it, too.
fn owner(resource: &Resource, progress: &Progress) -> Option<String> {
    match resource {
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
            let of_user = || user_subscription_owner(name, progress);
            puller
                .or_else(|| owner_by_id(name, progress))
                .or_else(of_user)
        }
        Resource::Connection {
            platform,
            user,
            mailbox: None,
        } => match &progress.destination {
            Some(SavedDestination::Platform {
                platform: saved,
                user: saved_user,
                is_further: false,
                ..
            }) if saved == platform && saved_user == user => progress.mailbox.clone(),
            _ => None,
        },
        other => mailbox_of(other),
    }
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

/// The subscription of a platform's user is that of the account that was connected last.
fn user_subscription_owner(name: &str, progress: &Progress) -> Option<String> {
    let Some(SavedDestination::Platform {
        user,
        is_further: false,
        ..
    }) = &progress.destination
    else {
        return None;
    };
    let id = default_user_subscription(&user.parse().ok()?);
    (name.rsplit('/').next() == Some(&id))
        .then(|| progress.mailbox.clone())
        .flatten()
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
                mailbox: None,
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

    #[test]
    fn the_only_mailbox_keeps_nothing() {
        let mut progress = progress();
        let all: Vec<_> = progress.ledger.iter().cloned().collect();
        for resource in all {
            if owner(&resource, &progress).is_some_and(|owner| owner != "ann@example.com") {
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
