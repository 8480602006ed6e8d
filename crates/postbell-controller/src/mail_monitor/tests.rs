use postbell_protocol::gog_dirs::GogDirs;
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
        let problem = report(std::slice::from_ref(state), seen, seconds(now))
            .news
            .problem;
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
    let made = report(std::slice::from_ref(&state), watcher_down(), seconds(5_000));
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
        report(std::slice::from_ref(&state), Seen::default(), seconds(9))
            .news
            .problem,
        None
    );
    let problem = report(std::slice::from_ref(&state), Seen::default(), seconds(10))
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
        report(std::slice::from_ref(&state), watcher_down(), seconds(59))
            .news
            .problem,
        None
    );
    let problem = report(std::slice::from_ref(&state), watcher_down(), seconds(60))
        .news
        .problem
        .unwrap();
    assert_eq!((problem.code, problem.since), (ProblemCode::Unknown, START));
}

#[test]
fn of_several_mailboxes_the_first_problem_is_reported_with_its_mailbox() {
    let state = |account: &str, code: &str, expires| WatchState {
        account: account.to_owned(),
        problem: "in a sentence".to_owned(),
        problem_code: code.to_owned(),
        expiration_ms: seconds(expires).as_millis(),
        ..WatchState::default()
    };
    let well = WatchState {
        problem: String::new(),
        ..state("ann@example.com", "", 7_000)
    };
    let states = [well, state("bob@example.com", "grant_revoked", 6_000)];
    let report = report(&states, Seen::default(), seconds(1));
    let problem = report.news.problem.unwrap();
    assert_eq!(problem.code, ProblemCode::GrantRevoked);
    assert_eq!(report.detail, "bob@example.com: in a sentence");
    assert_eq!(report.news.watch_expires_at, Some(seconds(6_000)));
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
    let monitor = MailMonitor::new(observed.clone().into(), None, None, None, clock);
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
    let monitor = MailMonitor::new(WatchedMailbox::default(), Some(endpoint), None, None, clock);
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
