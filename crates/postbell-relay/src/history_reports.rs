//! Reports delivered history ids to the directory, those of one second together.

use std::collections::HashMap;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::{HistoryId, UserId};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::DirectoryCache;

/// The pause between two rounds of reports. A mailbox is reported once per round.
const PAUSE: Duration = Duration::from_secs(1);

/// How many reports are sent at once.
const MAX_CONCURRENT: usize = 16;

/// Of how many mailboxes a report may wait. Further ones are dropped: the next mail makes up for them.
const CAPACITY: usize = 65_536;

/// The history ids that were delivered and are to be reported: of each user the greatest.
#[derive(Default)]
pub(crate) struct HistoryReports {
    waiting: Mutex<HashMap<UserId, HistoryId>>,
    added: Notify,
}

impl HistoryReports {
    pub(crate) fn add(&self, user: &UserId, history_id: HistoryId) {
        // A test notification of a mailbox without any history: it has no position to report.
        if history_id == HistoryId::default() {
            return;
        }
        let mut waiting = self.waiting.lock();
        if let Some(waiting) = waiting.get_mut(user) {
            *waiting = history_id.max(*waiting);
        } else if waiting.len() < CAPACITY {
            waiting.insert(user.clone(), history_id);
        }
        drop(waiting);
        self.added.notify_one();
    }

    /// Reports until `stop` is cancelled, and then what remains.
    pub(crate) async fn run(&self, directory: Arc<DirectoryCache>, stop: CancellationToken) {
        while stop
            .run_until_cancelled(self.added.notified())
            .await
            .is_some()
        {
            self.report_all(&directory).await;
            stop.run_until_cancelled(sleep(PAUSE)).await;
        }
        self.report_all(&directory).await;
    }

    async fn report_all(&self, directory: &Arc<DirectoryCache>) {
        let waiting = take(&mut *self.waiting.lock());
        let permits = Arc::new(Semaphore::new(MAX_CONCURRENT));
        let mut reports = JoinSet::new();
        for (user, history_id) in waiting {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            let directory = Arc::clone(directory);
            reports.spawn(async move {
                report(&directory, &user, history_id).await;
                drop(permit);
            });
            while reports.try_join_next().is_some() {}
        }
        while reports.join_next().await.is_some() {}
    }
}

/// Reports a history id. A failure never repeats the delivery.
async fn report(directory: &DirectoryCache, user: &UserId, history_id: HistoryId) {
    if let Err(error) = directory.report_history_id(user, history_id).await {
        debug!(
            user.id = %user.masked(), error = &error as &dyn std::error::Error,
            "Could not report the history id of {}", user.masked()
        );
    }
}
