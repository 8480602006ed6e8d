//! The promises of [`AuditedPorts`](postbell_core::AuditedPorts), [`AuditLog`](postbell_core::AuditLog) and [`AccessTokens`].

mod accounts;

use std::time::Duration;

use bytes::Bytes;
use postbell_core::{
    AUDIT_KEPT, AccessToken, AccessTokens, Actor, AuditAction, AuditEntry, GoogleConnection,
    InstanceStatus, LinkDigest, MachineLocation, NewUser, Principal, Replayed, SandboxId,
    StoredTarget, TOKEN_USE_INTERVAL, Timestamp, TokenDigest, TokenScope, UnparseableMessage,
    UserId, UsersError,
};

pub use self::accounts::*;
use crate::Operated;

/// Expands to one test for each promise, so that a failure names the promise and the backend.
///
/// Takes an expression for an empty [`Operated`] and a value that must live as long.
#[macro_export]
macro_rules! operator_conformance {
    (@each $open:expr; $($promise:ident)+) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let (operated, _kept_alive) = $open;
                $crate::conformance::operator::$promise(&operated).await;
            }
        )+
    };
    ($open:expr) => {
        $crate::operator_conformance! { @each $open;
            each_change_of_a_user_has_an_entry
            each_change_of_an_account_has_an_entry_of_its_user
            a_refused_change_has_no_entry
            links_and_sign_outs_have_entries
            changed_alert_targets_have_entries
            dropped_and_replayed_dead_letters_have_entries
            concurrent_entries_get_numbers_without_gaps
            entries_are_listed_in_pages
            old_entries_are_deleted_when_others_are_appended
            a_token_is_found_until_it_expires_or_is_revoked
            the_last_use_of_a_token_is_stored_once_a_minute
            expired_tokens_are_deleted_when_another_is_added
            the_tokens_of_a_removed_user_are_deleted
            tokens_are_listed_in_pages
            issued_and_revoked_tokens_have_entries
            many_users_are_added_at_once
        }
    };
}

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn olga_at(at: Timestamp) -> Actor {
    Actor {
        name: "olga@example.com".to_owned(),
        origin: "203.0.113.7".to_owned(),
        at,
    }
}

fn olga() -> Actor {
    olga_at(T0)
}

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn new(name: &str) -> NewUser {
    let user = user(name);
    NewUser {
        sandbox_id: SandboxId::from(&user),
        user,
        status: InstanceStatus::Running,
        location: MachineLocation::Unknown,
        wake_on_mail: false,
    }
}

fn digest(number: u8) -> TokenDigest {
    TokenDigest([number; 32])
}

fn token(number: u8, of: Option<&str>) -> AccessToken {
    AccessToken {
        id: format!("{number:016x}").parse().unwrap(),
        name: format!("key {number}"),
        scope: if of.is_some() {
            TokenScope::Setup
        } else {
            TokenScope::Read
        },
        user: of.map(user),
        created_at: T0,
        expires_at: T0 + HOUR,
        last_used_at: None,
    }
}

async fn put(tokens: &dyn AccessTokens, number: u8, of: Option<&str>) {
    let token = token(number, of);
    tokens.add(&token, digest(number)).await.unwrap();
}

async fn entries(operated: &Operated) -> Vec<AuditEntry> {
    let log = operated.ports.audit_log();
    let mut entries = log.entries(None, None, 1000).await.unwrap();
    entries.reverse();
    entries
}

/// The actions and their users, in order.
async fn done(operated: &Operated) -> Vec<(String, String, String)> {
    let entries = entries(operated).await.into_iter();
    let user = |user: Option<UserId>| user.map_or(String::new(), |user| user.to_string());
    entries
        .map(|entry| (entry.action, user(entry.user), entry.detail))
        .collect()
}

fn is_done(done: &[(String, String, String)], expected: &[(&str, &str, &str)]) {
    let done: Vec<_> = done
        .iter()
        .map(|(action, user, detail)| (&**action, &**user, &**detail))
        .collect();
    assert_eq!(done, expected);
}

/// Who, from where and when stands in each.
pub async fn each_change_of_a_user_has_an_entry(operated: &Operated) {
    let users = operated.ports.users(&olga());
    let mut ann = users.add(new("ann"), T0).await.unwrap();
    ann.wake_on_mail = true;
    ann.status = InstanceStatus::Stopped;
    let mut ann = users.replace(&ann, None, T0).await.unwrap();
    ann.connect(GoogleConnection {
        email: Some("ann@example.com".parse().unwrap()),
        push_account: None,
        connected_at: T0,
    });
    let secret = "the refresh token".to_owned().into();
    let ann = users.replace(&ann, Some(&secret), T0).await.unwrap();
    assert!(users.remove(&ann).await.unwrap());
    is_done(
        &done(operated).await,
        &[
            ("user.add", "ann", ""),
            ("user.change", "ann", "status stopped, wake on mail on"),
            (
                "user.change",
                "ann",
                "connected a Google account, notifications on",
            ),
            ("user.remove", "ann", ""),
        ],
    );
    for (number, entry) in (1..).zip(entries(operated).await) {
        let Actor { name, origin, at } = olga();
        assert_eq!(
            (entry.number, entry.actor, entry.origin, entry.at),
            (number, name, origin, at)
        );
    }
}

/// Nor has one that changes nothing.
pub async fn a_refused_change_has_no_entry(operated: &Operated) {
    let users = operated.ports.users(&olga());
    let ann = users.add(new("ann"), T0).await.unwrap();
    let gone = users.add(new("gone"), T0).await.unwrap();
    let again = users.add(new("ann"), T0).await.unwrap_err();
    assert!(matches!(again, UsersError::AlreadyExists { .. }));
    users.replace(&ann, None, T0).await.unwrap();
    let stale = users.replace(&ann, None, T0).await.unwrap_err();
    assert!(matches!(stale, UsersError::Changed { .. }));
    let stale = users.remove(&ann).await.unwrap_err();
    assert!(matches!(stale, UsersError::Changed { .. }));
    assert!(users.remove(&gone).await.unwrap());
    assert!(!users.remove(&gone).await.unwrap());
    let tokens = operated.ports.tokens(&olga());
    let missing = format!("{:016x}", 1).parse().unwrap();
    assert!(!tokens.revoke(&missing).await.unwrap());
    assert_eq!(tokens.revoke_user(&user("ann")).await.unwrap(), 0);
    let sessions = operated.ports.sessions(&olga());
    let link = LinkDigest([1; 32]);
    assert!(!sessions.revoke_link(link).await.unwrap());
    let log = operated.ports.delivery_log(&olga());
    assert!(!log.drop_dead_letter(7).await.unwrap());
    assert_eq!(log.replay(7, T0).await.unwrap(), Replayed::Missing);
    assert_eq!(log.drop_dead_letters(&user("ann"), 9).await.unwrap(), 0);
    let expected = [
        ("user.add", "ann", ""),
        ("user.add", "gone", ""),
        ("user.remove", "gone", ""),
    ];
    is_done(&done(operated).await, &expected);
}

/// Also those of operators.
pub async fn links_and_sign_outs_have_entries(operated: &Operated) {
    let sessions = operated.ports.sessions(&olga());
    for (number, user, operator, is_viewer) in [
        (1, Some("ann"), None, false),
        (2, None, Some("x"), false),
        (3, None, Some("y"), true),
    ] {
        let principal = Principal {
            user: user.map(self::user),
            operator: operator.map(str::to_owned),
            is_viewer,
        };
        let link = LinkDigest([number; 32]);
        let added = sessions.add_link(link, &principal, T0 + HOUR, T0);
        added.await.unwrap();
    }
    assert!(sessions.revoke_link(LinkDigest([1; 32])).await.unwrap());
    sessions.revoke_user(&user("ann")).await.unwrap();
    sessions.revoke_operators().await.unwrap();
    is_done(
        &done(operated).await,
        &[
            ("link.issue", "ann", "for 1 h"),
            ("link.issue", "", "operator, for 1 h"),
            ("link.issue", "", "viewer, for 1 h"),
            ("link.revoke", "ann", ""),
            ("session.end", "ann", ""),
            ("session.end", "", "all operators"),
        ],
    );
}

/// With their numbers.
pub async fn dropped_and_replayed_dead_letters_have_entries(operated: &Operated) {
    for number in 1..=3 {
        let message = UnparseableMessage {
            user: user("ann"),
            message_id: format!("m{number}").parse().unwrap(),
            body: Bytes::from_static(b"?"),
            cause: "expected JSON".to_owned(),
        };
        operated.queue.dead_letter(message, T0).await.unwrap();
    }
    let log = operated.ports.delivery_log(&olga());
    let letters = log.dead_letters(None, None, 9).await.unwrap();
    let numbers: Vec<_> = letters.iter().map(|letter| letter.id).collect();
    let [last, _, first] = numbers[..] else {
        panic!("{numbers:?}");
    };
    assert_eq!(log.replay(first, T0).await.unwrap(), Replayed::Unparseable);
    assert!(log.drop_dead_letter(first).await.unwrap());
    assert_eq!(log.drop_dead_letters(&user("ann"), last).await.unwrap(), 2);
    is_done(
        &done(operated).await,
        &[
            ("dead_letter.drop", "ann", &first.to_string()),
            ("dead_letter.drop", "ann", &format!("2 up to {last}")),
        ],
    );
}

/// So a deleted entry would be seen.
pub async fn concurrent_entries_get_numbers_without_gaps(operated: &Operated) {
    let names: Vec<_> = (0..20).map(|number| format!("user-{number:02}")).collect();
    let added = names.iter().map(|name| async {
        let users = operated.ports.users(&olga());
        users.add(new(name), T0).await.unwrap();
    });
    futures_util::future::join_all(added).await;
    let numbers: Vec<_> = entries(operated).await.iter().map(|it| it.number).collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
}

/// Of one user or of all.
pub async fn entries_are_listed_in_pages(operated: &Operated) {
    let log = operated.ports.audit_log();
    for name in ["ann", "bob", "ann", "bob", "ann"] {
        let (by, user) = (olga(), user(name));
        let appended = log.append(&by, AuditAction::SignIn, Some(&user), "x");
        appended.await.unwrap();
    }
    let ann = user("ann");
    for (of, before, limit, numbers) in [
        (None, None, 9, &[5, 4, 3, 2, 1][..]),
        (None, Some(4), 2, &[3, 2]),
        (Some(&ann), None, 9, &[5, 3, 1]),
        (Some(&ann), Some(3), 9, &[1]),
        (None, None, 0, &[]),
    ] {
        let page = log.entries(of, before, limit).await.unwrap();
        let found: Vec<_> = page.iter().map(|entry| entry.number).collect();
        assert_eq!(found, numbers, "{of:?} {before:?}");
    }
}

/// The text of a target is a secret, so the entry has its id.
pub async fn changed_alert_targets_have_entries(operated: &Operated) {
    let users = operated.ports.users(&olga());
    users.add(new("ann"), T0).await.unwrap();
    let targets = operated.ports.alert_targets(&olga());
    let ann = user("ann");
    let target = |id: &str| StoredTarget {
        id: id.parse().unwrap(),
        text: "ntfy://ntfy.sh/a-secret-topic".into(),
        added_at: T0,
    };
    let (first, second) = (
        target("tgt_0123456789abcdef"),
        target("tgt_fedcba9876543210"),
    );
    assert!(targets.add_target(&ann, &first, 1).await.unwrap());
    assert!(!targets.add_target(&ann, &second, 1).await.unwrap());
    assert!(!targets.remove_target(&ann, &second.id).await.unwrap());
    assert!(targets.remove_target(&ann, &first.id).await.unwrap());
    is_done(
        &done(operated).await,
        &[
            ("user.add", "ann", ""),
            ("alert_target.add", "ann", "tgt_0123456789abcdef"),
            ("alert_target.remove", "ann", "tgt_0123456789abcdef"),
        ],
    );
}

/// The log is bounded by age, and nothing younger is deleted.
pub async fn old_entries_are_deleted_when_others_are_appended(operated: &Operated) {
    let log = operated.ports.audit_log();
    let later = T0 + HOUR;
    let last = T0 + AUDIT_KEPT;
    // A clock that is ahead for one entry deletes nothing.
    for at in [T0, later, last + HOUR, later, last, last] {
        let by = olga_at(at);
        let appended = log.append(&by, AuditAction::SignIn, None, "");
        appended.await.unwrap();
    }
    let times: Vec<_> = entries(operated).await.iter().map(|it| it.at).collect();
    assert_eq!(times, [later, last + HOUR, later, last, last]);
}

/// By the digest of its secret alone.
pub async fn a_token_is_found_until_it_expires_or_is_revoked(operated: &Operated) {
    let tokens = operated.ports.tokens(&olga());
    for (number, of) in [(1, None), (2, Some("ann"))] {
        put(&*tokens, number, of).await;
    }
    let found = tokens.find(digest(2), T0).await.unwrap();
    assert_eq!(found, Some(token(2, Some("ann"))));
    assert_eq!(tokens.find(digest(3), T0).await.unwrap(), None);
    assert_eq!(tokens.find(digest(1), T0 + HOUR).await.unwrap(), None);
    assert!(tokens.revoke(&token(1, None).id).await.unwrap());
    assert!(!tokens.revoke(&token(1, None).id).await.unwrap());
    assert_eq!(tokens.find(digest(1), T0).await.unwrap(), None);
    assert!(tokens.find(digest(2), T0).await.unwrap().is_some());
}

/// A busy key does not write with each request.
pub async fn the_last_use_of_a_token_is_stored_once_a_minute(operated: &Operated) {
    let tokens = operated.ports.tokens(&olga());
    tokens.add(&token(1, None), digest(1)).await.unwrap();
    let second = Duration::from_secs(1);
    for (at, stored) in [
        (T0, T0),
        (T0 + second, T0),
        (T0 + (TOKEN_USE_INTERVAL - second), T0),
        (T0 + TOKEN_USE_INTERVAL, T0 + TOKEN_USE_INTERVAL),
    ] {
        assert!(tokens.find(digest(1), at).await.unwrap().is_some());
        let listed = tokens.list(None, None, 9).await.unwrap();
        assert_eq!(listed[0].last_used_at, Some(stored));
    }
}

/// The number of stored tokens is bounded by those that are valid.
pub async fn expired_tokens_are_deleted_when_another_is_added(operated: &Operated) {
    let tokens = operated.ports.tokens(&olga());
    tokens.add(&token(1, None), digest(1)).await.unwrap();
    let later = AccessToken {
        created_at: T0 + HOUR,
        expires_at: T0 + 2 * HOUR,
        ..token(2, None)
    };
    tokens.add(&later, digest(2)).await.unwrap();
    assert_eq!(tokens.list(None, None, 9).await.unwrap(), [later]);
}

/// A user who is added with the same id inherits none.
pub async fn the_tokens_of_a_removed_user_are_deleted(operated: &Operated) {
    let (users, tokens) = (
        operated.ports.users(&olga()),
        operated.ports.tokens(&olga()),
    );
    let ann = users.add(new("ann"), T0).await.unwrap();
    for (number, of) in [(1, None), (2, Some("ann")), (3, Some("bob"))] {
        put(&*tokens, number, of).await;
    }
    users.remove(&ann).await.unwrap();
    for (number, is_left) in [(1, true), (2, false), (3, true)] {
        let found = tokens.find(digest(number), T0).await.unwrap();
        assert_eq!(found.is_some(), is_left, "{number}");
    }
}

/// Those of one user, or all.
pub async fn tokens_are_listed_in_pages(operated: &Operated) {
    let tokens = operated.ports.tokens(&olga());
    for (number, of) in [
        (3, Some("ann")),
        (1, None),
        (2, Some("bob")),
        (4, Some("ann")),
    ] {
        put(&*tokens, number, of).await;
    }
    let ann = user("ann");
    for (of, after, limit, numbers) in [
        (None, None, 9, &[1, 2, 3, 4][..]),
        (None, Some(2), 1, &[3]),
        (Some(&ann), None, 9, &[3, 4]),
        (Some(&ann), Some(3), 9, &[4]),
    ] {
        let after = after.map(|number| token(number, None).id);
        let page = tokens.list(of, after.as_ref(), limit).await.unwrap();
        let found: Vec<_> = page.iter().map(|token| token.id.to_string()).collect();
        let numbers: Vec<_> = numbers.iter().map(|it| format!("{it:016x}")).collect();
        assert_eq!(found, numbers);
    }
}

/// With id and name, never the secret.
pub async fn issued_and_revoked_tokens_have_entries(operated: &Operated) {
    let tokens = operated.ports.tokens(&olga());
    for (number, of) in [(1, None), (2, Some("ann")), (3, Some("ann"))] {
        put(&*tokens, number, of).await;
    }
    tokens.revoke(&token(1, None).id).await.unwrap();
    assert_eq!(tokens.revoke_user(&user("ann")).await.unwrap(), 2);
    let done = done(operated).await;
    let ids: Vec<_> = (1..=3).map(|number| format!("{number:016x}")).collect();
    is_done(
        &done,
        &[
            (
                "token.issue",
                "",
                &format!("{} key 1, read, for 1 h", ids[0]),
            ),
            (
                "token.issue",
                "ann",
                &format!("{} key 2, setup, for 1 h", ids[1]),
            ),
            (
                "token.issue",
                "ann",
                &format!("{} key 3, setup, for 1 h", ids[2]),
            ),
            ("token.revoke", "", &format!("{} key 1", ids[0])),
            ("token.revoke", "ann", "2 tokens"),
        ],
    );
}

/// One that is refused does not hold back the others.
pub async fn many_users_are_added_at_once(operated: &Operated) {
    let users = operated.ports.users(&olga());
    users.add(new("bob"), T0).await.unwrap();
    let taken = NewUser {
        sandbox_id: SandboxId::from(&user("ann")),
        ..new("cid")
    };
    let all = vec![new("ann"), new("bob"), taken, new("dan"), new("ann")];
    let added = users.add_all(all, T0).await.unwrap();
    let results: Vec<_> = added
        .iter()
        .map(|added| match added {
            Ok(record) => record.user.to_string(),
            Err(error) => error.to_string(),
        })
        .collect();
    assert_eq!(
        results,
        [
            "ann",
            "the user bob already exists",
            "the sandbox id is another user's",
            "dan",
            "the user ann already exists"
        ]
    );
    assert_eq!(users.count().await.unwrap(), 3);
    let done = done(operated).await;
    let users: Vec<_> = done.iter().map(|(_, user, _)| &**user).collect();
    assert_eq!(users, ["bob", "ann", "dan"]);
}
