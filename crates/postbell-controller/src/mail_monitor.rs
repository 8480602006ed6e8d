//! Whether mail gets through on this machine: what the watcher's state says, and whether the watcher runs.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::uri::PathAndQuery;
use axum::http::{Request, StatusCode};
use parking_lot::Mutex;
use postbell_core::{
    AccountReport, BoxError, Clock, MachineReport, MailProblem, ProblemCode, Timestamp,
};
use postbell_http::read_body;
use postbell_protocol::watch_state::{StateError, StateFile, WatchState};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::endpoint::Endpoint;
use crate::loopback::Loopback;
use crate::mail_settings::{AccountSettings, FIRST};
use crate::watched_mailbox::{WatchStateFile, WatchedMailbox};

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
const READY_LIMIT: usize = 16 * 1024;

const WATCHER_DOWN: &str = "the watcher does not run: the controller's log has the reason";
const WATCH_EXPIRED: &str = "Gmail's watch on the mailbox has ended";

/// The known state of the mail of all accounts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct MailReport {
    /// The first account, or the mailboxes of the watcher's own configuration.
    pub(crate) first: MailboxMail,
    pub(crate) further: Vec<FurtherMail>,
}

/// The known state of a mailbox's mail.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct MailboxMail {
    pub(crate) news: MachineReport,
    /// The problem in a sentence; empty if there is none.
    pub(crate) detail: String,
}

/// The known state of the mail of a further account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct FurtherMail {
    /// Its name in the metrics.
    pub(crate) name: String,
    pub(crate) account: String,
    pub(crate) mail: MailboxMail,
}

/// The report to the platform.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct News {
    pub(crate) first: MachineReport,
    pub(crate) further: Vec<AccountReport>,
}

/// Observes the mail of this machine. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MailMonitor(Arc<Observed>);

struct Observed {
    mailbox: WatchedMailbox,
    /// `None` if there is no watcher.
    watcher: Option<Endpoint>,
    /// The watcher, if it can be asked: `gog` cannot.
    answers: Option<Loopback>,
    gateway: Option<Endpoint>,
    clock: Arc<dyn Clock>,
    seen: Mutex<Seen>,
    /// The watcher's last answer that it cannot write a state, which is thus not in the state.
    unwritable: Mutex<Vec<Unwritable>>,
    /// The accounts that are not watched, because their credentials could not be installed.
    uninstalled: Mutex<Vec<Uninstalled>>,
    /// The states that were read last, one for each mailbox.
    states: Mutex<Vec<ReadState>>,
    report: watch::Sender<MailReport>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    watcher: Downtime,
    gateway: Downtime,
    /// A state could not be read, which was logged.
    is_unreadable: bool,
}

/// A state that the watcher cannot write.
struct Unwritable {
    /// The name of its account, if the watcher names one.
    name: Option<String>,
    problem: MailProblem,
}

/// An account whose credentials could not be installed.
struct Uninstalled {
    name: String,
    account: String,
    since: Timestamp,
}

/// The state of a mailbox.
#[derive(Clone)]
struct ReadState {
    name: String,
    account: String,
    state: WatchState,
}

impl MailMonitor {
    pub(crate) fn new(
        mailbox: WatchedMailbox,
        watcher: Option<Endpoint>,
        answers: Option<Loopback>,
        gateway: Option<Endpoint>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Observed {
            mailbox,
            watcher,
            answers,
            gateway,
            clock,
            seen: Mutex::default(),
            unwritable: Mutex::default(),
            uninstalled: Mutex::default(),
            states: Mutex::default(),
            report: watch::Sender::default(),
        }))
    }

    /// Forgets what is known of the mailbox, because another one, or none, is watched.
    pub(crate) fn forget(&self) {
        self.0.seen.lock().watcher = Downtime::default();
        self.0.unwritable.lock().clear();
        self.0.states.lock().clear();
    }

    /// Reports these accounts, which are not watched, because their credentials could not be installed, and no others.
    pub(crate) fn set_uninstalled<'a>(&self, accounts: impl Iterator<Item = &'a AccountSettings>) {
        let now = self.0.clock.now();
        let mut uninstalled = self.0.uninstalled.lock();
        let since = |account: &str| {
            let known = uninstalled.iter().find(|it| it.account == account);
            known.map_or(now, |it| it.since)
        };
        let accounts = accounts.map(|it| Uninstalled {
            name: it.name.clone(),
            account: it.gmail.account.clone(),
            since: since(&it.gmail.account),
        });
        *uninstalled = accounts.collect();
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
        let states = self.read_states().await;
        self.ask_watcher().await;
        let report = self.combine(&states, self.observe_processes(now), now);
        self.0.report.send_if_modified(|last| {
            let is_new = *last != report;
            if is_new {
                last.clone_from(&report);
            }
            is_new
        });
        report
    }

    /// Combines what is known of each account.
    fn combine(&self, states: &[ReadState], seen: Seen, now: Timestamp) -> MailReport {
        let unwritable = self.0.unwritable.lock();
        let uninstalled = self.0.uninstalled.lock();
        let mut names = states.iter().map(|it| &*it.name);
        let has_further =
            names.any(|name| name != FIRST) || uninstalled.iter().any(|it| it.name != FIRST);
        let of = |name: &str| {
            let states = states.iter().filter(|it| it.name == name);
            let states: Vec<_> = states.map(|it| it.state.clone()).collect();
            let mut unwritable = unwritable.iter();
            let is_its = |it: &&Unwritable| {
                !has_further || it.name.as_deref().is_none_or(|of_other| of_other == name)
            };
            let unwritable = unwritable.find(is_its).map(|it| it.problem);
            report(&states, unwritable, seen, now)
        };
        let is_first_watched = states.iter().any(|it| it.name == FIRST);
        let further = states.iter().filter(|it| it.name != FIRST);
        let further = further.map(|it| FurtherMail {
            name: it.name.clone(),
            account: it.account.clone(),
            mail: of(&it.name),
        });
        let further_uninstalled = uninstalled.iter().filter(|it| it.name != FIRST);
        let further_uninstalled = further_uninstalled.map(|it| FurtherMail {
            name: it.name.clone(),
            account: it.account.clone(),
            mail: it.mail(),
        });
        let first_uninstalled = uninstalled.iter().find(|it| it.name == FIRST);
        MailReport {
            first: match first_uninstalled {
                Some(it) => it.mail(),
                None if is_first_watched || !has_further => of(FIRST),
                None => MailboxMail::default(),
            },
            further: further.chain(further_uninstalled).collect(),
        }
    }

    /// Reads the watcher's states. In place of one that cannot be read, which is logged once, is the one that was read
    /// last: an empty one would say that a problem is over.
    async fn read_states(&self) -> Vec<ReadState> {
        let files = self.0.mailbox.state_files();
        if files.is_empty() {
            return Vec::new();
        }
        let last = self.0.states.lock().clone();
        let read = move || {
            let mut first_error = None;
            let states = files.into_iter().map(|file| {
                let state = read_state(&file).unwrap_or_else(|error| {
                    first_error.get_or_insert(error);
                    let last = last.iter().find(|last| last.account == file.account);
                    last.map(|last| last.state.clone()).unwrap_or_default()
                });
                ReadState {
                    name: file.name,
                    account: file.account,
                    state,
                }
            });
            (states.collect::<Vec<_>>(), first_error)
        };
        let (states, error) = match spawn_blocking(read).await {
            Ok((states, error)) => (states, error.map(BoxError::from)),
            Err(panic) => (self.0.states.lock().clone(), Some(panic.into())),
        };
        let is_unreadable = error.is_some();
        let was_unreadable = {
            let mut seen = self.0.seen.lock();
            std::mem::replace(&mut seen.is_unreadable, is_unreadable)
        };
        if let Some(error) = error.filter(|_| !was_unreadable) {
            let error: &dyn Error = &*error;
            warn!(error, "Could not read the watcher's state");
        }
        self.0.states.lock().clone_from(&states);
        states
    }

    /// Asks the watcher whether it can write its state. Without an answer, the last one counts.
    async fn ask_watcher(&self) {
        let Some(watcher) = self.running_watcher() else {
            return;
        };
        match timeout(READY_TIMEOUT, problems_of(watcher)).await {
            Ok(Ok(problems)) => {
                let unwritable = problems.into_iter();
                let unwritable =
                    unwritable.filter(|it| it.problem.code == ProblemCode::StateUnwritable);
                *self.0.unwritable.lock() = unwritable.collect();
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
        if self.0.watcher.is_some() && self.0.mailbox.is_expected() {
            seen.watcher.observe(uptime(&self.0.watcher), now);
        }
        if self.0.gateway.is_some() {
            seen.gateway.observe(uptime(&self.0.gateway), now);
        }
        *seen
    }
}

fn read_state(file: &WatchStateFile) -> Result<WatchState, StateError> {
    let WatchStateFile {
        gog_dirs, account, ..
    } = file;
    let state = StateFile::peek(&gog_dirs.watch_state(account), account)?;
    Ok(state.unwrap_or_default())
}

impl Uninstalled {
    fn mail(&self) -> MailboxMail {
        const CODE: ProblemCode = ProblemCode::CredentialsUnreadable;
        MailboxMail {
            news: MachineReport {
                problem: Some(MailProblem {
                    code: CODE,
                    since: self.since,
                }),
                ..MachineReport::default()
            },
            detail: CODE.summary().to_owned(),
        }
    }
}

/// Returns the problems in the watcher's answer.
async fn problems_of(watcher: &Loopback) -> Result<Vec<Unwritable>, BoxError> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(flatten)]
        first: MailProblem,
        #[serde(default)]
        problems: Vec<Named>,
    }
    #[derive(Deserialize)]
    struct Named {
        mailbox: String,
        #[serde(flatten)]
        problem: MailProblem,
    }
    let uri = watcher.uri(PathAndQuery::from_static(READY));
    let response = watcher.send(Request::get(uri).body(Body::empty())?).await?;
    let has_problem = response.status() == StatusCode::SERVICE_UNAVAILABLE;
    let body = read_body(Body::new(response.into_body()), READY_LIMIT).await?;
    if !has_problem {
        return Ok(Vec::new());
    }
    let Answer { first, problems } = serde_json::from_slice(&body)?;
    if problems.is_empty() {
        return Ok(vec![Unwritable {
            name: None,
            problem: first,
        }]);
    }
    let named = problems.into_iter().map(|it| Unwritable {
        name: Some(it.mailbox),
        problem: it.problem,
    });
    Ok(named.collect())
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
fn report(
    states: &[WatchState],
    unwritable: Option<MailProblem>,
    seen: Seen,
    now: Timestamp,
) -> MailboxMail {
    let gateway = seen.gateway.0;
    let is_starting = gateway.is_some_and(|since| since + GATEWAY_START_LIMIT > now);
    let is_problem =
        |problem: &MailProblem| !is_starting || problem.code != ProblemCode::WebhookFailing;
    let down = seen.watcher.0.filter(|since| *since + DOWN_LIMIT <= now);
    let of = |code, since| MailProblem { code, since };
    let mut written = states.iter().filter_map(|state| {
        let problem = state.mail_problem().filter(is_problem)?;
        Some((problem, named(state, &state.problem, states)))
    });
    // Postbell's watcher reports it, gog does not.
    let mut expired = states.iter().filter_map(|state| {
        let expired = state.expires_at().filter(|expires_at| *expires_at <= now)?;
        let problem = of(ProblemCode::WatchExpired, expired);
        Some((problem, named(state, WATCH_EXPIRED, states)))
    });
    let summary = |problem: MailProblem| (problem, problem.code.summary().to_owned());
    let found = unwritable
        .map(summary)
        .or_else(|| written.next())
        .or_else(|| Some((of(ProblemCode::Unknown, down?), WATCHER_DOWN.to_owned())))
        .or_else(|| expired.next());
    let (problem, detail) = found.unzip();
    MailboxMail {
        news: MachineReport {
            watch_expires_at: states.iter().filter_map(WatchState::expires_at).min(),
            problem,
            dead_letters: states.iter().map(|it| it.dead_letters.len() as u64).sum(),
        },
        detail: detail.unwrap_or_default(),
    }
}

/// Adds the mailbox to a sentence if there are several.
fn named(state: &WatchState, text: &str, states: &[WatchState]) -> String {
    if states.len() > 1 {
        format!("{}: {text}", state.account)
    } else {
        text.to_owned()
    }
}

impl MailboxMail {
    /// Returns the problem as JSON, `null` if there is none.
    pub(crate) fn problem_json(&self) -> Value {
        let problem = self.news.problem.map(|problem| {
            let MailProblem { code, since } = problem;
            json!({ "code": code, "since": since, "detail": self.detail })
        });
        problem.into()
    }
}

impl MailReport {
    /// The first problem of any account.
    pub(crate) fn problem(&self) -> Option<MailProblem> {
        let further = self.further.iter().map(|it| &it.mail);
        let mut all = std::iter::once(&self.first).chain(further);
        all.find_map(|mail| mail.news.problem)
    }

    /// The problem of the only account; `None` if there are several, of which each may have one.
    pub(crate) fn only_problem(&self) -> Option<MailProblem> {
        let first = self.first.news.problem;
        first.filter(|_| self.further.is_empty())
    }

    /// The report to the platform.
    pub(crate) fn news(&self) -> News {
        let further = self.further.iter().filter_map(|it| {
            Some(AccountReport {
                email: it.account.parse().ok()?,
                report: it.mail.news,
            })
        });
        News {
            first: self.first.news,
            further: further.collect(),
        }
    }
}

#[cfg(test)]
mod tests;
