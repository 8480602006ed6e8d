//! The promises of [`PendingRevocations`].

use std::time::Duration;

use postbell_core::{PendingRevocation, PendingRevocations, RevocationId, Timestamp};
use secrecy::ExposeSecret;

/// Expands to one test for each promise, so that a failure names the promise and the backend.
///
/// Takes an expression for a box or an `Arc` of empty [`PendingRevocations`] and a value that must live as long.
#[macro_export]
macro_rules! revocations_conformance {
    (@each $open:expr; $($promise:ident)+) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let (revocations, _kept_alive) = $open;
                $crate::conformance::revocations::$promise(&*revocations).await;
            }
        )+
    };
    ($open:expr) => {
        $crate::revocations_conformance! { @each $open;
            a_permission_is_claimed_when_it_is_due_and_again_later
            those_that_are_due_longest_are_claimed_first
            a_permission_is_listed_once_since_it_was_added_first
            a_removed_permission_is_gone
        }
    };
}

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

fn permission(number: u8, added_at: Timestamp) -> PendingRevocation {
    PendingRevocation {
        id: RevocationId([number; 32]),
        secret: format!("secret {number}").into(),
        added_at,
    }
}

async fn add(
    revocations: &dyn PendingRevocations,
    permission: &PendingRevocation,
    due_at: Timestamp,
) {
    let added = revocations.add_revocation(permission, due_at).await;
    added.unwrap();
}

async fn claim(
    revocations: &dyn PendingRevocations,
    now: Timestamp,
    limit: usize,
) -> Vec<(u8, String, Timestamp)> {
    let claimed = revocations.claim_revocations(now, now + HOUR, limit).await;
    let claimed = claimed.unwrap().into_iter();
    let mut claimed: Vec<_> = claimed
        .map(|it| {
            (
                it.id.0[0],
                it.secret.expose_secret().to_owned(),
                it.added_at,
            )
        })
        .collect();
    claimed.sort();
    claimed
}

/// Without the claim's time, two processes would ask Google at once.
pub async fn a_permission_is_claimed_when_it_is_due_and_again_later(
    revocations: &dyn PendingRevocations,
) {
    add(revocations, &permission(1, T0), T0 + MINUTE).await;
    assert_eq!(claim(revocations, T0, 9).await, []);
    let expected = [(1, "secret 1".to_owned(), T0)];
    assert_eq!(claim(revocations, T0 + MINUTE, 9).await, expected);
    assert_eq!(claim(revocations, T0 + HOUR, 9).await, []);
    assert_eq!(claim(revocations, T0 + MINUTE + HOUR, 9).await, expected);
}

/// One that Google always refuses keeps no other from it.
pub async fn those_that_are_due_longest_are_claimed_first(revocations: &dyn PendingRevocations) {
    for (number, minutes) in [(1, 3), (2, 1), (3, 2)] {
        let due_at = T0 + MINUTE * minutes;
        add(revocations, &permission(number, T0), due_at).await;
    }
    let numbers = async |now, limit| {
        let claimed = claim(revocations, now, limit).await.into_iter();
        claimed.map(|(number, ..)| number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(T0 + MINUTE * 3, 2).await, [2, 3]);
    assert_eq!(numbers(T0 + MINUTE * 3, 2).await, [1]);
}

/// A relapse of one permission is one entry.
pub async fn a_permission_is_listed_once_since_it_was_added_first(
    revocations: &dyn PendingRevocations,
) {
    for minutes in [0, 5] {
        let at = T0 + MINUTE * minutes;
        add(revocations, &permission(1, at), at).await;
    }
    assert_eq!(revocations.count_revocations().await.unwrap(), 1);
    assert_eq!(claim(revocations, T0, 9).await, []);
    let expected = [(1, "secret 1".to_owned(), T0)];
    assert_eq!(claim(revocations, T0 + MINUTE * 5, 9).await, expected);
}

/// Google has revoked it, or a user has connected the account again.
pub async fn a_removed_permission_is_gone(revocations: &dyn PendingRevocations) {
    let permission = permission(1, T0);
    add(revocations, &permission, T0).await;
    for existed in [true, false] {
        let removed = revocations.remove_revocation(permission.id).await;
        assert_eq!(removed.unwrap(), existed);
    }
    assert_eq!(claim(revocations, T0 + HOUR, 9).await, []);
    assert_eq!(revocations.count_revocations().await.unwrap(), 0);
}
