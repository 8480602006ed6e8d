//! The trace of a mail, from the push to the machine.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{
    Clock, Delivery, DeliveryLog, DeliveryQueue, Failure, Notification, RetrySchedule, Tasks,
    Timestamp, TraceContext, Tracer,
};
use postbell_relay::{Dispatcher, DispatcherSettings, Metrics};
use postbell_testkit::{MemoryDeliveries, PausedClock, RELAY};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::fake_machine::{FakeMachine, notification};
use crate::world::{self, World};

const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn given() -> TraceContext {
    GIVEN.parse().unwrap()
}

#[tokio::test]
async fn a_push_begins_a_trace_or_continues_that_of_its_request() {
    let mut traces = Vec::new();
    for header in [Some(GIVEN), None, Some("x")] {
        let world = World::new().await;
        let mut request = world
            .client
            .post(format!("{}/push/user/ann", world.url))
            .bearer_auth(world.token())
            .body(world::notification("m1", 7).to_string());
        if let Some(header) = header {
            request = request.header("traceparent", header);
        }
        assert_eq!(request.send().await.unwrap().status(), 204);
        let waiting = world.waiting().await;
        traces.push(waiting[0].notification.trace.unwrap());
        world.stop().await;
    }
    assert_eq!(traces[0].trace, given().trace);
    assert_ne!(traces[0].span, given().span);
    assert_ne!(traces[1].trace, given().trace);
    assert_ne!(traces[2].trace, given().trace);
}

#[tokio::test(start_paused = true)]
async fn every_attempt_continues_the_trace_of_the_push_and_is_logged_with_it() {
    let clock = Arc::new(PausedClock::starting_at(Timestamp::from_millis(0)));
    let (machine, _deliveries) = FakeMachine::new(Arc::clone(&clock));
    let failed = Delivery::Failed {
        failure: Failure::status(500),
        retry_after: None,
    };
    machine.results.lock().await.push_back(failed);
    let store = Arc::new(MemoryDeliveries::default());
    let traced = Notification {
        trace: Some(given()),
        ..notification("ann", 7)
    };
    store.accept(traced, clock.now()).await.unwrap();
    let dispatcher = Dispatcher {
        relay: RELAY,
        queue: Arc::clone(&store) as Arc<dyn DeliveryQueue>,
        deliverer: machine.deliverer(),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        arrivals: Arc::new(Notify::new()),
        metrics: Arc::new(Metrics::new()),
        tracer: Tracer::new(|| 1),
        jitter: Box::new(|| 0.5),
        settings: DispatcherSettings {
            retry: RetrySchedule::default(),
            lease: Duration::from_secs(90),
            max_concurrent: 10,
            grace: Duration::from_secs(30),
        },
    };
    let tasks = Tasks::new();
    tasks.start("dispatcher", |stop| Arc::new(dispatcher).run(stop));
    // The first attempt, and the second after a minute.
    sleep(Duration::from_secs(90)).await;

    let sent = machine.traces.lock().await.clone();
    assert_eq!(sent.len(), 2);
    for sent in sent {
        assert_eq!((sent.trace, sent.is_sampled), (given().trace, true));
        assert_ne!(sent.span, given().span, "a delivery is a span of its own");
    }
    let logged = store.deliveries(&"ann".parse().unwrap()).await.unwrap();
    assert_eq!(logged.len(), 2);
    assert!(logged.iter().all(|one| one.trace_id == Some(given().trace)));
    tasks.stop(Duration::from_secs(60)).await.unwrap();
}
