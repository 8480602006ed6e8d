use postbell_protocol::watch_state::DeadLetter;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn text(change: impl FnOnce(&mut WatchState), is_running: bool) -> (bool, String) {
    let mut state = WatchState {
        account: "ann@example.com".to_owned(),
        topic: "projects/p/topics/t".to_owned(),
        expiration_ms: NOW.as_millis() + 1,
        updated_at_ms: NOW.as_millis(),
        ..WatchState::default()
    };
    change(&mut state);
    let line = watcher(&state, is_running, NOW);
    (line.ok, line.to_text())
}

#[test]
fn what_waits_is_counted_and_what_failed_is_named() {
    let mut depth = Depth {
        pending: 2,
        oldest_accepted_at: None,
        failing: 0,
        parked: 0,
        dead_letters: 1,
        dead_letters_dropped: 0,
    };
    let expected = "; mail of 2 mailboxes waits; 1 dead letter";
    assert_eq!(waiting(&depth), expected);
    (depth.pending, depth.failing, depth.dead_letters) = (1, 1, 0);
    let expected = "; mail of 1 mailbox waits (the last delivery to 1 of them failed: \
                    `postbell deliveries USER`); 0 dead letters";
    assert_eq!(waiting(&depth), expected);
}

#[test]
fn each_webhook_of_a_table_has_a_line_and_one_without_a_table_says_so() {
    let home = tempfile::tempdir().unwrap();
    let variable = |name: &str| (name == "HOME").then(|| home.path().to_str().unwrap());
    let dirs = GogDirs::from_variables(variable).unwrap();
    let store = |account: &str, change: fn(&mut WatchState)| {
        let mut state = WatchState {
            account: account.to_owned(),
            topic: "projects/p/topics/t".to_owned(),
            expiration_ms: NOW.as_millis() + 1,
            ..WatchState::default()
        };
        change(&mut state);
        let file = StateFile::open(&dirs.watch_state(account), account).unwrap();
        file.write(&state).unwrap();
        file
    };
    let _runs = store("ann@example.com", |_| ());
    let _revoked = store("ann@example.com/bot", |state| {
        state.problem = "reconnect Google".to_owned();
        state.problem_code = "grant_revoked".to_owned();
    });
    drop(store("ann@example.com/old", |state| {
        state.dead_letters.push(DeadLetter::default());
    }));
    let text = "[[watch]]\naccount = \"ann@example.com\"\n[[watch.webhook]]\n[[watch.webhook]]\nname = \"new\"\n\
                [[watch]]\naccount = \"bob@example.com\"";
    let config = Config::parse(text, Path::new(""), &[], &|_| Err(String::new())).unwrap();
    let lines = watchers(&dirs, &config.watch, Some("ann@example.com"), NOW);
    let lines: Vec<_> = lines.iter().map(Line::to_text).collect();
    let expected = [
        "ann@example.com: mail works: the watcher runs",
        "ann@example.com/bot: mail does NOT work: reconnect Google. Run `postbell setup`",
        "ann@example.com/old: mail does NOT work: no [[watch.webhook]] table names it any more, and 1 mail waits. \
         Put the table back, or forget the webhook: `postbell watch stop --account ann@example.com/old`.",
        "ann@example.com/new: mail does NOT work: no watcher has run for it yet",
        "bob@example.com: mail does NOT work: no watch was started. Run `postbell watch start --account bob",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
}

#[test]
fn one_line_says_whether_mail_works_why_not_and_what_to_do() {
    let works = "ann@example.com: mail works: the watcher runs, no mail was delivered yet.";
    assert_eq!(text(|_| (), true), (true, works.to_owned()));
    for (change, is_running, expected) in [
        (
            (|_| ()) as fn(&mut WatchState),
            false,
            "mail does NOT work: no watcher runs. Start `postbell watch pull`",
        ),
        (
            |state| {
                state.problem = "the hook answered 401".to_owned();
                state.problem_code = "webhook_failing".to_owned();
            },
            true,
            "mail does NOT work: the hook answered 401. Check that the bot is running",
        ),
        (
            |state| state.expiration_ms = 5,
            true,
            "Gmail's watch has expired",
        ),
        (|state| state.topic.clear(), true, "names no topic"),
        (
            |state| state.updated_at_ms -= 31 * 60 * 1000,
            true,
            "a watcher runs, but has done nothing since 2026-09-21T",
        ),
        (
            |state| state.renewal_problem = "gmail refused".to_owned(),
            true,
            "the renewal of Gmail's watch failed: gmail refused",
        ),
    ] {
        let (ok, line) = text(change, is_running);
        assert!(!ok && line.contains(expected), "{line}");
    }
}
