//! Lists for operators.

use super::{add, add_connected, user};
use crate::UserStore;
use postbell_core::{Listing, UserRecord};

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
    store.users.remove(&user("bob")).await.unwrap();
    store.users.remove(&user("bob")).await.unwrap();
    assert_eq!(store.users.count().await.unwrap(), 2);
}
