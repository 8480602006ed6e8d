//! The promises of [`Sessions`].

use std::time::Duration;

use postbell_core::{LinkDigest, Principal, Sessions, Timestamp};

/// Expands to one test for each promise, so that a failure names the promise and the backend.
///
/// Takes an expression for a box or an `Arc` of empty [`Sessions`] and a value that must live as
/// long.
#[macro_export]
macro_rules! sessions_conformance {
    (@each $open:expr; $($promise:ident)+) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let (sessions, _kept_alive) = $open;
                $crate::conformance::sessions::$promise(&*sessions).await;
            }
        )+
    };
    ($open:expr) => {
        $crate::sessions_conformance! { @each $open;
            a_link_signs_in_once
            an_expired_link_does_not_sign_in
            expired_links_are_deleted_when_one_is_added
            an_epoch_begins_at_0_and_grows
            revoking_a_user_deletes_links_and_ends_sessions
            revoking_operators_deletes_all_their_links
            links_are_listed_and_revoked
            a_link_keeps_its_principal
        }
    };
}

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);

fn link(number: u8) -> LinkDigest {
    LinkDigest([number; 32])
}

fn principals() -> [Principal; 3] {
    [
        (Some("ann"), None),
        (None, Some("op")),
        (Some("bob"), Some("op")),
    ]
    .map(|(user, operator)| Principal {
        user: user.map(|user| user.parse().unwrap()),
        operator: operator.map(str::to_owned),
        is_viewer: false,
    })
}

/// A link from a log or a browser history is useless.
pub async fn a_link_signs_in_once(sessions: &dyn Sessions) {
    let end = T0 + MINUTE;
    for (number, principal) in (1..).zip(principals()) {
        let added = sessions.add_link(link(number), &principal, end, T0);
        added.await.unwrap();
    }
    for (number, principal) in (1..).zip(principals()) {
        let redeemed = sessions.redeem_link(link(number), T0).await.unwrap();
        assert_eq!(redeemed, Some(principal));
        assert_eq!(sessions.redeem_link(link(number), T0).await.unwrap(), None);
    }
    assert_eq!(sessions.redeem_link(link(9), T0).await.unwrap(), None);
}

/// Not even at the very moment.
pub async fn an_expired_link_does_not_sign_in(sessions: &dyn Sessions) {
    let [ann, ..] = principals();
    for number in [1, 2] {
        let added = sessions.add_link(link(number), &ann, T0 + MINUTE, T0);
        added.await.unwrap();
    }
    let almost = T0 + (MINUTE - Duration::from_millis(1));
    assert!(
        sessions
            .redeem_link(link(1), almost)
            .await
            .unwrap()
            .is_some()
    );
    let late = sessions.redeem_link(link(2), T0 + MINUTE).await.unwrap();
    assert_eq!(late, None);
}

/// The number of stored links is bounded by those that are valid.
pub async fn expired_links_are_deleted_when_one_is_added(sessions: &dyn Sessions) {
    let [ann, ..] = principals();
    for (number, end) in [(1, T0 + MINUTE), (2, T0 + 3 * MINUTE)] {
        sessions
            .add_link(link(number), &ann, end, T0)
            .await
            .unwrap();
    }
    let now = T0 + 2 * MINUTE;
    let added = sessions.add_link(link(3), &ann, now + MINUTE, now);
    added.await.unwrap();
    for (number, is_there) in [(1, false), (2, true), (3, true)] {
        let redeemed = sessions.redeem_link(link(number), now).await.unwrap();
        assert_eq!(redeemed.is_some(), is_there, "{number}");
    }
}

/// Each subject has its own.
pub async fn an_epoch_begins_at_0_and_grows(sessions: &dyn Sessions) {
    assert_eq!(sessions.epoch("ann").await.unwrap(), 0);
    sessions.end_sessions("ann").await.unwrap();
    sessions.end_sessions("ann").await.unwrap();
    assert_eq!(sessions.epoch("ann").await.unwrap(), 2);
    assert_eq!(sessions.epoch("bob").await.unwrap(), 0);
}

/// Other users keep theirs.
pub async fn revoking_a_user_deletes_links_and_ends_sessions(sessions: &dyn Sessions) {
    for (number, principal) in (1..).zip(principals()) {
        let added = sessions.add_link(link(number), &principal, T0 + MINUTE, T0);
        added.await.unwrap();
    }
    let bob = "bob".parse().unwrap();
    sessions.revoke_user(&bob).await.unwrap();
    for (number, is_left) in [(1, true), (2, true), (3, false)] {
        let redeemed = sessions.redeem_link(link(number), T0).await.unwrap();
        assert_eq!(redeemed.is_some(), is_left, "{number}");
    }
    for (subject, epoch) in [("ann", 0), ("bob", 1)] {
        assert_eq!(sessions.epoch(subject).await.unwrap(), epoch, "{subject}");
    }
}

/// Also those of operators who are users; users keep theirs.
pub async fn revoking_operators_deletes_all_their_links(sessions: &dyn Sessions) {
    for (number, principal) in (1..).zip(principals()) {
        let added = sessions.add_link(link(number), &principal, T0 + MINUTE, T0);
        added.await.unwrap();
    }
    sessions.revoke_operators().await.unwrap();
    for (number, is_left) in [(1, true), (2, false), (3, false)] {
        let redeemed = sessions.redeem_link(link(number), T0).await.unwrap();
        assert_eq!(redeemed.is_some(), is_left, "{number}");
    }
    for (subject, epoch) in [("ann", 0), ("bob", 0), (Principal::ALL_OPERATORS, 1)] {
        assert_eq!(sessions.epoch(subject).await.unwrap(), epoch, "{subject}");
    }
}

/// Those that can still be used, by digest.
pub async fn links_are_listed_and_revoked(sessions: &dyn Sessions) {
    let [ann, ..] = principals();
    for (number, end) in [(3, 9), (1, 9), (2, 1), (4, 9)] {
        let added = sessions.add_link(link(number), &ann, T0 + end * MINUTE, T0);
        added.await.unwrap();
    }
    let now = T0 + MINUTE;
    for (after, limit, found) in [(None, 9, &[1, 3, 4][..]), (Some(1), 1, &[3])] {
        let page = sessions.links(after.map(link), limit, now).await.unwrap();
        let listed: Vec<_> = page.iter().map(|link| link.digest.0[0]).collect();
        assert_eq!(listed, found);
        assert_eq!(page[0].expires_at, T0 + 9 * MINUTE);
    }
    assert!(sessions.revoke_link(link(3)).await.unwrap());
    assert!(!sessions.revoke_link(link(3)).await.unwrap());
    assert_eq!(sessions.redeem_link(link(3), now).await.unwrap(), None);
    assert_eq!(sessions.links(None, 9, now).await.unwrap().len(), 2);
}

/// Whether it is found, which does not use it up, or redeemed.
pub async fn a_link_keeps_its_principal(sessions: &dyn Sessions) {
    let viewer = Principal {
        user: None,
        operator: Some("v".to_owned()),
        is_viewer: true,
    };
    let added = sessions.add_link(link(1), &viewer, T0 + MINUTE, T0);
    added.await.unwrap();
    for _ in 0..2 {
        let found = sessions.find_link(link(1), T0).await.unwrap().unwrap();
        assert_eq!((found.digest, &found.principal), (link(1), &viewer));
    }
    let late = sessions.find_link(link(1), T0 + MINUTE).await.unwrap();
    assert_eq!(late, None);
    let redeemed = sessions.redeem_link(link(1), T0).await.unwrap();
    assert_eq!(redeemed, Some(viewer));
    assert_eq!(sessions.find_link(link(1), T0).await.unwrap(), None);
}
