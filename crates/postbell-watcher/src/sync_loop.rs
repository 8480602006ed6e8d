//! The loop that owns all syncs of a mailbox: it decides when to sync, and answers those who wait.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Backoff, Clock, HistoryId, wait_for};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span, warn};

use crate::delivery::Progress;
use crate::error::SyncError;
use crate::failing::unproven;
use crate::settings::{SyncTimes, WatcherSettings};
use crate::sync::{OnEmpty, SyncEngine, SyncOutcome, SyncRequest};
use postbell_protocol::watch_state::Stage;

/// How many notifications share one sync.
const MOST_AT_ONCE: usize = 1_024;

/// How long a sync may go on after a stop was requested. What it was about to do is repeated by the
/// next process, under the same idempotency key.
const GRACE: Duration = Duration::from_secs(5);

/// The longest wait that a `Retry-After` can cause.
const LONGEST_HOLD: Duration = Duration::from_secs(60 * 60);

/// When the next syncs begin, by the clock's elapsed time: mail that arrived while the machine slept is read once it is
/// awake.
struct Schedule {
    times: SyncTimes,
    jitter: fn() -> f64,
    backoff: Backoff,
    /// The next poll.
    poll_at: Duration,
    /// The next attempt after a failure.
    retry_at: Option<Duration>,
    /// Another look after a notified sync that found nothing.
    again_at: Option<Duration>,
    /// The next attempt of a deferred message.
    due_at: Option<Duration>,
    /// Until when the webhook or Gmail wants no request, and the failure that said so.
    held: Option<(Duration, Arc<SyncError>)>,
}

/// Syncs until `stop`. Requests that still wait then, and later ones, are answered with
/// [`NotSynced::Stopped`](crate::NotSynced::Stopped).
pub(crate) async fn sync_until_stopped(engine: &SyncEngine, stop: &CancellationToken) {
    let mut waiting = engine.signals.waiting.lock().await;
    sync_requests(engine, &mut waiting, stop).await;
    waiting.close();
    while waiting.recv().await.is_some() {}
}

async fn sync_requests(
    engine: &SyncEngine,
    waiting: &mut mpsc::Receiver<SyncRequest>,
    stop: &CancellationToken,
) {
    let clock = &*engine.clock;
    let mut schedule = Schedule::new(&engine.settings, clock.elapsed());
    loop {
        let mut requests = Vec::new();
        let on_empty = tokio::select! {
            () = stop.cancelled() => return,
            Some(first) = waiting.recv() => {
                requests.push(first);
                take_waiting(waiting, &mut requests);
                OnEmpty::Hold
            }
            () = engine.signals.sync_again.notified() => OnEmpty::Advance,
            () = schedule.until_next(clock) => OnEmpty::Advance,
        };
        if on_empty == OnEmpty::Hold {
            requests = open_requests(engine, &schedule, requests).await;
            if requests.is_empty() {
                continue;
            }
        }
        let mut progress = Progress::default();
        let span = engine
            .trace
            .begin(requests.iter().find_map(|one| one.trace));
        let of_trace = info_span!("sync", trace.id = %span.context.trace);
        let syncing = engine
            .sync(on_empty, &mut progress)
            .instrument(of_trace.clone());
        let synced = tokio::select! {
            synced = syncing => synced.map_err(Arc::new),
            () = stopped_for(stop, GRACE) => return,
        };
        let error = synced.as_ref().err().map(AsRef::as_ref);
        engine.trace.end(span, progress, error);
        of_trace.in_scope(|| {
            schedule.after(
                &synced,
                progress,
                on_empty,
                &engine.settings,
                clock.elapsed(),
            )
        });
        schedule.due_at = due_at(engine).await;
        for request in requests {
            // A request that went away needs no answer.
            let _ = request.answer.send(synced.clone());
        }
    }
}

fn take_waiting(waiting: &mut mpsc::Receiver<SyncRequest>, requests: &mut Vec<SyncRequest>) {
    while requests.len() < MOST_AT_ONCE
        && let Ok(next) = waiting.try_recv()
    {
        requests.push(next);
    }
}

/// Answers the notifications that need no sync, and returns the others.
async fn open_requests(
    engine: &SyncEngine,
    schedule: &Schedule,
    requests: Vec<SyncRequest>,
) -> Vec<SyncRequest> {
    if let Some(error) = schedule.held(engine.clock.elapsed()) {
        answer_all(requests, &error);
        return Vec::new();
    }
    let cursor = match cursor(engine, &requests).await {
        Ok(cursor) => cursor,
        Err(error) => {
            answer_all(requests, &Arc::new(error));
            return Vec::new();
        }
    };
    let mut open = Vec::new();
    for request in requests {
        let notified = request.notified;
        if cursor.is_some_and(|cursor| notified < cursor) {
            info!(%notified, "The cursor is already past this notification");
            let _ = request.answer.send(Ok(SyncOutcome::NothingNew));
        } else {
            open.push(request);
        }
    }
    open
}

fn answer_all(requests: Vec<SyncRequest>, error: &Arc<SyncError>) {
    for request in requests {
        let _ = request.answer.send(Err(Arc::clone(error)));
    }
}

/// The cursor below which a notification needs no sync; `None` if each does. The first notification
/// becomes the cursor, durably: Gmail lists the changes after a history id, and the notified one must
/// be among them.
async fn cursor(
    engine: &SyncEngine,
    requests: &[SyncRequest],
) -> Result<Option<HistoryId>, SyncError> {
    let mut state = engine.state.lock().await;
    // The sync that follows stores it.
    state.last_notified_at_ms = engine.now().as_millis();
    if state.history_id.is_none() {
        let first = requests.iter().map(|request| request.notified).min();
        let before = first.map(|first| HistoryId::new(first.get().saturating_sub(1)));
        state.history_id = before;
        if let Err(error) = state.save().await {
            state.history_id = None;
            return Err(error.into());
        }
    }
    let all_pass = unproven(&state, Stage::Webhook) + unproven(&state, Stage::Gmail) == 0;
    Ok(state.history_id.filter(|_| all_pass))
}

/// When the next deferred message is due.
async fn due_at(engine: &SyncEngine) -> Option<Duration> {
    let state = engine.state.lock().await;
    let retries = engine.settings.retries;
    let due_in = retries.due_in(&state, engine.clock.now())?;
    // A due message that was not tried, because the sync failed, must not cause a loop.
    Some(engine.clock.elapsed() + due_in.max(retries.least_wait))
}

async fn stopped_for(stop: &CancellationToken, grace: Duration) {
    stop.cancelled().await;
    sleep(grace).await;
}

impl Schedule {
    fn new(settings: &WatcherSettings, now: Duration) -> Self {
        let times = settings.times;
        Self {
            times,
            jitter: settings.jitter,
            backoff: Backoff::new(times.first_wait, times.longest_wait),
            poll_at: now,
            retry_at: None,
            again_at: None,
            due_at: None,
            held: None,
        }
    }

    /// When the next sync without a notification begins.
    fn next(&self) -> Duration {
        if let Some(retry_at) = self.retry_at {
            return retry_at;
        }
        let others = [self.again_at, self.due_at].into_iter().flatten();
        others.fold(self.poll_at, Duration::min)
    }

    async fn until_next(&self, clock: &dyn Clock) {
        wait_for(clock, self.next().saturating_sub(clock.elapsed())).await;
    }

    /// The failure that asked for a pause, while that lasts.
    fn held(&self, now: Duration) -> Option<Arc<SyncError>> {
        let (until, error) = self.held.as_ref()?;
        (*until > now).then(|| Arc::clone(error))
    }

    fn after(
        &mut self,
        synced: &Result<SyncOutcome, Arc<SyncError>>,
        progress: Progress,
        on_empty: OnEmpty,
        settings: &WatcherSettings,
        now: Duration,
    ) {
        (self.retry_at, self.again_at, self.held) = (None, None, None);
        match synced {
            Ok(outcome) => {
                self.backoff.reset();
                self.poll_at = now + self.times.poll;
                if *outcome == SyncOutcome::NothingNew && on_empty == OnEmpty::Hold {
                    self.again_at = Some(now + settings.fetch_delay);
                }
            }
            Err(error) => {
                if progress.delivered + progress.deferred > 0 {
                    self.backoff.reset();
                }
                let wait = self.backoff.next_jittered((self.jitter)());
                let asked = error.retry_after().map(|asked| asked.min(LONGEST_HOLD));
                self.held = asked.map(|asked| (now + asked, Arc::clone(error)));
                let wait = wait.max(asked.unwrap_or_default());
                self.retry_at = Some(now + wait);
                let error = error.as_ref() as &dyn std::error::Error;
                warn!(error, ?wait, "Could not sync; retrying");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use postbell_core::Timestamp;
    use postbell_testkit::PausedClock;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn polls_retries_and_pauses_become_due_while_the_machine_sleeps() {
        const HOUR: Duration = Duration::from_secs(3_600);
        let push_auth = crate::PushAuth::with_token("token".into());
        let settings = WatcherSettings::new("ann@example.com".to_owned(), push_auth);
        let waits: [fn(&mut Schedule); 3] = [
            |polls| polls.poll_at = HOUR,
            |retries| retries.retry_at = Some(HOUR),
            |defers| (defers.poll_at, defers.due_at) = (2 * HOUR, Some(HOUR)),
        ];
        for wait in waits {
            let mut schedule = Schedule::new(&settings, Duration::ZERO);
            wait(&mut schedule);
            let clock = PausedClock::starting_at(Timestamp::default());
            let mut next = Box::pin(schedule.until_next(&clock));
            assert!(next.as_mut().now_or_never().is_none());
            clock.sleep(HOUR);
            let awoken = Instant::now();
            next.await;
            assert!(awoken.elapsed() <= Duration::from_secs(15));
        }
    }
}
