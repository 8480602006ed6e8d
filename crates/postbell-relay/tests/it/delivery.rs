//! One attempt, without a queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use postbell_core::{
    Delivery, Failure, FailureKind, Instance, InstanceStatus, Notification, Timestamp,
    TraceContext, Tracer,
};
use postbell_relay::Attempt;
use postbell_testkit::PausedClock;

use crate::fake_machine::{FakeMachine, notification, running};

fn machine() -> Arc<FakeMachine> {
    let clock = PausedClock::starting_at(Timestamp::from_millis(0));
    FakeMachine::new(Arc::new(clock)).0
}

fn trace() -> TraceContext {
    Tracer::new(|| 1)
        .begin("push", None, Duration::ZERO)
        .context
}

async fn attempt(machine: &Arc<FakeMachine>) -> Attempt {
    let notification = notification("ann", 7);
    machine.deliverer().attempt(&notification, trace()).await
}

fn failed(failure: Failure) -> Attempt {
    Attempt::Failed {
        failure,
        retry_after: None,
        problem: None,
    }
}

#[tokio::test(start_paused = true)]
async fn each_answer_of_the_machine_has_its_result() {
    let clock = PausedClock::starting_at(Timestamp::from_millis(0));
    let (machine, _deliveries) = FakeMachine::new(Arc::new(clock));
    let retry_after = Some(Duration::from_secs(7));
    let failure = Failure::status(503);
    for (answer, result) in [
        (Delivery::Accepted, Attempt::Delivered),
        (
            Delivery::Refused { status: 422 },
            Attempt::Refused {
                failure: Failure::status(422),
            },
        ),
        (
            Delivery::Failed {
                failure: failure.clone(),
                retry_after,
            },
            Attempt::Failed {
                failure,
                retry_after,
                problem: None,
            },
        ),
    ] {
        machine.results.lock().await.push_back(answer);
        assert_eq!(attempt(&machine).await, result);
    }
    let starts = machine.start_requests.load(Ordering::SeqCst);
    assert_eq!(starts, 1, "only a failure may need a start");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_user_and_one_with_notifications_off_want_nothing() {
    let machine = machine();
    let off = Instance {
        notifications_enabled: false,
        ..running()
    };
    for instance in [None, Some(off)] {
        *machine.instance.lock().await = instance;
        assert_eq!(attempt(&machine).await, Attempt::Unwanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_machine_is_not_contacted_and_may_be_started() {
    let machine = machine();
    *machine.instance.lock().await = Some(Instance {
        status: InstanceStatus::Stopped,
        ..running()
    });
    let stopped = failed(Failure::not_running());
    assert_eq!(attempt(&machine).await, stopped);
    *machine.may_be_started.lock().await = true;
    let starting = failed(Failure::not_running().while_starting());
    assert_eq!(attempt(&machine).await, starting);
}

#[tokio::test(start_paused = true)]
async fn a_notification_of_another_mailbox_is_not_delivered() {
    let clock = PausedClock::starting_at(Timestamp::from_millis(0));
    let (machine, _deliveries) = FakeMachine::new(Arc::new(clock));
    let attempt = async |email: Option<&str>, notification: &Notification| {
        *machine.instance.lock().await = Some(Instance {
            email: email.map(|email| email.parse().unwrap()),
            ..running()
        });
        machine.deliverer().attempt(notification, trace()).await
    };
    let with_address = Notification {
        address: Some("annsmith@gmail.com".parse().unwrap()),
        ..notification("ann", 7)
    };
    let of_an_earlier_version = Notification {
        body: Bytes::from(r#"{"emailAddress": "annsmith@gmail.com", "historyId": 7}"#),
        ..notification("ann", 7)
    };
    for notification in [with_address, of_an_earlier_version] {
        for own in [None, Some("ann.smith@gmail.com")] {
            assert_eq!(attempt(own, &notification).await, Attempt::Delivered);
        }
        let other = attempt(Some("new@gmail.com"), &notification).await;
        assert_eq!(other, Attempt::OtherMailbox);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_directory_is_a_failure() {
    let machine = machine();
    *machine.directory_is_away.lock().await = true;
    let kind = FailureKind::Directory;
    let failure = Failure::new(kind, "the directory cannot be reached");
    assert_eq!(attempt(&machine).await, Attempt::Unanswered { failure });
}

/// The directory's answer to the push serves for its delivery.
#[tokio::test(start_paused = true)]
async fn a_recent_answer_of_the_directory_is_used_for_a_delivery() {
    let clock = PausedClock::starting_at(Timestamp::from_millis(0));
    let (machine, _deliveries) = FakeMachine::new(Arc::new(clock));
    let (deliverer, notification) = (machine.deliverer(), notification("ann", 7));
    for _ in 0..5 {
        let attempt = deliverer.attempt(&notification, trace()).await;
        assert_eq!(attempt, Attempt::Delivered);
    }
    assert_eq!(machine.questions.load(Ordering::SeqCst), 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    deliverer.attempt(&notification, trace()).await;
    assert_eq!(machine.questions.load(Ordering::SeqCst), 2);
}

/// No delivery is given up because of an answer that may be outdated.
#[tokio::test(start_paused = true)]
async fn a_machine_that_has_moved_is_tried_at_once_where_it_is() {
    let clock = PausedClock::starting_at(Timestamp::from_millis(0));
    let (machine, mut deliveries) = FakeMachine::new(Arc::new(clock));
    let (deliverer, notification) = (machine.deliverer(), notification("ann", 7));
    for answer in [
        Delivery::Failed {
            failure: Failure::unreachable(),
            retry_after: None,
        },
        Delivery::Refused { status: 400 },
    ] {
        *machine.instance.lock().await = Some(running());
        tokio::time::sleep(Duration::from_secs(1)).await;
        deliverer.attempt(&notification, trace()).await;
        deliveries.recv().await.unwrap();

        // The directory says the same, so one attempt is enough.
        machine.results.lock().await.push_back(answer.clone());
        let attempt = deliverer.attempt(&notification, trace()).await;
        assert_ne!(attempt, Attempt::Delivered);
        deliveries.recv().await.unwrap();
        assert!(deliveries.try_recv().is_err());

        *machine.instance.lock().await = Some(Instance {
            sandbox_id: "moved".to_owned(),
            ..running()
        });
        machine.results.lock().await.push_back(answer);
        let attempt = deliverer.attempt(&notification, trace()).await;
        assert_eq!(attempt, Attempt::Delivered);
        for _ in 0..2 {
            deliveries.recv().await.unwrap();
        }
    }
}
