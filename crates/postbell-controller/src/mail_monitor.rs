//! Whether mail gets through on this machine: what the watcher's state says, and whether the watcher runs.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::uri::PathAndQuery;
use axum::http::{Request, StatusCode};
use parking_lot::Mutex;
use postbell_core::{BoxError, Clock, MachineReport, MailProblem, ProblemCode, Timestamp};
use postbell_http::read_body;
use postbell_protocol::gog_dirs::GogDirs;
use postbell_protocol::watch_state::{StateFile, WatchState};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::endpoint::Endpoint;
use crate::loopback::Loopback;

/// The time between two reads of the watcher's state.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// How long the watcher may be down before that is a problem: a single crash or a start takes less.
const DOWN_LIMIT: Duration = Duration::from_secs(60);

/// How long the gateway may take to start. Until then, the watcher cannot reach the webhook.
const GATEWAY_START_LIMIT: Duration = Duration::from_secs(120);

/// How long a process must run until it counts as started. It may be in a crash loop.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);

/// How the watcher is asked whether mail gets through.
const READY: &str = "/ready";
const READY_TIMEOUT: Duration = Duration::from_secs(1);
const READY_LIMIT: usize = 1024;

const WATCHER_DOWN: &str = "the watcher does not run: the controller's log has the reason";
const WATCH_EXPIRED: &str = "Gmail's watch on the mailbox has ended";

/// The known state of the mailbox's mail.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct MailReport {
    pub(crate) news: MachineReport,
    /// The problem in a sentence; empty if there is none.
    pub(crate) detail: String,
}

/// Where the state of the account's watcher is.
#[derive(Clone)]
pub(crate) struct WatchStateFile {
    pub(crate) gog_dirs: GogDirs,
    pub(crate) account: String,
}

/// Observes the mail of this machine. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MailMonitor(Arc<Observed>);

struct Observed {
    /// `None` if no account is connected, or its settings are invalid.
    file: Option<WatchStateFile>,
    /// `None` if no account is connected.
    watcher: Option<Endpoint>,
    /// The watcher, if it can be asked: `gog` cannot.
    answers: Option<Loopback>,
    gateway: Option<Endpoint>,
    clock: Arc<dyn Clock>,
    seen: Mutex<Seen>,
    /// The state that was read last.
    state: Mutex<WatchState>,
    report: watch::Sender<MailReport>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    watcher: Downtime,
    gateway: Downtime,
    /// The state could not be read, which was logged.
    is_unreadable: bool,
    /// The watcher's last answer that it cannot write its state, which is thus not in the state.
    unwritable: Option<MailProblem>,
}

impl MailMonitor {
    pub(crate) fn new(
        file: Option<WatchStateFile>,
        watcher: Option<Endpoint>,
        answers: Option<Loopback>,
        gateway: Option<Endpoint>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Observed {
            file,
            watcher,
            answers,
            gateway,
            clock,
            seen: Mutex::default(),
            state: Mutex::default(),
            report: watch::Sender::default(),
        }))
    }

    /// Keeps the report up to date until `stop` is cancelled.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let observing = async {
            loop {
                self.refresh().await;
                sleep(POLL_INTERVAL).await;
            }
        };
        stop.run_until_cancelled(observing).await;
    }

    /// Returns the last report.
    pub(crate) fn report(&self) -> MailReport {
        self.0.report.borrow().clone()
    }

    /// Waits until the last report fulfils the condition.
    pub(crate) async fn wait_for(&self, condition: impl FnMut(&MailReport) -> bool) {
        // The sender lives as long as `self`.
        let _ = self.0.report.subscribe().wait_for(condition).await;
    }

    /// Makes a new report.
    pub(crate) async fn refresh(&self) -> MailReport {
        let now = self.0.clock.now();
        let state = self.read_state().await;
        self.ask_watcher().await;
        let report = report(&state, self.observe_processes(now), now);
        self.0.report.send_if_modified(|last| {
            let is_new = *last != report;
            if is_new {
                last.clone_from(&report);
            }
            is_new
        });
        report
    }

    /// Reads the watcher's state. After an error, which is logged once, it is the state that was read
    /// last: an empty one would say that the problem is over.
    async fn read_state(&self) -> WatchState {
        let Some(file) = self.0.file.clone() else {
            return WatchState::default();
        };
        let WatchStateFile { gog_dirs, account } = file;
        let read = move || StateFile::peek(&gog_dirs.watch_state(&account), &account);
        let error: Box<dyn Error> = match spawn_blocking(read).await {
            Ok(Ok(state)) => {
                self.0.seen.lock().is_unreadable = false;
                let state = state.unwrap_or_default();
                self.0.state.lock().clone_from(&state);
                return state;
            }
            Ok(Err(error)) => error.into(),
            Err(panic) => panic.into(),
        };
        let was_unreadable = {
            let mut last = self.0.seen.lock();
            std::mem::replace(&mut last.is_unreadable, true)
        };
        if !was_unreadable {
            warn!(error = &*error, "Could not read the watcher's state");
        }
        self.0.state.lock().clone()
    }

    /// Asks the watcher whether it can write its state. Without an answer, the last one counts.
    async fn ask_watcher(&self) {
        let Some(watcher) = self.running_watcher() else {
            return;
        };
        match timeout(READY_TIMEOUT, problem_of(watcher)).await {
            Ok(Ok(problem)) => {
                let is_unwritable =
                    |problem: &MailProblem| problem.code == ProblemCode::StateUnwritable;
                self.0.seen.lock().unwritable = problem.filter(is_unwritable);
            }
            Ok(Err(error)) => debug!(error = &*error as &dyn Error, "The watcher gave no answer"),
            Err(_) => debug!("The watcher gave no answer in time"),
        }
    }

    /// Returns the watcher, if it runs and answers questions.
    pub(crate) fn running_watcher(&self) -> Option<&Loopback> {
        let is_ready = self.0.watcher.as_ref().is_some_and(Endpoint::is_ready);
        self.0.answers.as_ref().filter(|_| is_ready)
    }

    fn observe_processes(&self, now: Timestamp) -> Seen {
        let uptime = |endpoint: &Option<Endpoint>| endpoint.as_ref()?.uptime(&*self.0.clock);
        let mut seen = self.0.seen.lock();
        if self.0.watcher.is_some() {
            seen.watcher.observe(uptime(&self.0.watcher), now);
        }
        if self.0.gateway.is_some() {
            seen.gateway.observe(uptime(&self.0.gateway), now);
        }
        *seen
    }
}

/// Returns the problem in the watcher's answer, if it has one.
async fn problem_of(watcher: &Loopback) -> Result<Option<MailProblem>, BoxError> {
    let uri = watcher.uri(PathAndQuery::from_static(READY));
    let response = watcher.send(Request::get(uri).body(Body::empty())?).await?;
    let has_problem = response.status() == StatusCode::SERVICE_UNAVAILABLE;
    let body = read_body(Body::new(response.into_body()), READY_LIMIT).await?;
    if has_problem {
        Ok(Some(serde_json::from_slice(&body)?))
    } else {
        Ok(None)
    }
}

/// Since when a process is down or keeps exiting.
#[derive(Clone, Copy, Default)]
struct Downtime(Option<Timestamp>);

impl Downtime {
    fn observe(&mut self, uptime: Option<Duration>, now: Timestamp) {
        if uptime.is_none() {
            self.0.get_or_insert(now);
        } else if uptime >= Some(HEALTHY_AFTER) {
            self.0 = None;
        }
    }
}

/// Combines what the watcher has written with what the controller sees. The watcher's own reason is the more
/// exact one; while it does not run, its last one may be why. A webhook that fails while the gateway starts is
/// no problem: the check-in after the start has the mail delivered.
fn report(state: &WatchState, seen: Seen, now: Timestamp) -> MailReport {
    let expires_at = state.expires_at();
    let gateway = seen.gateway.0;
    let is_starting = gateway.is_some_and(|since| since + GATEWAY_START_LIMIT > now);
    let is_problem =
        |problem: &MailProblem| !is_starting || problem.code != ProblemCode::WebhookFailing;
    let down = seen.watcher.0.filter(|since| *since + DOWN_LIMIT <= now);
    // Postbell's watcher reports it, gog does not.
    let expired = expires_at.filter(|expires_at| *expires_at <= now);
    let of = |code, since| MailProblem { code, since };
    let written = state.mail_problem().filter(is_problem);
    let found = seen
        .unwritable
        .map(|problem| (problem, problem.code.summary()))
        .or_else(|| Some((written?, &*state.problem)))
        .or_else(|| Some((of(ProblemCode::Unknown, down?), WATCHER_DOWN)))
        .or_else(|| Some((of(ProblemCode::WatchExpired, expired?), WATCH_EXPIRED)));
    let (problem, detail) = found.unzip();
    MailReport {
        news: MachineReport {
            watch_expires_at: expires_at,
            problem,
            dead_letters: state.dead_letters.len() as u64,
        },
        detail: detail.unwrap_or_default().to_owned(),
    }
}

impl MailReport {
    /// Returns the problem as JSON, `null` if there is none.
    pub(crate) fn problem_json(&self) -> Value {
        let problem = self.news.problem.map(|problem| {
            let MailProblem { code, since } = problem;
            json!({ "code": code, "since": since, "detail": self.detail })
        });
        problem.into()
    }
}

#[cfg(test)]
mod tests {
    use postbell_testkit::PausedClock;
    use tokio::time::{Instant, sleep_until};

    use super::*;
    use crate::supervisor::{ChildState, RunningProcess};

    const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn seconds(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    /// The watcher is down since the start.
    fn watcher_down() -> Seen {
        Seen {
            watcher: Downtime(Some(START)),
            ..Seen::default()
        }
    }

    #[test]
    fn a_webhook_that_fails_while_the_gateway_starts_is_no_problem() {
        let state = |code: &str| WatchState {
            problem: "in a sentence".to_owned(),
            problem_code: code.to_owned(),
            ..WatchState::default()
        };
        let starting = Seen {
            gateway: Downtime(Some(START)),
            ..Seen::default()
        };
        let code = |state: &WatchState, seen, now| {
            let problem = report(state, seen, seconds(now)).news.problem;
            problem.map(|problem| problem.code)
        };
        let failing = state("webhook_failing");
        assert_eq!(code(&failing, starting, 119), None);
        assert_eq!(
            code(&failing, starting, 120),
            Some(ProblemCode::WebhookFailing)
        );
        assert_eq!(
            code(&failing, Seen::default(), 1),
            Some(ProblemCode::WebhookFailing)
        );
        assert_eq!(
            code(&state("webhook_gone"), starting, 1),
            Some(ProblemCode::WebhookGone)
        );
    }

    #[test]
    fn a_process_is_down_until_it_has_run_for_a_while() {
        let mut downtime = Downtime::default();
        let mut observe = |uptime: Option<u64>, now| {
            downtime.observe(uptime.map(Duration::from_secs), seconds(now));
            downtime.0
        };
        assert_eq!(observe(None, 1), Some(seconds(1)));
        assert_eq!(observe(None, 5), Some(seconds(1)));
        assert_eq!(observe(Some(29), 40), Some(seconds(1)));
        assert_eq!(observe(Some(30), 41), None);
        assert_eq!(observe(Some(0), 90), None, "it was not seen to be down");
    }

    #[test]
    fn the_watchers_own_reason_comes_first() {
        let state = WatchState {
            problem: "in a sentence".to_owned(),
            problem_code: "grant_revoked".to_owned(),
            problem_since_ms: seconds(1).as_millis(),
            expiration_ms: seconds(10).as_millis(),
            ..WatchState::default()
        };
        let made = report(&state, watcher_down(), seconds(5_000));
        let expected = json!({ "code": "grant_revoked", "since": 1_790_000_001_000_i64, "detail": "in a sentence" });
        assert_eq!(made.problem_json(), expected);
        assert_eq!(MailReport::default().problem_json(), Value::Null);
    }

    #[test]
    fn an_expired_watch_is_a_problem_even_if_the_watcher_does_not_say_so() {
        let state = WatchState {
            expiration_ms: seconds(10).as_millis(),
            ..WatchState::default()
        };
        assert_eq!(
            report(&state, Seen::default(), seconds(9)).news.problem,
            None
        );
        let problem = report(&state, Seen::default(), seconds(10))
            .news
            .problem
            .unwrap();
        assert_eq!(
            (problem.code, problem.since),
            (ProblemCode::WatchExpired, seconds(10))
        );
    }

    #[test]
    fn a_watcher_that_is_down_for_a_minute_is_a_problem() {
        let state = WatchState::default();
        assert_eq!(
            report(&state, watcher_down(), seconds(59)).news.problem,
            None
        );
        let problem = report(&state, watcher_down(), seconds(60))
            .news
            .problem
            .unwrap();
        assert_eq!((problem.code, problem.since), (ProblemCode::Unknown, START));
    }

    #[tokio::test]
    async fn a_state_that_cannot_be_read_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let variable = |name: &str| home.path().to_str().filter(|_| name == "HOME");
        let gog_dirs = GogDirs::from_variables(variable).unwrap();
        let account = "ann@example.com".to_owned();
        let folder = gog_dirs.watch_state(&account);
        let file = StateFile::open(&folder, &account).unwrap();
        let state = WatchState {
            problem: "in a sentence".to_owned(),
            problem_code: "grant_revoked".to_owned(),
            expiration_ms: seconds(10).as_millis(),
            ..WatchState::default()
        };
        file.write_without_sync(&state).unwrap();
        let observed = WatchStateFile { gog_dirs, account };
        let clock = Arc::new(PausedClock::starting_at(START));
        let monitor = MailMonitor::new(Some(observed.clone()), None, None, None, clock);
        let before = monitor.refresh().await;
        assert!(before.news.problem.is_some() && before.news.watch_expires_at.is_some());
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                std::fs::write(path, "{").unwrap();
            }
        }
        let error = StateFile::peek(&folder, &observed.account);
        assert!(error.is_err());
        assert_eq!(monitor.refresh().await, before);
    }

    /// Runs a watcher with these starts and exits, in seconds, and returns from when to when its being down was
    /// a problem.
    async fn problems(events: &[(u64, bool)], end: u64) -> Vec<(u64, bool)> {
        let begun = Instant::now();
        let (endpoint, set) = Endpoint::for_test();
        let clock = Arc::new(PausedClock::starting_at(START));
        let monitor = MailMonitor::new(None, Some(endpoint), None, None, clock);
        let stop = CancellationToken::new();
        let at = |second| begun + Duration::from_secs(second);
        let driving = async {
            for (second, runs) in events {
                sleep_until(at(*second)).await;
                let since = Duration::from_secs(*second);
                let process = RunningProcess { pid: 1, since };
                set(if *runs {
                    ChildState::Running(process)
                } else {
                    ChildState::Crashed
                });
            }
            sleep_until(at(end)).await;
            stop.cancel();
        };
        let mut seen = Vec::new();
        let watching = async {
            let mut has_problem = false;
            loop {
                monitor
                    .wait_for(|report| report.news.problem.is_some() != has_problem)
                    .await;
                has_problem = !has_problem;
                seen.push((begun.elapsed().as_secs(), has_problem));
            }
        };
        tokio::select! {
            _ = futures_util::future::join(monitor.clone().run(stop.clone()), driving) => {}
            () = watching => {}
        }
        seen
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_and_a_single_crash_are_no_problem() {
        let events = [(2, true), (500, false), (501, true)];
        assert_eq!(problems(&events, 1_000).await, []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crash_loop_is_one_problem_until_the_watcher_stays() {
        let mut events = Vec::new();
        for round in 0..10 {
            events.extend([(round * 20, true), (round * 20 + 2, false)]);
        }
        events.push((300, true));
        assert_eq!(problems(&events, 1_000).await, [(60, true), (330, false)]);
    }
}
