//! A Gmail that is over its quota, away, or refuses one call.

use std::time::Duration;

use postbell_google::GmailError;
use postbell_sandbox::{FaultPoint, Frequency, Kind, Named, Reason};

use crate::world::World;

const AT: FaultPoint = FaultPoint::GmailProfile;

fn until(status: u16, seconds: u64, named: Named) -> Kind {
    Kind::RefuseUntil {
        status,
        seconds,
        named,
    }
}

#[tokio::test]
async fn nothing_is_asked_before_the_time_that_gmail_names_in_any_form() {
    let seconds = Kind::Refuse {
        status: 429,
        retry_after: Some(60),
    };
    for kind in [
        seconds,
        until(429, 60, Named::Header),
        until(403, 60, Named::Header),
        until(429, 60, Named::Text),
        until(403, 60, Named::Text),
        until(503, 60, Named::Header),
    ] {
        let world = World::new().await;
        world.fault(AT, kind, 2);
        let refused = world.gmail.profile().await.unwrap_err();
        let is_outage = matches!(refused, GmailError::Failed { status: 503, .. });
        assert!(
            is_outage || matches!(refused, GmailError::Quota { .. }),
            "{kind:?}: {refused:?}"
        );
        world.clock.advance(Duration::from_secs(50));
        let held = world.gmail.labels().await.unwrap_err();
        let GmailError::Quota {
            retry_after: Some(left),
        } = held
        else {
            panic!("{kind:?}: {held:?}");
        };
        assert!((1..=10).contains(&left.as_secs()), "{kind:?}: {left:?}");
        assert_eq!(world.refused(), 1, "{kind:?}: asked within the pause");
        world.clock.advance(Duration::from_secs(11));
        world.gmail.labels().await.unwrap();
        world.sandbox.stop().await;
    }
}

#[tokio::test]
async fn a_time_that_has_passed_is_no_pause_and_an_absurd_one_is_an_hour() {
    let world = World::new().await;
    world.fault(AT, until(429, 0, Named::Header), 1);
    world.gmail.profile().await.unwrap();
    world.fault(AT, until(429, u64::MAX / 1_000_000, Named::Header), 1);
    world.gmail.profile().await.unwrap_err();
    world.clock.advance(Duration::from_secs(59 * 60));
    world.gmail.profile().await.unwrap_err();
    world.clock.advance(Duration::from_secs(61));
    world.gmail.profile().await.unwrap();
    world.sandbox.stop().await;
}

#[tokio::test]
async fn a_quota_of_the_minute_is_tried_again_and_one_of_the_day_is_a_pause() {
    let world = World::new().await;
    for reason in [
        Reason::UserRateLimitExceeded,
        Reason::QuotaExceeded,
        Reason::QueriesPerMinute,
    ] {
        world.fault(
            AT,
            Kind::RefuseFor {
                status: 403,
                reason,
            },
            2,
        );
        world.gmail.profile().await.unwrap();
    }
    let before = world.refused();
    let reason = Reason::DailyLimitExceeded;
    let at = world.sandbox.faults();
    at.add(
        AT,
        Kind::RefuseFor {
            status: 403,
            reason,
        },
        Frequency::Always,
    );
    let error = world.gmail.profile().await.unwrap_err();
    assert!(matches!(error, GmailError::Quota { .. }), "{error:?}");
    world.gmail.profile().await.unwrap_err();
    assert_eq!(world.refused(), before + 1, "asked within the pause");
    world.sandbox.faults().clear();
    world.clock.advance(Duration::from_secs(10 * 60));
    world.gmail.profile().await.unwrap();
    world.sandbox.stop().await;
}

#[tokio::test]
async fn a_failure_an_outage_and_a_refusal_are_told_apart() {
    let world = World::new().await;
    let error = async |kind: Kind, times: u32| {
        world.fault(AT, kind, times);
        let error = world.gmail.profile().await.unwrap_err();
        world.sandbox.faults().clear();
        error
    };
    let failed = error(Kind::refuse(500), 3).await;
    assert!(
        matches!(&failed, GmailError::Failed { status: 500, reason } if reason == "backendError"),
        "{failed:?}"
    );
    let away = error(Kind::DropBefore, 9).await;
    assert!(matches!(away, GmailError::Unavailable(_)), "{away:?}");
    let odd = error(Kind::Unreadable, 1).await;
    assert!(matches!(odd, GmailError::Unreadable), "{odd:?}");
    for (status, reason, is_of_account) in [
        (400, Reason::FailedPrecondition, false),
        (403, Reason::Forbidden, false),
        (403, Reason::InsufficientPermissions, true),
        (403, Reason::AccessNotConfigured, true),
    ] {
        let refused = error(Kind::RefuseFor { status, reason }, 1).await;
        assert!(
            matches!(refused, GmailError::Refused { status: is, .. } if is == status),
            "{refused:?}"
        );
        assert_eq!(refused.concerns_account(), is_of_account, "{reason:?}");
    }
    world.sandbox.stop().await;
}
