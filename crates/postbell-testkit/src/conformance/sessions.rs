//! What [`Sessions`] promises.

use std::time::Duration;

use postbell_core::{LinkDigest, Principal, Sessions, Timestamp};

/// Expands to one test for each promise, so that a failure names the promise and the backend.
///
/// Takes an expression that gives a box or an `Arc` of sign-ins that are empty and nobody else's,
/// and whatever must live as long as they do.
#[macro_export]
macro_rules! sessions_conformance {
    (@each $open:expr; $($promise:ident)+) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let (sign_ins, _kept_alive) = $open;
                $crate::conformance::sessions::$promise(&*sign_ins).await;
            }
        )+
    };
    ($open:expr) => {
        $crate::sessions_conformance! { @each $open;
            a_link_signs_in_once
            a_link_signs_nobody_in_from_its_end_on
            a_link_outlives_those_that_have_ended
            an_epoch_begins_at_0_and_grows
            of_a_user_who_is_removed_nothing_signs_in_the_next_one
            operators_are_signed_out_together
        }
    };
}

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);

fn link(number: u8) -> LinkDigest {
    LinkDigest([number; 32])
}

fn visitors() -> [Principal; 3] {
    [
        (Some("ann"), None),
        (None, Some("op")),
        (Some("bob"), Some("op")),
    ]
    .map(|(user, operator)| Principal {
        user: user.map(|user| user.parse().unwrap()),
        operator: operator.map(str::to_owned),
    })
}

/// Whoever finds it in a log later can do nothing with it.
pub async fn a_link_signs_in_once(sign_ins: &dyn Sessions) {
    let end = T0 + MINUTE;
    for (number, visitor) in (1..).zip(visitors()) {
        let added = sign_ins.add_link(link(number), &visitor, end, T0);
        added.await.unwrap();
    }
    for (number, visitor) in (1..).zip(visitors()) {
        let taken = sign_ins.take_link(link(number), T0).await.unwrap();
        assert_eq!(taken, Some(visitor));
        assert_eq!(sign_ins.take_link(link(number), T0).await.unwrap(), None);
    }
    assert_eq!(sign_ins.take_link(link(9), T0).await.unwrap(), None);
}

/// Not even for the moment of its end.
pub async fn a_link_signs_nobody_in_from_its_end_on(sign_ins: &dyn Sessions) {
    let [ann, ..] = visitors();
    for number in [1, 2] {
        let added = sign_ins.add_link(link(number), &ann, T0 + MINUTE, T0);
        added.await.unwrap();
    }
    let almost = T0 + (MINUTE - Duration::from_millis(1));
    assert!(sign_ins.take_link(link(1), almost).await.unwrap().is_some());
    let late = sign_ins.take_link(link(2), T0 + MINUTE).await.unwrap();
    assert_eq!(late, None);
}

/// What is kept is bounded by how many links are made in their life.
pub async fn a_link_outlives_those_that_have_ended(sign_ins: &dyn Sessions) {
    let [ann, ..] = visitors();
    for (number, end) in [(1, T0 + MINUTE), (2, T0 + 3 * MINUTE)] {
        sign_ins
            .add_link(link(number), &ann, end, T0)
            .await
            .unwrap();
    }
    let now = T0 + 2 * MINUTE;
    let added = sign_ins.add_link(link(3), &ann, now + MINUTE, now);
    added.await.unwrap();
    for (number, is_there) in [(1, false), (2, true), (3, true)] {
        let taken = sign_ins.take_link(link(number), now).await.unwrap();
        assert_eq!(taken.is_some(), is_there, "{number}");
    }
}

/// Each subject has its own.
pub async fn an_epoch_begins_at_0_and_grows(sign_ins: &dyn Sessions) {
    assert_eq!(sign_ins.epoch("ann").await.unwrap(), 0);
    sign_ins.end_sessions("ann").await.unwrap();
    sign_ins.end_sessions("ann").await.unwrap();
    assert_eq!(sign_ins.epoch("ann").await.unwrap(), 2);
    assert_eq!(sign_ins.epoch("bob").await.unwrap(), 0);
}

/// Neither a link nor a session; others keep theirs.
pub async fn of_a_user_who_is_removed_nothing_signs_in_the_next_one(sign_ins: &dyn Sessions) {
    for (number, visitor) in (1..).zip(visitors()) {
        let added = sign_ins.add_link(link(number), &visitor, T0 + MINUTE, T0);
        added.await.unwrap();
    }
    let bob = "bob".parse().unwrap();
    sign_ins.forget_user(&bob).await.unwrap();
    for (number, is_left) in [(1, true), (2, true), (3, false)] {
        let taken = sign_ins.take_link(link(number), T0).await.unwrap();
        assert_eq!(taken.is_some(), is_left, "{number}");
    }
    for (subject, epoch) in [("ann", 0), ("bob", 1)] {
        assert_eq!(sign_ins.epoch(subject).await.unwrap(), epoch, "{subject}");
    }
}

/// Whether they are users, too, or not; users keep their own.
pub async fn operators_are_signed_out_together(sign_ins: &dyn Sessions) {
    for (number, visitor) in (1..).zip(visitors()) {
        let added = sign_ins.add_link(link(number), &visitor, T0 + MINUTE, T0);
        added.await.unwrap();
    }
    sign_ins.forget_operators().await.unwrap();
    for (number, is_left) in [(1, true), (2, false), (3, false)] {
        let taken = sign_ins.take_link(link(number), T0).await.unwrap();
        assert_eq!(taken.is_some(), is_left, "{number}");
    }
    for (subject, epoch) in [("ann", 0), ("bob", 0), (Principal::ALL_OPERATORS, 1)] {
        assert_eq!(sign_ins.epoch(subject).await.unwrap(), epoch, "{subject}");
    }
}
