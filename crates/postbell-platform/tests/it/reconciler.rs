//! Machines end with the stored configuration, despite failures and concurrent changes.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::Method;
use parking_lot::Mutex;
use postbell_core::{InstanceStatus, ManagedMachine, OrphanedMachines, Users};
use postbell_platform::{Configured, Machines, MachinesError, Notifications, Variables};
use postbell_testkit::MemoryUsers;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::test_platform::{TestPlatform, olga};

/// A machine whose configuration waits for the test.
struct Gated {
    env: Mutex<Map<String, Value>>,
    begun: Semaphore,
    may_go_on: Semaphore,
    done: Semaphore,
    failures: Mutex<u32>,
}

impl Gated {
    fn closed() -> Arc<Self> {
        Arc::new(Self {
            env: Mutex::default(),
            begun: Semaphore::new(0),
            may_go_on: Semaphore::new(0),
            done: Semaphore::new(0),
            failures: Mutex::default(),
        })
    }

    fn open() -> Arc<Self> {
        let gated = Self::closed();
        gated.may_go_on.add_permits(1000);
        gated
    }

    async fn has_begun(&self) {
        self.begun.acquire().await.unwrap().forget();
    }

    async fn is_configured(&self) {
        self.done.acquire().await.unwrap().forget();
    }

    fn variable(&self, name: &str) -> Option<Value> {
        self.env.lock().get(name).cloned()
    }

    fn is_on(&self) -> bool {
        self.variable("GMAIL_NOTIFICATIONS_ENABLED") == Some("true".into())
    }

    fn has_credentials(&self) -> bool {
        self.variable("KILOCLAW_GOG_CONFIG_TARBALL").is_some()
    }
}

#[async_trait]
impl Machines for Gated {
    async fn status(&self, _: &ManagedMachine) -> Result<Option<InstanceStatus>, MachinesError> {
        Ok(None)
    }

    async fn start(&self, _: &ManagedMachine) -> Result<(), MachinesError> {
        Ok(())
    }

    async fn wait_until_started(
        &self,
        _: &ManagedMachine,
        _: Duration,
    ) -> Result<bool, MachinesError> {
        Ok(true)
    }

    async fn configure(
        &self,
        _: &ManagedMachine,
        variables: &Variables,
    ) -> Result<Configured, MachinesError> {
        self.begun.add_permits(1);
        self.may_go_on.acquire().await.unwrap().forget();
        {
            let mut failures = self.failures.lock();
            if *failures > 0 {
                *failures -= 1;
                return Err(MachinesError::Unavailable {
                    retry_after: None,
                    source: "on purpose".into(),
                });
            }
        }
        let changed = variables.apply_to(&mut self.env.lock(), None);
        self.done.add_permits(1);
        Ok(if changed {
            Configured::Restarting
        } else {
            Configured::Unchanged
        })
    }
}

async fn with(machines: &Arc<Gated>) -> TestPlatform {
    let store = Arc::new(MemoryUsers::default());
    let machines = Arc::clone(machines) as Arc<dyn Machines>;
    TestPlatform::with(store, Some(machines), true).await
}

async fn disconnect(world: &TestPlatform) -> (u16, Value) {
    let uri = "/api/platform/google-credentials?userId=ann";
    world.ask(Method::DELETE, uri, Value::Null).await
}

/// Waits until no sync is pending.
async fn all_synced(store: &dyn Users) {
    let mut is_synced = false;
    while !is_synced {
        tokio::task::yield_now().await;
        is_synced = store.pending_sync(None, 1).await.unwrap().is_empty();
    }
}

/// Polls a request once, so that it is queued.
async fn begin<T>(request: &mut (impl Future<Output = T> + Unpin)) {
    poll_fn(|context| {
        assert!(std::pin::Pin::new(&mut *request).poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn a_change_is_executed_even_if_the_caller_stops_waiting() {
    let machines = Gated::closed();
    let world = with(&machines).await;
    machines.may_go_on.add_permits(1);
    world.connect("ann").await;
    machines.is_configured().await;
    machines.has_begun().await;
    assert!(machines.has_credentials());

    let mut caller = Box::pin(disconnect(&world));
    begin(&mut caller).await;
    machines.has_begun().await;
    drop(caller);
    machines.may_go_on.add_permits(1);
    machines.is_configured().await;
    assert!(!machines.has_credentials() && !machines.is_on());
    all_synced(&*world.store).await;
    world.stop().await;
}

#[tokio::test]
async fn a_slow_machine_ends_with_the_last_configuration() {
    let machines = Gated::closed();
    let world = with(&machines).await;
    let mut first = Box::pin(world.connect("ann"));
    tokio::select! {
        _ = &mut first => panic!("the machine is slow"),
        () = machines.has_begun() => (),
    }

    let mut second = Box::pin(disconnect(&world));
    begin(&mut second).await;
    // It is stored at once, before the machine is synced.
    while world.record("ann").await.google.is_some() {
        tokio::task::yield_now().await;
    }
    machines.may_go_on.add_permits(1000);
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.0, second.0), (200, 200));
    assert!(!machines.has_credentials() && !machines.is_on());
    assert_eq!(world.record("ann").await.pending_sync, None);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_is_retried() {
    let machines = Gated::open();
    let world = with(&machines).await;
    world.connect("ann").await;
    *machines.failures.lock() = 2;
    let (_, response) = disconnect(&world).await;
    assert_eq!(response["restartFailed"], true);
    assert!(world.record("ann").await.pending_sync.is_some());
    world.relays.0.lock().clear();

    machines.done.forget_permits(1000);
    for wait in [15, 30] {
        world.pass(Duration::from_secs(wait));
        machines.begun.forget_permits(1000);
        machines.has_begun().await;
    }
    machines.is_configured().await;
    assert!(!machines.has_credentials());
    all_synced(&*world.store).await;
    assert_eq!(*world.relays.0.lock(), ["ann has changed"], "so do pages");
    world.stop().await;
}

#[tokio::test]
async fn the_next_process_finishes_a_pending_sync() {
    let machines = Gated::open();
    let world = with(&machines).await;
    *machines.failures.lock() = 1;
    world.connect("ann").await;
    let store = Arc::clone(&world.store);
    world.stop().await;

    let again = Arc::clone(&machines) as Arc<dyn Machines>;
    let world = TestPlatform::over(Arc::clone(&store), Some(again), true);
    machines.is_configured().await;
    assert!(machines.has_credentials() && machines.is_on());
    all_synced(&*store).await;
    world.stop().await;
}

#[tokio::test]
async fn a_retry_can_be_requested_at_once() {
    let machines = Gated::open();
    let world = with(&machines).await;
    *machines.failures.lock() = 1;
    world.connect("ann").await;
    assert!(!machines.is_on());
    world
        .users
        .retry_sync(&"ann".parse().unwrap(), &olga())
        .await
        .unwrap();
    assert!(machines.is_on());
    assert_eq!(world.record("ann").await.pending_sync, None);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_orphaned_machine_is_cleared() {
    let machines = Gated::open();
    let world = with(&machines).await;
    world.connect("ann").await;
    assert!(machines.has_credentials());
    machines.done.forget_permits(1000);
    world.remove("ann").await;
    machines.is_configured().await;
    assert!(!machines.has_credentials() && !machines.is_on());
    while !world
        .store
        .orphaned_machines(None, 1)
        .await
        .unwrap()
        .is_empty()
    {
        tokio::task::yield_now().await;
    }
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn changes_are_refused_while_the_process_stops() {
    let machines = Gated::open();
    let world = with(&machines).await;
    let users = Arc::clone(&world.users);
    world.stop().await;
    let user = "ann".parse().unwrap();
    let refused = users
        .set_notifications(&user, Notifications::Off, &olga())
        .await;
    assert!(refused.is_err());
}
