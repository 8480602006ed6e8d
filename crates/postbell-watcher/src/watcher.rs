//! Joins the parts of one account's watcher.

use std::sync::Arc;

use parking_lot::Mutex;
use postbell_alerts::{AlertClient, AlertTarget, ObservedSince};
use postbell_core::Clock;
use postbell_google::Gmail;
use postbell_protocol::watch_state::{StateError, StateFile};

use crate::alerter::Alerter;
use crate::delivery::Delivery;
use crate::extras::ExtrasReader;
use crate::mailbox::Mailbox;
use crate::mailbox_identity::MailboxIdentity;
use crate::message_reader::MessageReader;
use crate::metrics::Metrics;
use crate::monitor::Monitor;
use crate::poster::Poster;
use crate::recently_read::RecentlyRead;
use crate::refusals::Refusals;
use crate::renewal::WatchRenewal;
use crate::server::PushServer;
use crate::settings::WatcherSettings;
use crate::state_store::StateStore;
use crate::sync::{Signals, SyncEngine};
use crate::sync_trace::SyncTrace;
use crate::webhook::WebhookClient;

/// One account's watcher: its parts share the state.
pub struct Watcher {
    /// Delivers new mail.
    pub sync: Arc<SyncEngine>,
    /// Keeps Gmail's watch alive.
    pub renewal: Arc<WatchRenewal>,
    /// Takes notifications.
    pub server: PushServer,
    /// Answers monitoring.
    pub monitor: Monitor,
    identity: MailboxIdentity,
}

impl Watcher {
    /// Continues from the state in `file`. Sends nothing to Gmail yet.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the file cannot be read.
    pub fn new(
        settings: WatcherSettings,
        gmail: Gmail,
        webhook: WebhookClient,
        file: StateFile,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StateError> {
        let state = StateStore::open(file, &settings.account, Arc::clone(&clock))?;
        let subscription = settings.subscription.clone();
        let state = state.of_watcher(subscription);
        let metrics = Arc::new(Metrics::default());
        let tracer = settings.tracer.clone();
        let trace = SyncTrace::new(tracer.clone(), Arc::clone(&clock));
        let trace = Arc::new(trace);
        let (settings, gmail, state) = (Arc::new(settings), Arc::new(gmail), Arc::new(state));
        let sync = Arc::new(SyncEngine {
            settings: Arc::clone(&settings),
            mailbox: Mailbox {
                gmail: Arc::clone(&gmail),
                settings: Arc::clone(&settings),
            },
            delivery: Delivery {
                poster: Poster {
                    settings: Arc::clone(&settings),
                    webhook,
                    trace: Arc::clone(&trace),
                    metrics: Arc::clone(&metrics),
                    state: Arc::clone(&state),
                    clock: Arc::clone(&clock),
                },
                reader: MessageReader {
                    gmail: Arc::clone(&gmail),
                    settings: Arc::clone(&settings),
                    extras: ExtrasReader {
                        gmail: Arc::clone(&gmail),
                        settings: Arc::clone(&settings),
                        clock: Arc::clone(&clock),
                    },
                    recent: RecentlyRead::new(Arc::clone(&clock)),
                },
                settings: Arc::clone(&settings),
                state: Arc::clone(&state),
                clock: Arc::clone(&clock),
            },
            state: Arc::clone(&state),
            clock: Arc::clone(&clock),
            signals: Signals::default(),
            trace,
        });
        Ok(Self {
            identity: settings.identity.clone(),
            server: PushServer::new(
                settings,
                Arc::clone(&sync),
                Refusals::new(Arc::clone(&metrics), Arc::clone(&clock)),
                Arc::clone(&clock),
            ),
            sync,
            monitor: Monitor {
                state: Arc::clone(&state),
                metrics,
                clock: Arc::clone(&clock),
                tracer,
            },
            renewal: Arc::new(WatchRenewal::with_state(gmail, state, clock)),
        })
    }

    /// Builds what sends alerts about this watcher to `targets`. `jitter` returns a random number from 0
    /// to 1.
    #[must_use]
    pub fn alerter(
        &self,
        targets: Vec<AlertTarget>,
        client: AlertClient,
        jitter: fn() -> f64,
    ) -> Alerter {
        Alerter {
            targets,
            client,
            state: Arc::clone(&self.monitor.state),
            identity: self.identity.clone(),
            clock: Arc::clone(&self.monitor.clock),
            jitter,
            observed_since: Mutex::new(ObservedSince::new(self.monitor.clock.now())),
        }
    }
}
