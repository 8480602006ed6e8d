//! A machine is started because mail waits for it: once, and by its owner's leave.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::{InstanceStatus, UserId, UsersError, update_user};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Fleet;

/// After a machine was started, it is not started again within this time, whatever became of it:
/// one that crashes on every mail must not cost its owner a start each.
const PAUSE: Duration = Duration::from_secs(300);

/// How long a machine may take to come up before nobody waits for it any more.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many machines may be on their way up at once. What is beyond that is asked for again, with
/// the next attempt to deliver.
const AT_ONCE: usize = 32;

/// Which machines were woken lately, and the way to the task that wakes them.
pub(super) struct StartRequests {
    ask: mpsc::Sender<UserId>,
    asked: tokio::sync::Mutex<mpsc::Receiver<UserId>>,
    lately: Mutex<HashMap<UserId, Woken>>,
}

/// A machine that was started.
struct Woken {
    at: Duration,
    is_coming_up: bool,
}

impl StartRequests {
    pub(super) fn new() -> Self {
        let (ask, asked) = mpsc::channel(AT_ONCE);
        Self {
            ask,
            asked: tokio::sync::Mutex::new(asked),
            lately: Mutex::default(),
        }
    }

    /// Asks for a machine to be started, unless it was lately. Returns whether it is coming up.
    fn ask_for(&self, user: &UserId, now: Duration) -> bool {
        let mut lately = self.lately.lock();
        lately.retain(|_, woken| now.saturating_sub(woken.at) < PAUSE);
        if let Some(woken) = lately.get(user) {
            return woken.is_coming_up;
        }
        let asked = self.ask.try_send(user.clone()).is_ok();
        if asked {
            let woken = Woken {
                at: now,
                is_coming_up: true,
            };
            lately.insert(user.clone(), woken);
        }
        asked
    }

    fn is_done(&self, user: &UserId) {
        if let Some(woken) = self.lately.lock().get_mut(user) {
            woken.is_coming_up = false;
        }
    }
}

impl Fleet {
    /// Has a user's machine started because mail waits for it, if it is seen to be off and its owner
    /// allows that. Returns whether it is on its way up.
    ///
    /// # Errors
    ///
    /// What keeps the record from being read.
    pub async fn wake(&self, user: &UserId) -> Result<bool, UsersError> {
        let Some(record) = self.instances.get(user).await? else {
            return Ok(false);
        };
        let Some(record) = self.look(record).await? else {
            return Ok(false);
        };
        if record.status == InstanceStatus::Starting {
            return Ok(true);
        }
        let may_be_started = record.wake_on_mail && record.as_instance().wants_notifications();
        if !is_off(record.status) || !may_be_started || self.hands_on(&record).is_none() {
            return Ok(false);
        }
        Ok(self.wakes.ask_for(user, self.clock.elapsed()))
    }

    /// Starts the machines that are asked for, until `stop` is cancelled. One task does it at a time.
    pub async fn wake_those_asked_for(self: Arc<Self>, stop: CancellationToken) {
        let mut asked = self.wakes.asked.lock().await;
        let mut coming_up = JoinSet::new();
        loop {
            let has_room = coming_up.len() < AT_ONCE;
            tokio::select! {
                () = stop.cancelled() => break,
                Some(user) = asked.recv(), if has_room => {
                    let (fleet, stop) = (Arc::clone(&self), stop.clone());
                    coming_up.spawn(async move {
                        stop.run_until_cancelled(fleet.start(&user)).await;
                        fleet.wakes.is_done(&user);
                    });
                }
                Some(ended) = coming_up.join_next() => {
                    if let Err(error) = ended {
                        warn!(%error, "The start of a machine panicked");
                    }
                }
            }
        }
        while coming_up.join_next().await.is_some() {}
    }

    /// Starts a machine, and notes how it comes up.
    async fn start(&self, user: &UserId) {
        if let Err(error) = self.try_to_start(user).await {
            let error = &*error as &dyn std::error::Error;
            warn!(
                user.id = %user.masked(), error,
                "Could not start the machine of {}", user.masked()
            );
        }
    }

    /// Notes that a machine is on its way up, unless it has reported in already.
    async fn note_start(&self, user: &UserId) -> Result<(), UsersError> {
        let noted = update_user(&*self.instances, user, None, &*self.clock, |record| {
            if is_off(record.status) {
                record.status = InstanceStatus::Starting;
            }
            Ok(())
        });
        noted.await.map(drop)
    }

    async fn try_to_start(&self, user: &UserId) -> Result<(), postbell_core::BoxError> {
        let Some(record) = self.instances.get(user).await? else {
            return Ok(());
        };
        let Some((machines, machine)) = self.hands_on(&record) else {
            return Ok(());
        };
        info!(
            user.id = %user.masked(),
            "Starting the machine of {}, because mail waits for it", user.masked()
        );
        machines.start(machine).await?;
        self.note_start(user).await?;
        if machines.wait_until_up(machine, PATIENCE).await? {
            self.note(user, &record.place, InstanceStatus::Running)
                .await?;
        }
        Ok(())
    }
}

fn is_off(status: InstanceStatus) -> bool {
    matches!(
        status,
        InstanceStatus::Stopped | InstanceStatus::Provisioned
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> UserId {
        "ann".parse().unwrap()
    }

    #[tokio::test]
    async fn a_machine_is_woken_once_within_the_pause() {
        let wakes = StartRequests::new();
        let mut asked = wakes.asked.lock().await;
        let at = Duration::from_secs;
        assert!(wakes.ask_for(&ann(), at(10)));
        assert!(wakes.ask_for(&ann(), at(11)), "it is coming up");
        wakes.is_done(&ann());
        assert!(!wakes.ask_for(&ann(), at(309)), "not again so soon");
        assert!(wakes.ask_for(&ann(), at(310)));
        let mut times = 0;
        while asked.try_recv().is_ok() {
            times += 1;
        }
        assert_eq!(times, 2);
    }

    #[tokio::test]
    async fn what_is_too_much_at_once_may_be_asked_for_again() {
        let wakes = StartRequests::new();
        let user = |number: usize| format!("user-{number}").parse::<UserId>().unwrap();
        for number in 0..AT_ONCE {
            assert!(wakes.ask_for(&user(number), Duration::ZERO));
        }
        assert!(!wakes.ask_for(&ann(), Duration::ZERO));
        let mut asked = wakes.asked.lock().await;
        asked.recv().await.unwrap();
        assert!(wakes.ask_for(&ann(), Duration::ZERO), "it was never begun");
    }
}
