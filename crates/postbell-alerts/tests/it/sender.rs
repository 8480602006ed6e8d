//! From the outbox to the services.

use std::time::Duration;

use postbell_core::{
    AlertOutbox, AlertTargets, Clock, MachineReport, MailProblem, ProblemCode, StoredTarget, Users,
};
use postbell_sandbox::{AlertServices, Misbehaviour};
use tokio_util::sync::CancellationToken;

use crate::target;
use crate::world::{HOUR, MINUTE, World, sender, users_target};

#[tokio::test]
async fn a_busy_service_gets_the_alert_when_it_asked_for_it() {
    let world = World::new().await;
    world.add("ann", false).await;
    world.services.misbehave(Misbehaviour::Refuse {
        status: 429,
        retry_after: Some(600),
    });
    world.check_in("ann", Some(ProblemCode::GrantRevoked)).await;
    world.step().await;
    world.wait(9).await;
    assert!(world.reported().is_empty());
    world.wait(3).await;
    assert_eq!(world.reported().len(), 1);
}

#[tokio::test]
async fn a_service_that_never_answers_is_given_up_after_three_days() {
    let world = World::new().await;
    world.add("ann", false).await;
    for _ in 0..200 {
        world.services.misbehave(Misbehaviour::Refuse {
            status: 500,
            retry_after: None,
        });
    }
    world.check_in("ann", Some(ProblemCode::GrantRevoked)).await;
    world.step().await;
    for _ in 0..4 * 24 {
        *world.clock.0.lock() = world.clock.now() + HOUR;
        world.sender.send_due().await.unwrap();
    }
    assert_eq!(world.alerts.waiting().await.unwrap(), 1);
    let dropped = async {
        while world.alerts.waiting().await.unwrap() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = world.sender.run(CancellationToken::new()) => panic!("the sender stopped"),
        dropped = tokio::time::timeout(MINUTE, dropped) => dropped.unwrap(),
    }
}

#[tokio::test]
async fn a_target_that_is_gone_gets_nothing_more() {
    let world = World::new().await;
    world.add("ann", false).await;
    world.services.misbehave(Misbehaviour::Refuse {
        status: 410,
        retry_after: None,
    });
    world.check_in("ann", Some(ProblemCode::GrantRevoked)).await;
    world.step().await;
    assert_eq!(world.alerts.waiting().await.unwrap(), 0);
    assert!(world.reported().is_empty());
}

#[tokio::test]
async fn an_alert_to_an_address_waits_an_hour_for_a_mail_server() {
    let world = World::new().await;
    world.add("ann", false).await;
    let target = target("ann@example.com");
    let stored = StoredTarget {
        id: target.id(),
        text: target.text().clone(),
        added_at: world.clock.now(),
    };
    let user = "ann".parse().unwrap();
    assert!(world.alerts.add_target(&user, &stored, 5).await.unwrap());
    world.check_in("ann", Some(ProblemCode::GrantRevoked)).await;
    world.step().await;
    let waiting = async || world.alerts.waiting().await.unwrap();
    world.wait(59).await;
    assert_eq!(waiting().await, 1, "another process may have one");
    world.wait(60).await;
    assert_eq!(waiting().await, 0);
}

#[tokio::test]
async fn two_senders_send_an_alert_once_and_one_takes_over_if_the_other_dies() {
    let world = World::new().await;
    world.add("ann", false).await;
    world.services.misbehave(Misbehaviour::Hang);
    world.check_in("ann", Some(ProblemCode::GrantRevoked)).await;
    {
        // Killed while it waits for the service.
        let sending = world.sender.send_due();
        tokio::pin!(sending);
        tokio::select! {
            _ = &mut sending => panic!("the service hangs"),
            () = world.services.wait_for_requests(1) => (),
        }
    }
    let other = sender(&world.clock, &world.services, &world.alerts);
    assert_eq!(
        other.send_due().await.unwrap(),
        0,
        "the lease has not ended"
    );
    *world.clock.0.lock() = world.clock.now() + MINUTE;
    assert_eq!(other.send_due().await.unwrap(), 1);
    assert_eq!(world.reported().len(), 1);
    assert_eq!(world.sender.send_due().await.unwrap(), 0);
}

#[tokio::test]
async fn a_users_target_that_hangs_does_not_delay_the_operator() {
    let world = World::new().await;
    world.add("ann", true).await;
    world.add("bob", false).await;
    let hanging = AlertServices::start().await.unwrap();
    hanging.misbehave(Misbehaviour::Hang);
    let target = users_target(&hanging);
    let stored = StoredTarget {
        id: target.id(),
        text: target.text().clone(),
        added_at: world.clock.now(),
    };
    let ann = "ann".parse().unwrap();
    assert!(world.alerts.add_target(&ann, &stored, 5).await.unwrap());
    world.check_in("ann", Some(ProblemCode::GrantRevoked)).await;
    let running = world.sender.run(CancellationToken::new());
    let later = async {
        hanging.wait_for_requests(1).await;
        let record = world.users.get(&"bob".parse().unwrap()).await.unwrap();
        let mut record = record.unwrap();
        let since = world.clock.now();
        let report = MachineReport {
            problem: Some(MailProblem {
                code: ProblemCode::GrantRevoked,
                since,
            }),
            ..MachineReport::default()
        };
        record.check_in(report, since);
        let written = world.users.replace(&record, None, since).await;
        written.unwrap();
        world.monitor.checked_in(&record.user).await;
        // To the operator and ann, and then to the operator.
        world.services.wait_for_requests(3).await;
    };
    // Less than the time that a service has to answer.
    let later = tokio::time::timeout(Duration::from_secs(15), later);
    tokio::select! {
        () = running => panic!("the sender stopped"),
        reported = later => reported.unwrap(),
    }
}
