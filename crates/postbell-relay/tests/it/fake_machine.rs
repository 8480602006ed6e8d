//! A directory and a machine that answer as a test says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use postbell_core::{
    AccountReport, Clock, Delivery, Directory, DirectoryError, Failure, HistoryId, Instance,
    InstanceStatus, Lookup, Machine, MachineLocation, MachineReport, ManagedMachine, Notification,
    Timestamp, TraceContext, UserId,
};
use postbell_relay::{Deliverer, DirectoryCache};
use postbell_testkit::PausedClock;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Mutex, mpsc};
use tokio::time::sleep;

/// The directory and the machine in one.
pub(crate) struct FakeMachine {
    clock: Arc<PausedClock>,
    /// The results of the next deliveries; later ones are accepted.
    pub(crate) results: Mutex<VecDeque<Delivery>>,
    pub(crate) instance: Mutex<Option<Instance>>,
    pub(crate) directory_is_away: Mutex<bool>,
    /// Questions that it answers although it is away.
    pub(crate) answers_left: AtomicUsize,
    /// How often the directory was asked for the machine.
    pub(crate) questions: AtomicUsize,
    pub(crate) delivery_time: Mutex<Duration>,
    concurrent: AtomicUsize,
    pub(crate) max_concurrent: AtomicUsize,
    pub(crate) reported: Mutex<Vec<HistoryId>>,
    /// With which traces deliveries came.
    pub(crate) traces: Mutex<Vec<TraceContext>>,
    /// How often a start of the machine was requested.
    pub(crate) start_requests: AtomicUsize,
    pub(crate) may_be_started: Mutex<bool>,
    deliveries: mpsc::UnboundedSender<(Timestamp, Bytes)>,
}

pub(crate) fn running() -> Instance {
    Instance {
        sandbox_id: "sandbox-1".to_owned(),
        status: InstanceStatus::Running,
        location: MachineLocation::Managed(ManagedMachine {
            app: "bot".to_owned(),
            machine: "d8910".to_owned(),
        }),
        google_connected: true,
        email: None,
        notifications_enabled: true,
        problem: None,
    }
}

pub(crate) fn failed() -> Delivery {
    Delivery::Failed {
        failure: Failure::status(500),
        retry_after: None,
    }
}

pub(crate) fn notification(user: &str, history_id: u64) -> Notification {
    Notification {
        trace: None,
        user: user.parse().unwrap(),
        address: None,
        message_id: format!("m{history_id}").parse().unwrap(),
        published_at: None,
        history_id: HistoryId::new(history_id),
        body: Bytes::from(format!("body {history_id}")),
    }
}

impl FakeMachine {
    /// A running machine, and its deliveries with their times.
    pub(crate) fn new(
        clock: Arc<PausedClock>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<(Timestamp, Bytes)>) {
        let (sender, deliveries) = mpsc::unbounded_channel();
        let machine = Self {
            clock,
            results: Mutex::default(),
            instance: Mutex::new(Some(running())),
            directory_is_away: Mutex::new(false),
            answers_left: AtomicUsize::new(0),
            questions: AtomicUsize::new(0),
            delivery_time: Mutex::default(),
            concurrent: AtomicUsize::new(0),
            max_concurrent: AtomicUsize::new(0),
            reported: Mutex::default(),
            traces: Mutex::default(),
            start_requests: AtomicUsize::new(0),
            may_be_started: Mutex::default(),
            deliveries: sender,
        };
        (Arc::new(machine), deliveries)
    }

    /// Delivers to this machine.
    pub(crate) fn deliverer(self: &Arc<Self>) -> Deliverer {
        Deliverer {
            directory: Arc::new(DirectoryCache::new(
                Arc::clone(self) as Arc<dyn Directory>,
                Arc::clone(&self.clock) as Arc<dyn Clock>,
            )),
            machine: Arc::clone(self) as Arc<dyn Machine>,
        }
    }
}

#[async_trait]
impl Directory for FakeMachine {
    async fn look_up(&self, user: &UserId) -> Result<Option<Lookup>, DirectoryError> {
        let instance = self.instance(user).await?;
        Ok(instance.map(|instance| Lookup {
            instance,
            push_account: None,
            token: Some(format!("token of {user}").into()),
            fresh_for: Duration::from_secs(1),
        }))
    }

    async fn instance(&self, _: &UserId) -> Result<Option<Instance>, DirectoryError> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        let one_less = |left: usize| left.checked_sub(1);
        let order = Ordering::SeqCst;
        if *self.directory_is_away.lock().await
            && self
                .answers_left
                .fetch_update(order, order, one_less)
                .is_err()
        {
            return Err(DirectoryError::Unavailable("on purpose".into()));
        }
        Ok(self.instance.lock().await.clone())
    }

    async fn push_account(&self, _: &UserId) -> Result<Option<String>, DirectoryError> {
        Ok(None)
    }

    async fn gateway_token(&self, user: &UserId) -> Result<Option<SecretString>, DirectoryError> {
        Ok(Some(format!("token of {user}").into()))
    }

    async fn users_by_email(&self, _: &str) -> Result<Vec<UserId>, DirectoryError> {
        Ok(Vec::new())
    }

    async fn users_by_sandbox(&self, _: &str) -> Result<Vec<UserId>, DirectoryError> {
        Ok(Vec::new())
    }

    async fn report_history_id(&self, _: &UserId, id: HistoryId) -> Result<(), DirectoryError> {
        self.reported.lock().await.push(id);
        Err(DirectoryError::Unavailable(
            "on purpose: it must not matter".into(),
        ))
    }

    async fn start_machine(&self, _: &UserId) -> Result<bool, DirectoryError> {
        self.start_requests.fetch_add(1, Ordering::SeqCst);
        Ok(*self.may_be_started.lock().await)
    }

    async fn report_running(
        &self,
        _: &UserId,
        _: MachineReport,
        _: Option<&[AccountReport]>,
    ) -> Result<(), DirectoryError> {
        Ok(())
    }
}

#[async_trait]
impl Machine for FakeMachine {
    async fn deliver(
        &self,
        instance: &Instance,
        token: &SecretString,
        body: Bytes,
        trace: TraceContext,
    ) -> Delivery {
        self.traces.lock().await.push(trace);
        assert_eq!(instance.location, running().location);
        assert!(token.expose_secret().starts_with("token of "));
        let concurrent = self.concurrent.fetch_add(1, Ordering::SeqCst) + 1;
        self.max_concurrent.fetch_max(concurrent, Ordering::SeqCst);
        self.deliveries.send((self.clock.now(), body)).unwrap();
        let time = *self.delivery_time.lock().await;
        sleep(time).await;
        self.concurrent.fetch_sub(1, Ordering::SeqCst);
        self.results
            .lock()
            .await
            .pop_front()
            .unwrap_or(Delivery::Accepted)
    }
}
