//! What opens a user's Google account.

use super::{T0, add, add_connected, connection, user};
use postbell_core::{StoredCredentials, Users};

async fn stored(instances: &dyn Users, name: &str) -> Option<String> {
    let credentials = instances.credentials(&user(name)).await.unwrap();
    credentials.map(|credentials| credentials.expose().to_owned())
}

/// To the byte, and each user's own.
pub async fn credentials_are_read_back_unchanged(instances: &dyn Users) {
    let mut ann = add(instances, "ann").await;
    add_connected(instances, "bob", "bob@example.com", 0).await;
    assert_eq!(stored(instances, "ann").await, None);
    ann.connect(connection("ann@example.com", T0));
    for text in ["{\"a\": \"ü\"}\n", &"x".repeat(100_000)] {
        let credentials = StoredCredentials::from(text.to_owned());
        ann = instances
            .replace(&ann, Some(&credentials), T0)
            .await
            .unwrap();
        assert_eq!(stored(instances, "ann").await.as_deref(), Some(text));
    }
    let bobs = stored(instances, "bob").await;
    assert_eq!(bobs.as_deref(), Some("credentials of bob"));
    assert_eq!(stored(instances, "cid").await, None);
}

/// A toggle knows nothing of credentials.
pub async fn a_write_without_credentials_keeps_those_that_are_stored(instances: &dyn Users) {
    let mut record = add_connected(instances, "ann", "ann@example.com", 0).await;
    record.notifications_enabled = false;
    instances.replace(&record, None, T0).await.unwrap();
    let kept = stored(instances, "ann").await;
    assert_eq!(kept.as_deref(), Some("credentials of ann"));
}

/// Whoever disconnects wants them gone, not hidden.
pub async fn credentials_are_gone_with_the_connection(instances: &dyn Users) {
    let mut record = add_connected(instances, "ann", "ann@example.com", 0).await;
    record.disconnect();
    let mut record = instances.replace(&record, None, T0).await.unwrap();
    assert_eq!(stored(instances, "ann").await, None);
    record.connect(connection("ann@example.com", T0));
    instances.replace(&record, None, T0).await.unwrap();
    assert_eq!(
        stored(instances, "ann").await,
        None,
        "they do not come back"
    );
}
