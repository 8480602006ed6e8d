use postbell_protocol::gog_dirs::GogDirs;
use postbell_testkit::PausedClock;
use tokio::time::{Instant, sleep_until};

use super::*;
use crate::supervisor::{ChildState, RunningProcess};
use crate::watched_mailbox::Mailbox;

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
        let problem = report(std::slice::from_ref(state), None, seen, seconds(now))
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
    let made = report(
        std::slice::from_ref(&state),
        None,
        watcher_down(),
        seconds(5_000),
    );
    let expected = json!({ "code": "grant_revoked", "since": 1_790_000_001_000_i64, "detail": "in a sentence" });
    assert_eq!(made.problem_json(), expected);
    assert_eq!(MailboxMail::default().problem_json(), Value::Null);
}

#[test]
fn an_expired_watch_is_a_problem_even_if_the_watcher_does_not_say_so() {
    let state = WatchState {
        expiration_ms: seconds(10).as_millis(),
        ..WatchState::default()
    };
    assert_eq!(
        report(
            std::slice::from_ref(&state),
            None,
            Seen::default(),
            seconds(9)
        )
        .news
        .problem,
        None
    );
    let problem = report(
        std::slice::from_ref(&state),
        None,
        Seen::default(),
        seconds(10),
    )
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
        report(
            std::slice::from_ref(&state),
            None,
            watcher_down(),
            seconds(59)
        )
        .news
        .problem,
        None
    );
    let problem = report(
        std::slice::from_ref(&state),
        None,
        watcher_down(),
        seconds(60),
    )
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
    let report = report(&states, None, Seen::default(), seconds(1));
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
    let observed = WatchStateFile {
        gog_dirs,
        account,
        name: FIRST.to_owned(),
    };
    let clock = Arc::new(PausedClock::starting_at(START));
    let monitor = MailMonitor::new(observed.clone().into(), None, None, None, clock);
    let before = monitor.refresh().await;
    let news = before.first.news;
    assert!(news.problem.is_some() && news.watch_expires_at.is_some());
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

#[tokio::test]
async fn each_account_is_reported_by_itself_and_one_unreadable_state_hides_no_other() {
    let home = tempfile::tempdir().unwrap();
    let variable = |name: &str| home.path().to_str().filter(|_| name == "HOME");
    let gog_dirs = GogDirs::from_variables(variable).unwrap();
    let file = |user: &str, name: &str| WatchStateFile {
        gog_dirs: gog_dirs.clone(),
        account: format!("{user}@example.com"),
        name: name.to_owned(),
    };
    let files = [file("bob", "b0b"), file("ann", FIRST), file("cid", "c1d")];
    let write = |file: &WatchStateFile, code: &str| {
        let folder = gog_dirs.watch_state(&file.account);
        let state = WatchState {
            problem: "in a sentence".to_owned(),
            problem_code: code.to_owned(),
            ..WatchState::default()
        };
        let file = StateFile::open(&folder, &file.account).unwrap();
        file.write_without_sync(&state).unwrap();
    };
    for (file, code) in files
        .iter()
        .zip(["grant_revoked", "unknown", "webhook_gone"])
    {
        write(file, code);
    }
    let mailbox = WatchedMailbox::default();
    mailbox.set(Mailbox::Of(files.to_vec()));
    let clock = Arc::new(PausedClock::starting_at(START));
    let monitor = MailMonitor::new(mailbox.clone(), None, None, None, clock);
    let found = async || {
        let report = monitor.refresh().await;
        let News { first, further } = report.news();
        let further = further
            .into_iter()
            .map(|it| (it.email.as_str().to_owned(), it.report));
        let all = std::iter::once(("first".to_owned(), first)).chain(further);
        let code = |it: MachineReport| it.problem.map(|it| it.code.as_str());
        all.map(|(name, it)| (name, code(it))).collect::<Vec<_>>()
    };
    let expected = [
        ("first".to_owned(), Some("unknown")),
        ("bob@example.com".to_owned(), Some("grant_revoked")),
        ("cid@example.com".to_owned(), Some("webhook_gone")),
    ];
    assert_eq!(found().await, expected);

    let path = gog_dirs
        .watch_state("bob@example.com")
        .join("bob_example_com.json");
    std::fs::write(path, "{").unwrap();
    write(&files[2], "webhook_failing");
    let after = found().await;
    assert_eq!(after[..2], expected[..2]);
    assert_eq!(after[2].1, Some("webhook_failing"));

    mailbox.set(Mailbox::Of(vec![files[2].clone()]));
    let without_first = found().await;
    assert_eq!(without_first[0].1, None);
    assert_eq!(without_first[1].0, "cid@example.com");
}

#[test]
fn a_state_that_cannot_be_written_is_a_problem_of_its_account() {
    let problem = MailProblem {
        code: ProblemCode::StateUnwritable,
        since: START,
    };
    let of = |names: &[&str], named: Option<&str>| {
        let clock = Arc::new(PausedClock::starting_at(START));
        let monitor = MailMonitor::new(WatchedMailbox::default(), None, None, None, clock);
        let unwritable = Unwritable {
            name: named.map(str::to_owned),
            problem,
        };
        monitor.0.unwritable.lock().push(unwritable);
        let states = names.iter().map(|name| ReadState {
            name: (*name).to_owned(),
            account: format!("{name}@example.com"),
            state: WatchState::default(),
        });
        let states: Vec<_> = states.collect();
        let report = monitor.combine(&states, Seen::default(), START);
        let further = report.further.iter().map(|it| it.mail.news);
        let all = std::iter::once(report.first.news).chain(further);
        all.map(|news| news.problem.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(of(&[FIRST], None), [true]);
    assert_eq!(of(&[FIRST, FIRST], Some("2")), [true], "two tables");
    assert_eq!(
        of(&[FIRST, "b0b", "c1d"], Some("b0b")),
        [false, true, false]
    );
    assert_eq!(of(&["b0b"], None), [false, true]);
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
                .wait_for(|report| report.problem().is_some() != has_problem)
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
