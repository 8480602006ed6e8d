//! Lists for operators.

use super::{T0, add, add_connected, remove, user};
use crate::UserStore;
use postbell_core::{Listing, MailProblem, ProblemCode, Timestamp, UserRecord};

fn names(page: &[UserRecord]) -> Vec<&str> {
    page.iter().map(|record| record.user.as_str()).collect()
}

fn by_user(prefix: &str, after: Option<&str>) -> Listing {
    Listing::ByUser {
        prefix: prefix.to_owned(),
        after: after.map(user),
    }
}

fn by_email(prefix: &str, after: Option<&UserRecord>) -> Listing {
    let after = after.and_then(|record| {
        let email = record.google.as_ref()?.email.clone()?;
        Some((email, record.user.clone()))
    });
    Listing::ByEmail {
        prefix: prefix.to_owned(),
        after,
    }
}

/// Every user once, in order, and no page is longer than asked.
pub async fn users_are_listed_in_pages(store: &UserStore) {
    for name in ["eve", "Zoe", "bob", "ann", "cid"] {
        add(store, name).await;
    }
    let mut seen = Vec::new();
    loop {
        let after = seen.last().map(|record: &UserRecord| record.user.clone());
        let listing = by_user("", after.as_ref().map(|user| user.as_str()));
        let page = store.users.list(&listing, 2).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    assert_eq!(names(&seen), ["Zoe", "ann", "bob", "cid", "eve"]);
    assert_eq!(store.users.list(&by_user("", None), 0).await.unwrap(), []);
}

/// The prefix is not a pattern.
pub async fn users_are_filtered_by_the_beginning_of_their_id(store: &UserStore) {
    for name in ["ann", "anna", "an", "bann", "a_n", "a.n"] {
        add(store, name).await;
    }
    for (prefix, after, found) in [
        ("ann", None, &["ann", "anna"][..]),
        ("ann", Some("ann"), &["anna"]),
        ("ann", Some("aaa"), &["ann", "anna"]),
        ("ann", Some("bann"), &[]),
        ("a_", None, &["a_n"]),
        ("%", None, &[]),
        ("Ann", None, &[]),
    ] {
        let page = store.users.list(&by_user(prefix, after), 10).await.unwrap();
        assert_eq!(names(&page), found, "{prefix} after {after:?}");
    }
}

/// Users without an address are not listed.
pub async fn users_are_filtered_by_the_beginning_of_their_address(store: &UserStore) {
    add(store, "ann").await;
    for (name, email) in [
        ("u3", "ann@example.com"),
        ("u1", "anna@example.com"),
        ("u2", "bob@example.com"),
    ] {
        add_connected(store, name, email, 0).await;
    }
    for (prefix, found) in [
        ("", &["u3", "u1", "u2"][..]),
        ("ANN", &["u3", "u1"]),
        ("ann@", &["u3"]),
        ("b", &["u2"]),
        ("example", &[]),
    ] {
        let page = store.users.list(&by_email(prefix, None), 10).await.unwrap();
        assert_eq!(names(&page), found, "{prefix:?}");
    }
    let first = store.users.list(&by_email("ann", None), 1).await.unwrap();
    let rest = store.users.list(&by_email("ann", first.last()), 10).await;
    assert_eq!(names(&rest.unwrap()), ["u1"]);
}

/// Removed users are not counted.
pub async fn the_users_are_counted(store: &UserStore) {
    assert_eq!(store.users.count().await.unwrap(), 0);
    for name in ["ann", "bob", "cid"] {
        add(store, name).await;
    }
    remove(store, "bob").await;
    remove(store, "bob").await;
    assert_eq!(store.users.count().await.unwrap(), 2);
}

/// For an operator's alert.
pub async fn problems_are_counted_by_code(store: &UserStore) {
    assert_eq!(store.users.count_problems().await.unwrap(), []);
    for (number, code) in [
        ProblemCode::WebhookGone,
        ProblemCode::GrantRevoked,
        ProblemCode::WebhookGone,
    ]
    .into_iter()
    .enumerate()
    {
        let email = format!("user-{number}@example.com");
        let mut record = add_connected(store, &format!("user-{number}"), &email, 0).await;
        record.problem = Some(MailProblem { code, since: T0 });
        store.users.replace(&record, None, T0).await.unwrap();
    }
    add(store, "well").await;
    let counts = store.users.count_problems().await.unwrap();
    let expected = [
        (ProblemCode::GrantRevoked, 1),
        (ProblemCode::WebhookGone, 2),
    ];
    assert_eq!(counts, expected);
    remove(store, "user-1").await;
    let counts = store.users.count_problems().await.unwrap();
    assert_eq!(counts, expected[1..]);
    store.users.check_ready(T0).await.unwrap();
}

/// An operator sees who needs help.
pub async fn users_are_listed_by_their_problem(store: &UserStore) {
    let (gone, revoked) = (ProblemCode::WebhookGone, ProblemCode::GrantRevoked);
    for (name, problem) in [
        ("ann", Some(gone)),
        ("bob", None),
        ("cid", Some(revoked)),
        ("dan", Some(gone)),
    ] {
        let mut record = add_connected(store, name, &format!("{name}@example.com"), 0).await;
        record.problem = problem.map(|code| MailProblem { code, since: T0 });
        store.users.replace(&record, None, T0).await.unwrap();
    }
    for (code, after, found) in [
        (None, None, &["cid", "ann", "dan"][..]),
        (None, Some((revoked, "cid")), &["ann", "dan"]),
        (None, Some((gone, "ann")), &["dan"]),
        (Some(gone), None, &["ann", "dan"]),
        (Some(gone), Some((gone, "ann")), &["dan"]),
        (Some(ProblemCode::PullFailing), None, &[]),
    ] {
        let after = after.map(|(code, name)| (code, user(name)));
        let listing = Listing::ByProblem { code, after };
        let page = store.users.list(&listing, 9).await.unwrap();
        assert_eq!(names(&page), found, "{listing:?}");
    }
}

/// Those that end first come first. Others are not listed.
pub async fn users_are_listed_by_the_end_of_their_watch(store: &UserStore) {
    let at = |minutes: i64| Timestamp::from_millis(T0.as_millis() + minutes * 60_000);
    for (name, end) in [
        ("ann", Some(20)),
        ("bob", None),
        ("cid", Some(-5)),
        ("dan", Some(20)),
        ("eve", Some(60)),
    ] {
        let mut record = add_connected(store, name, &format!("{name}@example.com"), 0).await;
        record.watch_expires_at = end.map(at);
        store.users.replace(&record, None, T0).await.unwrap();
    }
    let until = at(60);
    for (after, found) in [
        (None, &["cid", "ann", "dan"][..]),
        (Some((-5, "cid")), &["ann", "dan"]),
        (Some((20, "ann")), &["dan"]),
        (Some((20, "dan")), &[]),
    ] {
        let after = after.map(|(end, name)| (at(end), user(name)));
        let listing = Listing::ByWatchEnd { until, after };
        let page = store.users.list(&listing, 9).await.unwrap();
        assert_eq!(names(&page), found, "{listing:?}");
    }
    let counts = store.users.fleet_counts(T0, until).await.unwrap();
    assert_eq!((counts.watch_ends, counts.without_mail), (3, 1));
}

/// Because of a problem or an ended watch. One who wants no notifications misses none.
pub async fn users_who_get_no_mail_are_listed(store: &UserStore) {
    let problem = Some(MailProblem {
        code: ProblemCode::GrantRevoked,
        since: T0,
    });
    for (name, problem, end, is_on) in [
        ("ann", problem, None, true),
        ("bob", None, Some(T0), true),
        ("cid", None, None, true),
        ("dan", problem, Some(T0), true),
        ("eve", problem, Some(T0), false),
    ] {
        let mut record = add_connected(store, name, &format!("{name}@example.com"), 0).await;
        record.problem = problem;
        record.watch_expires_at = end;
        record.notifications_enabled = is_on;
        store.users.replace(&record, None, T0).await.unwrap();
    }
    for (after, found) in [(None, &["ann", "bob", "dan"][..]), (Some("bob"), &["dan"])] {
        let after = after.map(user);
        let listing = Listing::WithoutMail { now: T0, after };
        let page = store.users.list(&listing, 9).await.unwrap();
        assert_eq!(names(&page), found, "{listing:?}");
    }
    let counts = store.users.fleet_counts(T0, T0).await.unwrap();
    assert_eq!((counts.watch_ends, counts.without_mail), (0, 3));
}

/// By user id. A machine that answers again is not listed.
pub async fn users_whose_machine_does_not_answer_are_listed(store: &UserStore) {
    for (name, since) in [
        ("ann", Some(T0)),
        ("bob", None),
        ("cid", Some(T0)),
        ("dan", Some(T0)),
    ] {
        let mut record = add_connected(store, name, &format!("{name}@example.com"), 0).await;
        record.unreachable_since = since;
        store.users.replace(&record, None, T0).await.unwrap();
    }
    let mut again = store.users.get(&user("dan")).await.unwrap().unwrap();
    again.unreachable_since = None;
    store.users.replace(&again, None, T0).await.unwrap();
    for (after, limit, found) in [
        (None, 9, &["ann", "cid"][..]),
        (None, 1, &["ann"]),
        (Some("ann"), 9, &["cid"]),
        (Some("cid"), 9, &[]),
    ] {
        let after = after.map(user);
        let listing = Listing::Unreachable { after };
        let page = store.users.list(&listing, limit).await.unwrap();
        assert_eq!(names(&page), found, "{listing:?}");
    }
    let counts = store.users.fleet_counts(T0, T0).await.unwrap();
    assert_eq!(counts.unreachable, 2);
}

/// By user id. A machine that was never heard of is known as one until it is.
pub async fn users_who_have_not_connected_are_listed(store: &UserStore) {
    for name in ["dan", "ann"] {
        assert!(add(store, name).await.never_seen);
    }
    add_connected(store, "bob", "bob@example.com", 0).await;
    let mut former = add_connected(store, "cid", "cid@example.com", 0).await;
    former.disconnect();
    former.never_seen = false;
    store.users.replace(&former, None, T0).await.unwrap();
    for (after, limit, found) in [
        (None, 9, &["ann", "cid", "dan"][..]),
        (None, 1, &["ann"]),
        (Some("ann"), 9, &["cid", "dan"]),
        (Some("dan"), 9, &[]),
    ] {
        let after = after.map(user);
        let listing = Listing::NotConnected { after };
        let page = store.users.list(&listing, limit).await.unwrap();
        assert_eq!(names(&page), found, "{listing:?}");
        assert!(
            page.iter()
                .all(|it| it.never_seen == (it.user.as_str() != "cid"))
        );
    }
    let counts = store.users.fleet_counts(T0, T0).await.unwrap();
    assert_eq!(counts.not_connected, 3);
}
