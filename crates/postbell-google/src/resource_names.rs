//! Default names of the Google Cloud resources that `postbell setup` creates and `postbell doctor` checks.

use aws_lc_rs::digest::{SHA256, digest};
use postbell_core::{EmailAddress, UserId};

/// Id of the topic that Gmail publishes to, without the part for the mailbox. Earlier versions made one
/// topic of this name for all mailboxes of a project.
pub const DEFAULT_TOPIC: &str = "postbell-gmail";

/// Id of the service account that Pub/Sub signs pushes as.
pub const DEFAULT_PUSH_ACCOUNT: &str = "postbell-push";

/// Id of the topic, of the subscription and of the service account with which an operator serves all users who connect in the
/// browser. They differ from those of mailboxes and users, which may be in the same project.
pub const DEFAULT_OPERATOR_NAME: &str = "postbell-operator";

/// Id of the subscription that pushes to `postbell watch serve`, without the part for the mailbox.
pub const DEFAULT_PUSH_SUBSCRIPTION: &str = "postbell-push";

/// Id of the subscription that `postbell watch pull` pulls from, without the part for the mailbox.
pub const DEFAULT_PULL_SUBSCRIPTION: &str = "postbell-pull";

/// Returns the default id of a resource for one mailbox: `base` and a hash of the address in it.
///
/// Each mailbox has a topic of its own, because every subscription of a topic gets all its
/// notifications. The hash is the same for each spelling of the address, which it does not reveal: ids
/// are in logs and URLs. The result is a valid id
/// (<https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names>).
#[must_use]
pub fn default_id_of_mailbox(base: &str, mailbox: &EmailAddress) -> String {
    let hash = digest(&SHA256, mailbox.mailbox_key().as_bytes());
    format!("{base}-{}", hex::encode(&hash.as_ref()[..4]))
}

/// Returns the default id of a platform user's subscription.
///
/// Each user has a subscription of their own, because each has another push endpoint.
#[must_use]
pub fn default_user_subscription(user: &UserId) -> String {
    format!("postbell-{}", slug(user))
}

/// Returns the user id as lower-case letters, digits and hyphens. Appends part of a hash if the
/// replacement loses information.
fn slug(user: &UserId) -> String {
    let plain = |character: char| {
        if character.is_ascii_alphanumeric() {
            character.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let slug: String = user.as_str().chars().map(plain).collect();
    if slug == user.as_str() {
        return slug;
    }
    let hash = digest(&SHA256, user.as_str().as_bytes());
    let digits = hex::encode(&hash.as_ref()[..4]);
    format!("{slug}-{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mailbox_has_a_topic_of_its_own_whose_name_does_not_show_the_address() {
        let id = |mailbox: &str| default_id_of_mailbox(DEFAULT_TOPIC, &mailbox.parse().unwrap());
        assert_eq!(id("ann@example.com"), "postbell-gmail-71d4f55f");
        assert_eq!(id("a.nn@gmail.com"), id("Ann@googlemail.com"));
        assert_ne!(id("ann@gmail.com"), id("bob@gmail.com"));
    }

    #[test]
    fn similar_users_get_different_slugs() {
        let slug = |user: &str| slug(&user.parse().unwrap());
        assert_eq!(slug("a-b"), "a-b");
        let all = ["a-b", "a.b", "A.B", "a:b"].map(slug);
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{all:?}");
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            assert!(one.bytes().all(plain), "{one}");
        }
    }
}
