//! The ports of one store together, as the suites use them.

use std::sync::Arc;

use postbell_core::{
    AlertOutbox, AlertTargets, AuditedPorts, Credentials, DeliveryLog, DeliveryQueue,
    OrphanedMachines, Users,
};

/// The delivery queue and the log of one store.
#[derive(Clone)]
pub struct Deliveries {
    /// The queue.
    pub queue: Arc<dyn DeliveryQueue>,
    /// The log of that queue.
    pub log: Arc<dyn DeliveryLog>,
}

impl Deliveries {
    /// Returns both ports of a store that has them in one type.
    #[must_use]
    pub fn new<T: DeliveryQueue + DeliveryLog + 'static>(store: Arc<T>) -> Self {
        Self {
            queue: Arc::clone(&store) as _,
            log: store,
        }
    }
}

/// The users, credentials and orphaned machines of one store.
#[derive(Clone)]
pub struct UserStore {
    /// The users.
    pub users: Arc<dyn Users>,
    /// Their credentials.
    pub credentials: Arc<dyn Credentials>,
    /// The managed machines without a user.
    pub orphaned_machines: Arc<dyn OrphanedMachines>,
}

impl UserStore {
    /// Returns the three ports of a store that has them in one type.
    #[must_use]
    pub fn new<T: Users + Credentials + OrphanedMachines + 'static>(store: Arc<T>) -> Self {
        Self {
            users: Arc::clone(&store) as _,
            credentials: Arc::clone(&store) as _,
            orphaned_machines: store,
        }
    }
}

/// The audited ports of one store, and its delivery queue.
#[derive(Clone)]
pub struct Operated {
    /// The audited ports.
    pub ports: Arc<dyn AuditedPorts>,
    /// The delivery queue.
    pub queue: Arc<dyn DeliveryQueue>,
}

/// The alerts and the users' targets of one store.
#[derive(Clone)]
pub struct Alerts {
    /// The alerts that wait.
    pub outbox: Arc<dyn AlertOutbox>,
    /// The users' targets.
    pub targets: Arc<dyn AlertTargets>,
}

impl Alerts {
    /// Returns both ports of a store that has them in one type.
    #[must_use]
    pub fn new<T: AlertOutbox + AlertTargets + 'static>(store: Arc<T>) -> Self {
        Self {
            outbox: Arc::clone(&store) as _,
            targets: store,
        }
    }
}
