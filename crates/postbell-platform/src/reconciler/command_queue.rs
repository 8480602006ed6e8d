//! Changes are carried out by a task of their own: whoever asked for one may go.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{
    GoogleConnection, ManagedMachine, StoredCredentials, UserId, UserRecord, UsersError,
};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::keyed_locks::KeyedLocks;
use crate::user_service::{ChangeError, Changed, Notifications, SyncOutcome, UserService};

/// How often is looked for what machines have yet to be told: after a failure, of another process,
/// or of a process that was killed.
const LOOK: Duration = Duration::from_secs(10);

/// How many of either kind are looked at at once; the next look goes on after them.
const AT_A_LOOK: usize = 64;

/// How many changes and looks may be under way at once. What is beyond that waits.
const AT_ONCE: usize = 1024;

/// The way to the task that carries changes out, and what it remembers.
pub struct CommandQueue {
    ask: mpsc::Sender<Order>,
    asked: Mutex<mpsc::Receiver<Order>>,
    pub(super) turns: KeyedLocks,
}

struct Order {
    user: UserId,
    change: Change,
    reply: oneshot::Sender<Result<Changed, ChangeError>>,
}

/// What is to be changed of a user.
pub(crate) enum Change {
    Notifications(Notifications),
    Connect(GoogleConnection, StoredCredentials),
    Disconnect,
    /// Nothing, but the machine is to be told now of what it lacks.
    TellAgain,
}

impl Change {
    /// Makes the change, or says why it cannot be made.
    pub(crate) fn make(&self, record: &mut UserRecord) -> Result<(), ChangeError> {
        match self {
            Self::Notifications(wanted) => {
                if *wanted == Notifications::On && record.google.is_none() {
                    return Err(ChangeError::NotConnected);
                }
                record.notifications_enabled = *wanted == Notifications::On;
            }
            Self::Connect(connection, _) => record.connect(connection.clone()),
            Self::Disconnect => record.disconnect(),
            Self::TellAgain => return Ok(()),
        }
        record.mark_pending_sync();
        Ok(())
    }

    pub(crate) fn credentials(&self) -> Option<&StoredCredentials> {
        match self {
            Self::Connect(_, credentials) => Some(credentials),
            Self::Notifications(_) | Self::Disconnect | Self::TellAgain => None,
        }
    }
}

impl Default for CommandQueue {
    fn default() -> Self {
        let (ask, asked) = mpsc::channel(AT_ONCE);
        Self {
            ask,
            asked: Mutex::new(asked),
            turns: KeyedLocks::default(),
        }
    }
}

/// Where the next look begins.
#[derive(Default)]
struct Looked {
    user: Option<UserId>,
    machine: Option<ManagedMachine>,
}

impl UserService {
    /// Has a change carried out, and waits for what became of it. Once it is asked for, it is carried
    /// out even if nobody waits any more.
    pub(crate) async fn order(
        &self,
        user: &UserId,
        change: Change,
    ) -> Result<Changed, ChangeError> {
        let stopping = || {
            let problem = "this process is stopping";
            ChangeError::Users(UsersError::Unavailable(problem.into()))
        };
        let (reply, outcome) = oneshot::channel();
        let order = Order {
            user: user.clone(),
            change,
            reply,
        };
        let asked = self.orders.ask.send(order).await;
        asked.map_err(|_| stopping())?;
        outcome.await.map_err(|_| stopping())?
    }

    /// Carries changes out, and tells machines what they have yet to be told, until `stop` is
    /// cancelled. One task does it at a time.
    ///
    /// Stopped, it stores what it was asked for by then, and tells no machine any more: the next
    /// process does.
    pub async fn carry_out_changes(self: Arc<Self>, stop: CancellationToken) {
        let mut asked = self.orders.asked.lock().await;
        let mut under_way = JoinSet::new();
        let mut looked = Looked::default();
        let mut next_look = Box::pin(sleep(Duration::ZERO));
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => (),
                Some(order) = asked.recv(), if under_way.len() < AT_ONCE => {
                    under_way.spawn(Arc::clone(&self).carry_out(order, stop.clone()));
                }
                Some(ended) = under_way.join_next() => note_panic(ended),
                () = &mut next_look => {
                    self.look(&mut looked, &mut under_way, &stop).await;
                    next_look.set(sleep(LOOK));
                }
            }
        }
        asked.close();
        while let Some(order) = asked.recv().await {
            under_way.spawn(Arc::clone(&self).carry_out(order, stop.clone()));
        }
        while let Some(ended) = under_way.join_next().await {
            note_panic(ended);
        }
    }

    async fn carry_out(self: Arc<Self>, order: Order, stop: CancellationToken) {
        let Order {
            user,
            change,
            reply,
        } = order;
        let record = match self.store(&user, &change).await {
            Ok(record) => record,
            Err(error) => {
                let _nobody_waits = reply.send(Err(error));
                return;
            }
        };
        let told = stop.run_until_cancelled(self.tell(&user));
        let machine = told.await.unwrap_or(SyncOutcome::Failed);
        let _nobody_waits = reply.send(Ok(Changed { record, machine }));
    }

    /// Begins to tell what is found untold, but for what has failed lately.
    async fn look(
        self: &Arc<Self>,
        looked: &mut Looked,
        under_way: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) {
        let instances = &self.instances;
        let untold = instances.untold(looked.user.as_ref(), AT_A_LOOK).await;
        let left = instances.orphaned_machines(looked.machine.as_ref(), AT_A_LOOK);
        let (untold, left) = match (untold, left.await) {
            (Ok(untold), Ok(left)) => (untold, left),
            (Err(error), _) | (_, Err(error)) => {
                let error = &error as &dyn std::error::Error;
                warn!(
                    error,
                    "Could not look for what machines have yet to be told"
                );
                return;
            }
        };
        looked.user = untold.last().cloned();
        looked.machine = left.last().cloned();
        for user in untold {
            let (users, stop) = (Arc::clone(self), stop.clone());
            under_way.spawn(async move {
                stop.run_until_cancelled(users.tell_at_last(&user)).await;
            });
        }
        for machine in left {
            let (users, stop) = (Arc::clone(self), stop.clone());
            under_way.spawn(async move {
                stop.run_until_cancelled(users.clear(&machine)).await;
            });
        }
    }
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        warn!(%error, "A change of a user has panicked");
    }
}
