//! Whose an address or a machine is.

use super::{SECOND, T0, add, add_connected, connection, user};
use postbell_core::{EmailAddress, StoredCredentials, UserId, Users, UsersError};

async fn whose(instances: &dyn Users, email: &str) -> Option<UserId> {
    let email: EmailAddress = email.parse().unwrap();
    instances.user_by_email(&email).await.unwrap()
}

/// In any case; whoever has it keeps it, and gets it again, until they let go of it.
pub async fn an_address_is_one_users_alone(instances: &dyn Users) {
    let bob = add_connected(instances, "bob", "Shared@Example.com", 1).await;
    let mut ann = add_connected(instances, "ann", "ann@example.com", 0).await;
    ann.connect(connection("shared@example.com", T0));
    let credentials = StoredCredentials::from("of another account".to_owned());
    let refused = instances.replace(&ann, Some(&credentials), T0).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, UsersError::AddressTaken), "{error:?}");
    let kept = instances.credentials(&user("ann")).await.unwrap().unwrap();
    assert_eq!(kept.expose(), "credentials of ann");
    let found = whose(instances, "SHARED@example.com").await;
    assert_eq!(found, Some(user("bob")));
    assert_eq!(whose(instances, "hared@example.com").await, None);

    let mut again = bob;
    again.connect(connection("shared@example.com", T0 + SECOND));
    instances.replace(&again, None, T0).await.unwrap();
    instances.remove(&user("bob")).await.unwrap();
    assert_eq!(whose(instances, "shared@example.com").await, None);
    instances.replace(&ann, None, T0).await.unwrap();
    let found = whose(instances, "shared@example.com").await;
    assert_eq!(found, Some(user("ann")));
}

/// Nor found by it.
pub async fn an_address_that_is_not_connected_any_more_is_nobodys(instances: &dyn Users) {
    let mut record = add_connected(instances, "ann", "ann@example.com", 0).await;
    record.disconnect();
    instances.replace(&record, None, T0).await.unwrap();
    assert_eq!(whose(instances, "ann@example.com").await, None);
}

/// As it is written, in that case alone.
pub async fn a_machine_is_found_by_its_sandbox_id(instances: &dyn Users) {
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
