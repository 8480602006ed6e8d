//! Asks the machines at URLs whether they answer. A machine on Fly is not asked: the request would start it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use postbell_core::{
    Clock, InstanceStatus, Listing, MachineLocation, StoreError, Timestamp, UserRecord, Users,
    UsersError, update_user,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::controllers::Controllers;

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_secs(60);

/// The wait before a machine that did not answer is asked again: a controller that restarts is back by then.
const SECOND_TRY: Duration = Duration::from_secs(5);

/// How many machines are asked at once.
const AT_ONCE: usize = 128;

/// How many users are read at once.
const PAGE: usize = 500;

/// Records since when machines do not answer.
pub struct ContactPoll {
    /// The users' records.
    pub store: Arc<dyn Users>,
    /// Reaches the machines.
    pub controllers: Arc<dyn Controllers>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

impl ContactPoll {
    /// Asks every machine at a URL, round after round, until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let rounds = async {
            loop {
                if let Err(error) = self.round().await {
                    let error = &error as &dyn std::error::Error;
                    warn!(
                        error,
                        "Could not read the machines that are asked whether they answer"
                    );
                }
                sleep(PAUSE).await;
            }
        };
        stop.run_until_cancelled(rounds).await;
    }

    /// Asks each machine once.
    pub(crate) async fn round(&self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let listing = Listing::ByUser {
                prefix: String::new(),
                after,
            };
            let records = self.store.list(&listing, PAGE).await?;
            let is_last = records.len() < PAGE;
            after = records.last().map(|record| record.user.clone());
            let asked = records.into_iter().filter(is_asked);
            stream::iter(asked)
                .for_each_concurrent(AT_ONCE, |record| self.ask(record))
                .await;
            if is_last {
                return Ok(());
            }
        }
    }

    async fn ask(&self, record: UserRecord) {
        let asked_at = self.clock.now();
        let mut answers = self.controllers.answers(&record).await;
        if !answers && record.never_seen && record.google.is_none() {
            // The user was only added, and expects nothing yet.
            return;
        }
        if !answers && record.unreachable_since.is_none() {
            sleep(SECOND_TRY).await;
            answers = self.controllers.answers(&record).await;
        }
        let is_known = answers != record.unreachable_since.is_some();
        if is_known && !(answers && record.never_seen) {
            return;
        }
        let since = (!answers).then_some(asked_at);
        if let Err(error) = self.store_contact(&record, since).await {
            let error = &error as &dyn std::error::Error;
            warn!(
                user.id = %record.user.masked(), error,
                "Could not store whether the machine of {} answers", record.user.masked()
            );
        }
    }

    async fn store_contact(
        &self,
        asked: &UserRecord,
        since: Option<Timestamp>,
    ) -> Result<(), UsersError> {
        let user = &asked.user;
        let stored = update_user(&*self.store, user, None, &*self.clock, |record| {
            // The user may have another machine now.
            let is_same = record.location == asked.location
                && record.unreachable_since == asked.unreachable_since;
            if is_same {
                record.unreachable_since = since;
                record.never_seen &= since.is_some();
            }
            Ok::<_, UsersError>(())
        });
        stored.await?;
        if since.is_some() {
            warn!(user.id = %user.masked(), "The machine of {} does not answer", user.masked());
        } else {
            info!(user.id = %user.masked(), "The machine of {} answers", user.masked());
        }
        Ok(())
    }
}

fn is_asked(record: &UserRecord) -> bool {
    matches!(record.location, MachineLocation::Url(_)) && record.status == InstanceStatus::Running
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use parking_lot::Mutex;
    use postbell_core::{BoxError, GoogleConnection, NewUser, SandboxId, UserId};
    use postbell_testkit::{MemoryUsers, PausedClock};

    use super::*;
    use crate::controllers::Reload;

    const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    /// A machine that answers as the test says, question by question, and then always the same.
    #[derive(Default)]
    struct Scripted(Mutex<Vec<bool>>);

    #[async_trait]
    impl Controllers for Scripted {
        async fn reload(&self, _: &UserRecord) -> Result<Reload, BoxError> {
            Ok(Reload::Done)
        }

        async fn answers(&self, _: &UserRecord) -> bool {
            let mut answers = self.0.lock();
            if answers.len() > 1 {
                answers.remove(0)
            } else {
                answers[0]
            }
        }
    }

    async fn add(store: &dyn Users, name: &str, location: MachineLocation) -> UserId {
        let user: UserId = name.parse().unwrap();
        let new = NewUser {
            sandbox_id: SandboxId::from(&user),
            user: user.clone(),
            status: InstanceStatus::Running,
            location,
            wake_on_mail: false,
        };
        store.add(new, T0).await.unwrap();
        user
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_is_unreachable_since_the_first_of_two_questions_without_an_answer() {
        let store = Arc::new(MemoryUsers::default());
        let url = MachineLocation::Url("http://bot.example.com".parse().unwrap());
        let ann = add(&*store, "ann", url).await;
        let bob = add(&*store, "bob", MachineLocation::Unknown).await;
        let controllers = Arc::new(Scripted::default());
        let poll = ContactPoll {
            store: Arc::clone(&store) as _,
            controllers: Arc::clone(&controllers) as _,
            clock: Arc::new(PausedClock::starting_at(T0)),
        };
        let since = async |answers: &[bool]| {
            *controllers.0.lock() = answers.to_vec();
            poll.round().await.unwrap();
            let record = store.get(&ann).await.unwrap().unwrap();
            record.unreachable_since
        };
        let never_seen = async || store.get(&ann).await.unwrap().unwrap().never_seen;
        assert_eq!(since(&[false, false]).await, None);
        assert!(never_seen().await, "nobody has started it yet");
        let connect = |record: &mut UserRecord| {
            record.connect(GoogleConnection {
                email: None,
                push_account: None,
                connected_at: T0,
            });
            Ok::<_, UsersError>(())
        };
        update_user(&*store, &ann, None, &*poll.clock, connect)
            .await
            .unwrap();
        let waits = since(&[false, false]).await;
        assert!(
            waits.is_some() && never_seen().await,
            "mail would wait for it"
        );
        assert_eq!(since(&[true]).await, None);
        assert!(!never_seen().await, "it has answered");
        assert_eq!(since(&[false, true]).await, None, "it was restarting");
        let lost = T0 + SECOND_TRY * 2;
        assert_eq!(since(&[false, false]).await, Some(lost));
        assert_eq!(since(&[false]).await, Some(lost), "since the first time");
        assert_eq!(since(&[true]).await, None);
        assert_eq!(since(&[false]).await, Some(lost + SECOND_TRY));
        let bob = store.get(&bob).await.unwrap().unwrap();
        assert_eq!((bob.unreachable_since, bob.never_seen), (None, true));
    }
}
