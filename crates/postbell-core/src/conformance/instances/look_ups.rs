//! Whose an address or a machine is.

use super::{T0, add, add_connected, user};
use crate::{EmailAddress, Instances, UserId};

async fn whose(instances: &dyn Instances, email: &str) -> Option<UserId> {
    let email: EmailAddress = email.parse().unwrap();
    instances.user_by_email(&email).await.unwrap()
}

/// In any case; and nobody gets another's mail by naming their address later.
pub async fn an_address_is_the_first_ones_who_connected_it(instances: &dyn Instances) {
    add_connected(instances, "bob", "Shared@Example.com", 1).await;
    add_connected(instances, "ann", "shared@example.com", 2).await;
    add_connected(instances, "cid", "cid@example.com", 0).await;
    let found = whose(instances, "SHARED@example.com").await;
    assert_eq!(found, Some(user("bob")));
    assert_eq!(whose(instances, "hared@example.com").await, None);

    instances.remove(&user("bob")).await.unwrap();
    let found = whose(instances, "shared@example.com").await;
    assert_eq!(found, Some(user("ann")));
}

/// Nor found by it.
pub async fn an_address_that_is_not_connected_any_more_is_nobodys(instances: &dyn Instances) {
    let mut record = add_connected(instances, "ann", "ann@example.com", 0).await;
    record.disconnect();
    instances.replace(&record, None, T0).await.unwrap();
    assert_eq!(whose(instances, "ann@example.com").await, None);
}

/// As it is written, in that case alone.
pub async fn a_machine_is_found_by_its_sandbox_id(instances: &dyn Instances) {
    add(instances, "ann").await;
    for (sandbox_id, found) in [
        ("sandbox-of-ann", Some(user("ann"))),
        ("Sandbox-of-ann", None),
        ("sandbox-of-bob", None),
    ] {
        let sandbox_id = sandbox_id.parse().unwrap();
        let whose = instances.user_by_sandbox(&sandbox_id).await.unwrap();
        assert_eq!(whose, found, "{sandbox_id}");
    }
}
